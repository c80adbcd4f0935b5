package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	bundleSuffix = ".tar.zst"
	goneSuffix   = ".gone"
)

// Name is that of a bundle: its range, and its generation.
type Name struct {
	Min, Max   zodb.TID
	Generation uint64
}

// String returns the name of the file.
func (n Name) String() string { return n.base() + bundleSuffix }

// Gone returns the name of one of the files that say which of its members are gone.
func (n Name) Gone(number uint64) string {
	return n.base() + "." + strconv.FormatUint(number, 10) + goneSuffix
}

func (n Name) base() string { return fmt.Sprintf("%s-%s.%d", n.Min, n.Max, n.Generation) }

// ParseName reads the name of a file: of a bundle, for which number is 0, or of one of its gone
// lists. Only names that [Name.String] and [Name.Gone] return are accepted.
func ParseName(file string) (n Name, number uint64, ok bool) {
	rest, gone := strings.CutSuffix(file, goneSuffix)
	if !gone {
		if rest, ok = strings.CutSuffix(file, bundleSuffix); !ok {
			return Name{}, 0, false
		}
	}
	pieces := strings.Split(rest, ".")
	if len(pieces) != 2 && !gone || len(pieces) != 3 && gone {
		return Name{}, 0, false
	}
	from, to, _ := strings.Cut(pieces[0], "-")
	var err1, err2, err3, err4 error
	n.Min, err1 = zodb.ParseTID(from)
	n.Max, err2 = zodb.ParseTID(to)
	n.Generation, err3 = strconv.ParseUint(pieces[1], 10, 64)
	want := n.String()
	if gone {
		number, err4 = strconv.ParseUint(pieces[2], 10, 64)
		want = n.Gone(number)
	}
	if cmp.Or(err1, err2, err3, err4) != nil || want != file || n.Min == 0 || n.Min > n.Max || gone && number == 0 {
		return Name{}, 0, false
	}
	return n, number, true
}

// Supersedes reports whether a bundle stands for another one that is still there: it
// covers the whole range of it and is wider, or it has the same range and a higher generation.
func (n Name) Supersedes(other Name) bool {
	if n.Min == other.Min && n.Max == other.Max {
		return n.Generation > other.Generation
	}
	return n.Min <= other.Min && other.Max <= n.Max
}

// Live splits the bundles that lie in a directory into those that count, in order of their ranges,
// and those that are superseded. Files of the directory that it had before, such as a copy that
// records no deletions may have, change nothing. The error names two that overlap and of which
// neither supersedes the other.
func Live(all []Name) (live, superseded []Name, err error) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Name) int { // each one behind those that may supersede it
		return cmp.Or(cmp.Compare(a.Min, b.Min), cmp.Compare(b.Max, a.Max), cmp.Compare(b.Generation, a.Generation))
	})
	for _, n := range all {
		if len(live) == 0 || live[len(live)-1].Max < n.Min {
			live = append(live, n)
			continue
		}
		last := live[len(live)-1]
		if last != n && !last.Supersedes(n) {
			return nil, nil, fmt.Errorf("the bundles %s and %s overlap, and neither covers the other", last, n)
		}
		superseded = append(superseded, n)
	}
	return live, superseded, nil
}
