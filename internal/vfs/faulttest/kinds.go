package faulttest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// Numbers in a name tell only which one of its kind a file is.
var (
	number = regexp.MustCompile(`[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*`)
	nested = regexp.MustCompile(`(/#)+`)
)

// Kind is the kind of an operation as crashfs logs it, such as “link B/object A/object”: the
// operation, and the kinds of its files. Revisions, pointers to current ones, transactions and blobs have
// one kind in all formats, other files that of their name without its numbers. A kind is its own.
func Kind(op string) string {
	fields := strings.Fields(op)
	switch fields[0] {
	case "write", "allocate":
		fields = fields[:2]
	}
	for i, name := range fields[1:] {
		fields[i+1] = fileKind(name)
	}
	return strings.Join(fields, " ")
}

// FailingKind is the kind of an operation of errfs.
func FailingKind(op errfs.Op) string { return op.Kind + " " + fileKind(op.Name) }

func fileKind(name string) string {
	dir, rest, inside := strings.Cut(name, "/")
	if !inside || dir != "A" && dir != "B" {
		return nested.ReplaceAllString(number.ReplaceAllString(name, "#"), "/#")
	}
	base := path.Base(rest)
	switch {
	case strings.HasSuffix(base, ".blob"):
		return dir + "/blob"
	case strings.HasPrefix(rest, "bundles/"):
		return dir + "/bundles/" + path.Ext(base)
	case strings.HasPrefix(rest, "blobs"):
		return dir + "/blobs"
	case base == "c" || strings.HasSuffix(base, ".c"):
		return dir + "/current"
	case strings.HasPrefix(rest, "o"):
		return dir + "/object"
	case strings.HasPrefix(rest, "t"):
		return dir + "/transaction"
	}
	return dir + "/" + strings.Replace(rest, "/", ".", 1) // x.serial, in a format with directories x/serial
}

// Runs are the operations of several runs, by kind.
type Runs struct {
	places map[string][]place
	kinds  [][]string // of each operation of each run
}

type place struct{ run, n int }

// NewRuns takes the logs of runs.
func NewRuns(logs ...[]string) *Runs {
	kinds := make([][]string, len(logs))
	for run, log := range logs {
		for _, op := range log {
			kinds[run] = append(kinds[run], Kind(op))
		}
	}
	return runsOf(kinds)
}

// RunOf takes the kinds of the operations of one run.
func RunOf(kinds []string) *Runs { return runsOf([][]string{kinds}) }

func runsOf(kinds [][]string) *Runs {
	r := &Runs{places: make(map[string][]place), kinds: kinds}
	for run := range kinds {
		for i, kind := range kinds[run] {
			r.places[kind] = append(r.places[kind], place{run, i + 1})
		}
	}
	return r
}

// Kinds returns the kinds of all operations, sorted.
func (r *Runs) Kinds() []string { return slices.Sorted(maps.Keys(r.places)) }

// KindsOf returns the kinds of chosen operations, as Sample has them, sorted.
func (r *Runs) KindsOf(chosen [][]int) (kinds []string) {
	for run, ns := range chosen {
		for _, n := range ns {
			kinds = append(kinds, r.kinds[run][n-1])
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// Sample chooses operations, and returns their numbers, from 1 on, for each run. Of each kind it is each
// every-th operation, and one at least; the phase moves them, and in every phases all operations are tried.
func (r *Runs) Sample(every, phase int) (chosen [][]int) {
	chosen = make([][]int, len(r.kinds))
	for _, of := range r.places {
		step := max(1, min(every, len(of)))
		for i := phase % step; i < len(of); i += step {
			chosen[of[i].run] = append(chosen[of[i].run], of[i].n)
		}
	}
	for _, ns := range chosen {
		slices.Sort(ns)
	}
	return chosen
}

// Nth is an operation of a run by its kind. Where goroutines work side by side, other operations come before it in
// each run.
type Nth struct {
	Kind string
	N    int // among those of its kind, from 1 on
}

// Nth returns the n-th operation of a run.
func (r *Runs) Nth(run, n int) Nth {
	at := Nth{Kind: r.kinds[run][n-1]}
	for _, kind := range r.kinds[run][:n] {
		if kind == at.Kind {
			at.N++
		}
	}
	return at
}

// String says it in a message.
func (at Nth) String() string { return fmt.Sprintf("%q, number %d", at.Kind, at.N) }

// Is returns a function that is called with each operation of another run, and finds it there.
func (at Nth) Is() func(op string) bool {
	verb, _, _ := strings.Cut(at.Kind, " ")
	nth := at.Counter()
	return func(op string) bool { return strings.HasPrefix(op, verb) && nth(Kind(op)) }
}

// Counter returns a function that is called with the kinds of another run's operations, and finds it there.
func (at Nth) Counter() func(kind string) bool {
	seen := 0
	return func(kind string) bool {
		if kind == at.Kind {
			seen++
		}
		return kind == at.Kind && seen == at.N
	}
}
