// Package settings reads and writes the files of HOME/config: settings,
// identity and snapshot.conf. Its functions work on bytes, touch no disk, and
// may be called concurrently.
//
// config/settings is an INI file in the dialect of Python's ConfigParser, which
// the original uses, with these rules:
//
//   - Names of sections and options are case-sensitive.
//   - An option is “name: value” or “name = value”; the first of the two signs
//     ends the name. Space around both is dropped.
//   - A line that is indented deeper than its option goes on with the value, on a
//     new line of it. Empty lines belong to a value too, but not at its end.
//   - A line is a comment if it begins, after space, with “#” or “;”. A comment
//     can't follow a value on its line.
//   - “%%” in a value is a percent sign; “%(name)s” is the value of another option
//     of the section; any other percent sign is an error.
//   - The options of the section DEFAULT are defaults for all other sections.
//   - A section or an option that comes twice is an error.
//
// Unknown options, of a newer or older release or added by hand, are kept by [Update] and reported
// by a [Warning] from [Parse].
package settings
