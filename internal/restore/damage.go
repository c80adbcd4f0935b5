package restore

import (
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/human"
)

const (
	mostCauses   = 10 // lines of an error
	mostFindings = 20 // of a Result
)

// damage collects the damage that a check finds.
type damage struct {
	findings []check.Finding // the first ones
	causes   []cause
	more     int64 // findings that are in neither line
}

// cause is one reason for findings, such as a damaged frame of a bundle and the revisions in it.
type cause struct {
	first check.Finding
	more  int64 // findings like it
}

func (d *damage) add(f check.Finding) {
	if len(d.findings) < mostFindings {
		d.findings = append(d.findings, f)
	}
	for i := range d.causes {
		if d.causes[i].explains(f) {
			d.causes[i].more++
			return
		}
	}
	if len(d.causes) == mostCauses {
		d.more++
		return
	}
	d.causes = append(d.causes, cause{first: f})
}

// explains reports whether a finding has that cause: in the same file, and with the same reason,
// which may follow on a text of its own.
func (c *cause) explains(f check.Finding) bool {
	return f.Path == c.first.Path && (strings.HasSuffix(f.Detail, c.first.Detail) || strings.HasSuffix(c.first.Detail, f.Detail))
}

// Error has one line for each cause.
func (d *damage) Error() string {
	var b strings.Builder
	b.WriteString(ErrDamage.Error() + ":")
	for _, c := range d.causes {
		fmt.Fprintf(&b, "\n  %s %s: %s", c.first.Kind, c.first.Path, c.first.Detail)
		if c.more > 0 {
			fmt.Fprintf(&b, ", and %d more", c.more)
		}
	}
	if d.more > 0 {
		fmt.Fprintf(&b, "\n  and %s", human.Plural(int64(d.more), "more finding", "more findings"))
	}
	return b.String()
}

// Is matches ErrDamage.
func (d *damage) Is(target error) bool { return target == ErrDamage }
