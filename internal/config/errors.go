package config

import (
	"fmt"
	"strings"
)

// Error is something in the configuration that can't be used. There may be
// several in the error of [Load], joined.
type Error struct {
	Where string // "flag --listen", "environment DIRSTORAGE_LISTEN", "/etc/d.toml:12"
	What  string // the fault
	Do    string // the remedy; may be empty
	Err   error  // the cause, if there is one
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	b.WriteString(e.What)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Do != "" {
		b.WriteString("; " + e.Do)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }
