package inspect

import (
	"bytes"
	"context"
	"strings"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// Comparison is the difference of two revisions of an object.
type Comparison struct {
	OID      zodb.OID
	Old, New *Object // without their texts
	// Lines are those of the difference with some around them.
	Lines []Line
	// Same: the bytes of the records are the same.
	Same bool
	// Cut says in which way the lines are not all; empty: they are.
	Cut string
	// Problem says why there are no lines.
	Problem string
}

// Op is the part that a line has in a difference.
type Op byte

// The parts.
const (
	Both    Op = ' '
	Removed Op = '-' // only in the old revision
	Added   Op = '+' // only in the new one
	Gap     Op = '@' // stands for equal lines that are left out
)

// Line is a line of a difference, with its numbers, counted from 1; 0: it is not in that revision.
type Line struct {
	Op       Op
	Old, New int
	Text     string
}

// Of a comparison: the context, and the bounds of its result.
const (
	contextLines = 3
	diffTextSize = 8 // times Options.Text
	diffBytes    = 512 << 10
	// diffString is the number of bytes of a string that are compared.
	diffString = 256 << 10
)

// Compare compares a revision of an object with an older one, by lines of their texts; older = 0
// means the one before it, newer = 0 the current one.
func (b *Browser) Compare(ctx context.Context, oid zodb.OID, older, newer zodb.TID) (*Comparison, error) {
	c := &Comparison{OID: oid, Old: &Object{OID: oid}, New: &Object{OID: oid}}
	if err := b.find(ctx, c.New, newer); err != nil {
		return nil, err
	}
	if older == 0 {
		older = c.New.Previous
	}
	if older != 0 {
		if err := b.find(ctx, c.Old, older); err != nil {
			return nil, err
		}
	} else {
		c.Old.Reason = "there is no revision before, or it was packed away"
	}
	if c.New.Serial == 0 {
		c.Problem = c.New.Reason
		return c, nil
	}
	var texts [2]string
	var data [2][]byte
	cut := false
	for i, o := range []*Object{c.Old, c.New} {
		if o.Serial == 0 {
			continue
		}
		rec, err := b.s.LoadRecord(ctx, oid, o.Serial)
		if err == nil && rec.Exists {
			data[i] = rec.Data
			err = b.parse(ctx, rec.Data, func(t *pickle.Tree) {
				if module, name, ok := t.Class(); ok {
					o.Class = module + "." + name
				}
				text := t.Render(pickle.RenderOptions{Limit: diffTextSize * b.o.Text, StringLimit: diffString, Lines: true, SortSets: true})
				texts[i], cut = text.String, cut || text.Cut
			})
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			o.Problem = err.Error()
			c.Problem = "revision " + o.Serial.String() + " cannot be compared: " + o.Problem
			continue
		}
		o.Exists, o.UndoFrom, o.Size = rec.Exists, rec.DataTID, len(rec.Data)
	}
	if c.Problem != "" {
		return c, nil
	}
	c.Same = c.Old.Exists && c.New.Exists && bytes.Equal(data[0], data[1])
	if cut {
		c.Cut = "the states are longer than the part that was compared"
	}
	c.lines(texts[0], texts[1])
	return c, nil
}

// lines sets the lines of the difference.
func (c *Comparison) lines(older, newer string) {
	all, exact := diff(splitLines(older), splitLines(newer))
	if !exact {
		c.Cut = "they differ in so much that the lines are not matched with each other"
	}
	bytes := 0
	for _, l := range withContext(all, contextLines) {
		if bytes += len(l.Text); bytes > diffBytes {
			c.Cut = "the difference is longer than the part that is shown"
			break
		}
		c.Lines = append(c.Lines, l)
	}
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// withContext leaves out equal lines that are far from a change, and puts a gap in their place.
func withContext(all []Line, around int) []Line {
	keep := make([]bool, len(all))
	for i, l := range all {
		if l.Op == Both {
			continue
		}
		for j := max(i-around, 0); j < min(i+around+1, len(all)); j++ {
			keep[j] = true
		}
	}
	var lines []Line
	gap := false
	for i, l := range all {
		switch {
		case keep[i] && gap && len(lines) > 0:
			lines = append(lines, Line{Op: Gap}, l)
			gap = false
		case keep[i]:
			lines = append(lines, l)
			gap = false
		default:
			gap = true
		}
	}
	return lines
}

// maxEdits bounds the number of changed lines up to which lines are matched with each other.
const maxEdits = 1500

// diff returns the lines of both texts in the shortest way from one to the other (the greedy
// algorithm of Myers). exact is false if that has more than maxEdits changes: then all lines between
// the equal ones at both ends are changed.
func diff(a, b []string) (lines []Line, exact bool) {
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	endA, endB := len(a), len(b)
	for endA > from && endB > from && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
	}
	for i := range from {
		lines = append(lines, Line{Both, i + 1, i + 1, a[i]})
	}
	middle, exact := shortest(a[from:endA], b[from:endB])
	for _, l := range middle {
		if l.Old != 0 {
			l.Old += from
		}
		if l.New != 0 {
			l.New += from
		}
		lines = append(lines, l)
	}
	for i := endA; i < len(a); i++ {
		lines = append(lines, Line{Both, i + 1, i + 1 + endB - endA, a[i]})
	}
	return lines, exact
}

func shortest(a, b []string) (lines []Line, exact bool) {
	trace, found := forward(a, b)
	if !found {
		for i, s := range a {
			lines = append(lines, Line{Removed, i + 1, 0, s})
		}
		for i, s := range b {
			lines = append(lines, Line{Added, 0, i + 1, s})
		}
		return lines, false
	}
	// Back from the end, and then the other way round.
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		v := trace[d]
		k := x - y
		before := k - 1
		if k == -d || k != d && v.at(k-1) < v.at(k+1) {
			before = k + 1
		}
		startX := v.at(before)
		startY := startX - before
		if d == 0 {
			startX, startY = 0, 0
		}
		for x > startX && y > startY {
			x, y = x-1, y-1
			lines = append(lines, Line{Both, x + 1, y + 1, a[x]})
		}
		switch {
		case d == 0:
		case before == k+1:
			y--
			lines = append(lines, Line{Added, 0, y + 1, b[y]})
		default:
			x--
			lines = append(lines, Line{Removed, x + 1, 0, a[x]})
		}
	}
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return lines, true
}

// furthest has, for each diagonal -d…d, how far a was read with d-1 edits at most.
type furthest struct {
	d int
	x []int32
}

func (f furthest) at(k int) int {
	if k < -f.d || k > f.d {
		return -1
	}
	return int(f.x[k+f.d])
}

// forward looks for the number of edits, and returns the states before each round.
func forward(a, b []string) (trace []furthest, found bool) {
	n, m := len(a), len(b)
	v := make([]int32, 2*maxEdits+3)
	const zero = maxEdits + 1
	for d := 0; d <= min(n+m, maxEdits); d++ {
		trace = append(trace, furthest{d, append([]int32(nil), v[zero-d:zero+d+1]...)})
		for k := -d; k <= d; k += 2 {
			var x int
			if k == -d || k != d && v[zero+k-1] < v[zero+k+1] {
				x = int(v[zero+k+1])
			} else {
				x = int(v[zero+k-1]) + 1
			}
			y := x - k
			for x < n && y < m && a[x] == b[y] {
				x, y = x+1, y+1
			}
			v[zero+k] = int32(x)
			if x >= n && y >= m {
				return trace, true
			}
		}
	}
	return nil, false
}
