// Package logging makes the logger of a server.
//
// Two formats: text, a line for people and for journald, and json, an object a
// line. In both, a record with any content is exactly one line of printable characters of bounded
// length. A client chooses its label and sends it to us; it must not be able to make lines of its
// own, to command a terminal, or to fill the disk with one message. So control characters, invalid
// UTF-8, and characters that change the display of the text around them are escaped, and long
// values are cut.
//
// A line of text:
//
//	2026-03-01 10:00:00.123 WARN  disk full: committed transactions stay in the journal storage=main err="no space left on device"
//
// For journald, which adds the time and knows priorities, the same line is
//
//	<4>WARN  disk full: committed transactions stay in the journal storage=main err="no space left on device"
//
// The level can be changed while the process runs, by the [slog.LevelVar] in
// the options.
package logging
