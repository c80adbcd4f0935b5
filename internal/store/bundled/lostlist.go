package bundled

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/zodb"
)

// A gone list that is lost is like one that never was: the one that the bundle carries counts, or
// none. The note of the table of current revisions has the numbers of the lists, so an open can tell
// which ones are missing. It is not damage by itself: A may have been copied from elsewhere.

// notedList is the line of a bundle in a note, and the number of its list; 0: it has none.
type notedList struct {
	line   string
	number uint64
}

// is reports whether the line says of a part what is so, and everything that was put since was of the list that
// it has. A sum does not tell that: while the list of a pack is not on the disk yet, the sum of that is noted with the
// number of the one before. A higher number is of a list that is lost.
func (l notedList) is(p *part, behind bool) bool {
	return l.line == p.noteLine(behind) && l.number >= p.number && !strings.HasSuffix(l.line, unknownSum)
}

// isBehind reports whether the line says that the part is behind, whatever its list is.
func (l notedList) isBehind(p *part) bool {
	return strings.HasPrefix(l.line, p.noteBegin()+" "+behindWord)
}

// noteNumber ends the line of a bundle in the note: the number of its list. Numbers never go down.
func (p *part) noteNumber() string {
	if number := max(p.number, p.noted); number > 0 {
		return fmt.Sprintf(" %d", number)
	}
	return ""
}

// cutNote takes a line of a note apart, into what noteLine and noteNumber have made. Earlier builds
// had no numbers.
func cutNote(line string) (n bundle.Name, begin string, number uint64, ok bool) {
	said := strings.Fields(line)
	if len(said) == 4 {
		var err error
		if number, err = strconv.ParseUint(said[3], 10, 64); err != nil {
			return n, "", 0, false
		}
		said = said[:3]
	}
	if len(said) != 3 {
		return n, "", 0, false
	}
	n, _, ok = bundle.ParseName(said[0])
	return n, strings.Join(said, " "), number, ok
}

// LostLists implements [store.Tender]. A list that was written since has a higher number, and takes the
// place of the lost one.
func (s *Store) LostLists() (paths []string) {
	v := s.view()
	defer v.release()
	for i := range v.parts {
		if p := &v.parts[i]; p.noted > p.number {
			paths = append(paths, p.lostList())
		}
	}
	return paths
}

// lostList is the path of the list that is lost.
func (p *part) lostList() string { return dirOf(p.side) + "/" + p.name.Gone(p.noted) }

// warnOfLostLists tells which lists are missing that the note of a table has. The next list of such
// a bundle has a higher number: a backup may have the lost one.
func (s *Store) warnOfLostLists(t *table, v *view) {
	for i := range v.parts {
		p := &v.parts[i]
		said, ok := t.lists[p.name]
		if !ok || said.number <= p.number || !strings.HasPrefix(said.line, p.noteBegin()+" ") {
			continue
		}
		p.noted = said.number
		p.tried = max(p.tried, said.number)
		path := p.lostList()
		s.warnOnce(path, "a list of removed members of a bundle is missing: members that packs removed since may be there again, and members that undelete "+
			"brought back may be removed; put the file back, from a backup or a copy of this HOME", &zodb.CorruptError{
			Path: path, Reason: "it is not there, and was when the storage was last open for writing"})
	}
}
