package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// Format is a way to spread the files of a database over directories. It is
// chosen when a storage is created and can't be changed.
type Format string

// The formats. Their values are those in config/settings.
const (
	Bushy  Format = "bushy"  // a directory for each object, 8 levels; up to 4,096 side by side
	Chunky Format = "chunky" // the files of up to 65,536 objects in a directory, 4 levels
	Lawn   Format = "lawn"   // one directory an object, all of them side by side
	Flat   Format = "flat"   // no directories
)

// Formats returns the four formats with a file for each revision, in the order in which
// documents name them.
func Formats() []Format { return []Format{Bushy, Chunky, Lawn, Flat} }

// String returns the name of the format.
func (f Format) String() string { return string(f) }

// ParseFormat accepts the names of the four formats and of [Bundled], and nothing else. The
// original refuses bushy4, which one of its pre-releases had, and so do we.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Bushy, Chunky, Lawn, Flat, Bundled:
		return f, nil
	}
	hint := ""
	if s == "bushy4" {
		hint = " (bushy4 was a format of a pre-release and is not supported)"
	}
	return "", fmt.Errorf("unknown format %q: want %s, %s, %s, %s or %s%s", s, Bundled, Bushy, Chunky, Lawn, Flat, hint)
}

// Path returns where a file is, relative to A or B, with slashes. The Format
// must be one of the four and the Name must not be zero.
func (f Format) Path(n Name) string {
	var buf [maxPath]byte
	return string(f.appendPath(buf[:0], n))
}

func (f Format) appendPath(b []byte, n Name) []byte {
	switch f {
	case Bushy:
		b = appendBushy(b, n)
	case Chunky:
		return appendChunky(b, n)
	case Bundled:
		return appendBundled(b, n)
	case Lawn:
		b = n.appendHead(b)
	default:
		return n.append(b)
	}
	if n.Kind == KindObject {
		return b
	}
	return n.appendRest(append(b, '/'))
}

// appendBushy appends the head of a name in pieces of two characters; the last
// one has up to three.
func appendBushy(b []byte, n Name) []byte {
	var buf [oidHead]byte
	head := n.appendHead(buf[:0])
	for len(head) > 3 {
		b = append(b, head[0], head[1], '/')
		head = head[2:]
	}
	return append(b, head...)
}

// appendChunky appends a path. The first piece of the head has four characters,
// because all objects share the first one, the other pieces have three. The rest,
// up to four, begins the file's name.
func appendChunky(b []byte, n Name) []byte {
	var buf [oidHead]byte
	head := n.appendHead(buf[:0])
	separator := byte('.')
	if len(head) < 3 {
		separator = '/'
	}
	for piece := 4; len(head) > 4; piece = 3 {
		b = append(append(b, head[:piece]...), '/')
		head = head[piece:]
	}
	b = append(b, head...)
	if n.Kind == KindObject {
		return b
	}
	return n.appendRest(append(b, separator))
}

// Parse is the inverse of [Format.Path]. It reports false for every path that
// Path never returns.
func (f Format) Parse(path string) (Name, bool) {
	if f == Bundled {
		return parseBundled(path)
	}
	if path == "" || len(path) > maxPath {
		return Name{}, false
	}
	// Take out the slashes, and where the format has none, put in the first dot.
	var buf [maxPath + 1]byte
	b := buf[:0]
	dot := 0
	switch {
	case f == Flat, f == Chunky && path[0] != 'x':
	case path[0] == 'o':
		dot = oidHead
	case path[0] == 't':
		dot = tidHead
	case path[0] == 'x':
		dot = 1
	}
	for i := range len(path) {
		if c := path[i]; c != '/' {
			if dot > 0 && len(b) == dot {
				b = append(b, '.')
			}
			b = append(b, c)
		}
	}
	n, ok := parseName(b)
	if !ok {
		return Name{}, false
	}
	// Only the one right place for the slashes will do.
	if string(f.appendPath(buf[:0], n)) != path {
		return Name{}, false
	}
	return n, true
}

// ParseDeleted reads the path of a file that pack put aside: the path of a
// database file with “-SECONDS-deleted” appended, where SECONDS since 1970 is
// when that pack removed files. Without a number, “-deleted”, seconds is 0; old
// releases of the original made such names.
func (f Format) ParseDeleted(path string) (n Name, seconds int64, ok bool) {
	path, ok = strings.CutSuffix(path, deletedSuffix)
	if !ok {
		return Name{}, 0, false
	}
	if dash := strings.LastIndexByte(path, '-'); dash >= 0 {
		v, err := strconv.ParseUint(path[dash+1:], 10, 63)
		if err != nil {
			return Name{}, 0, false
		}
		path, seconds = path[:dash], int64(v)
	}
	if n, ok = f.Parse(path); !ok {
		return Name{}, 0, false
	}
	return n, seconds, true
}
