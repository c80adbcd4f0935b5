// Package checktest checks homes in tests. Its functions return an error that lists the
// findings of a check that the test does not allow.
package checktest

import (
	"context"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Clean allows no finding at all.
func Clean(ctx context.Context, home vfs.FS) (check.Summary, error) {
	return Run(ctx, check.Options{FS: home}, func(check.Finding) bool { return true })
}

// Sound allows notes.
func Sound(ctx context.Context, home vfs.FS) (check.Summary, error) {
	return Run(ctx, check.Options{FS: home}, NoNote)
}

// Undamaged allows notes and warnings.
func Undamaged(ctx context.Context, home vfs.FS) (check.Summary, error) {
	return Run(ctx, check.Options{FS: home}, func(f check.Finding) bool { return f.Severity == check.Damage })
}

// NoNote tells damage and warnings from notes.
func NoNote(f check.Finding) bool { return f.Severity != check.Note }

// Run runs a check; wrong selects the findings that are not allowed. One worker runs unless
// o says otherwise.
func Run(ctx context.Context, o check.Options, wrong func(check.Finding) bool) (check.Summary, error) {
	if o.Workers == 0 {
		o.Workers = 1
	}
	var findings []string
	sum, err := check.Run(ctx, o, func(f check.Finding) {
		if wrong(f) {
			findings = append(findings, fmt.Sprintf("%s %s %s %s", f.Severity, f.Kind, f.Path, f.Detail))
		}
	})
	if err == nil && len(findings) > 0 {
		err = fmt.Errorf("check finds: %s", strings.Join(findings, "; "))
	}
	return sum, err
}
