package layout

import "fmt"

// NewerError says that a newer release wrote a file, in a version of its format that this program does
// not know. It is not damage: nothing may be repaired, put aside or passed over for it.
type NewerError struct {
	Path    string // of the file; may be empty, if the caller names it
	Kind    string // of thing that has the version, such as “HOME” or “bundle”
	Version string // that it has
	Known   string // the newest that this program knows
}

func (e *NewerError) Error() string {
	text := fmt.Sprintf("version %s of the format of a %s, which is newer than %s, the newest that this program knows; use the release that wrote it, or a later one", e.Version, e.Kind, e.Known)
	if e.Path == "" {
		return text
	}
	return e.Path + ": " + text
}
