package estimate

import "strings"

// tree adds up the directories above files whose paths come in an order in which each directory is
// left once. Its own root is not counted.
type tree struct {
	place *Place
	open  []branch // the way to the last file, without the root
	root  int64    // entries of the root, in bytes
	dirs  int64
	bytes int64 // of directories that were left
}

type branch struct {
	name    string
	entries int64
}

// add puts files with names of one length, all beside a path; extra are the lengths of further names
// there, of which there are times many, a fraction as it is an average.
func (t *tree) add(path string, extra int, times float64) {
	depth, rest := 0, path
	same := true
	for {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			break
		}
		name := rest[:slash]
		rest = rest[slash+1:]
		if same && depth < len(t.open) && t.open[depth].name == name {
			depth++
			continue
		}
		if same {
			t.leave(depth)
			same = false
		}
		*t.inside() += entry(len(name))
		t.open = append(t.open, branch{name: strings.Clone(name)})
		t.dirs++
		depth++
	}
	if same {
		t.leave(depth)
	}
	*t.inside() += entry(len(rest)) + int64(times*float64(entry(extra)))
}

func (t *tree) inside() *int64 {
	if len(t.open) == 0 {
		return &t.root
	}
	return &t.open[len(t.open)-1].entries
}

// leave ends the directories below a depth.
func (t *tree) leave(depth int) {
	for len(t.open) > depth {
		t.bytes += t.place.directory(t.inner())
		t.open = t.open[:len(t.open)-1]
	}
}

func (t *tree) inner() int64 { return t.open[len(t.open)-1].entries }

// sum is the number of directories so far and their space; more files may follow.
func (t *tree) sum() (dirs, bytes int64) {
	bytes = t.bytes
	for _, b := range t.open {
		bytes += t.place.directory(b.entries)
	}
	return t.dirs, bytes
}

// fileName is the length of the last element of a path.
func fileName(path string) int { return len(path) - strings.LastIndexByte(path, '/') - 1 }
