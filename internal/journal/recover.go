package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Recovered describes the log as Open found it.
type Recovered struct {
	// Transactions are the committed ones that are in the log as a whole, in the
	// order in which they were committed, their tids growing. Some may have been
	// released before.
	Transactions []*Committed
	// Freed is the last transaction whose commit was found while its data were
	// given back: it was released, so it must be in A or B. 0 = none.
	Freed zodb.TID
	// Cut describes bytes behind the end of the log, or the reason of the cut; nil if the log
	// simply ends.
	Cut *Cut
}

// Committed is a committed transaction, without the data of its records.
type Committed struct {
	TID      zodb.TID
	Previous zodb.TID // the transaction before it; 0 = none
	MaxOID   zodb.OID // highest oid handed out when it was committed
	Meta     zodb.TxnMeta
	Packed   bool    // see [Pending]
	Records  []Entry // in the order in which they were appended
}

// Cut tells where the log was cut.
type Cut struct {
	Path    string // relative to HOME
	Offset  int64
	Reason  string
	Commits int // commit frames that were found behind the cut and not taken
}

// source is a segment that is read by recovery.
type source struct {
	seq  uint64
	path string
	f    vfs.File
	size int64
	h    header
	bad  error // the fault of the header
	end  int64 // of the good part, known when it was scanned
}

// recovery reads the log. The rules are in the package's description.
type recovery struct {
	o       *Options
	open    func(name string) (vfs.File, error)
	strict  bool      // the newest segment must have a header, even if there is nothing in it
	sources []*source // the log: ascending, without holes
	stale   []string  // files of the log that mean nothing: given up, spare
	behind  []string  // files behind the cut
	votes   map[uint64]*vote
	newest  *scanned            // of the last source
	last    zodb.TID            // last commit
	where   map[zodb.TID]uint64 // segment that holds the data of a transaction
	found   Recovered
}

// advice is the way out of damage.
const advice = "Copy the whole HOME before anything else is tried. " +
	"Without the files log-* and spare-* in the journal the storage opens again, and lacks the transactions that are in them"

// readLog reads the log. Files that it opened stay open if there is no error.
func readLog(o *Options, open func(string) (vfs.File, error), strict bool) (*recovery, error) {
	r := &recovery{o: o, open: open, strict: strict, votes: make(map[uint64]*vote), where: make(map[zodb.TID]uint64)}
	if err := r.read(); err != nil {
		return nil, errors.Join(err, r.closeFrom(0))
	}
	return r, nil
}

func (r *recovery) read() error {
	seqs, err := r.list()
	if err != nil {
		return err
	}
	if seqs, err = r.openNewest(seqs); err != nil || len(seqs) == 0 {
		return err
	}
	if err := r.openOlder(seqs); err != nil {
		return err
	}
	for i := range r.sources {
		if goOn, err := r.readSource(i); err != nil {
			return err
		} else if !goOn {
			for _, s := range r.sources[i+1:] {
				r.behind = append(r.behind, s.path)
			}
			return r.closeFrom(i + 1)
		}
	}
	return nil
}

// closeFrom closes the sources from the i-th on and forgets them.
func (r *recovery) closeFrom(i int) error {
	var errs []error
	for _, s := range r.sources[min(i, len(r.sources)):] {
		errs = append(errs, s.f.Close())
	}
	r.sources = r.sources[:min(i, len(r.sources))]
	return errors.Join(errs...)
}

// list returns the numbers of the segments, ascending.
func (r *recovery) list() ([]uint64, error) {
	var seqs []uint64
	for e, err := range r.o.FS.List(r.o.Dir) {
		if err != nil {
			return nil, fmt.Errorf("list the log: %w", err)
		}
		if seq, ok := parseSegmentName(e.Name); ok {
			seqs = append(seqs, seq)
		} else if isSpare(e.Name) {
			r.stale = append(r.stale, r.o.path(e.Name))
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// source opens a segment and reads its header. A header that does not fit is
// noted; one of another storage or of a newer version is an error.
func (r *recovery) source(seq uint64) (*source, error) {
	s := &source{seq: seq, path: r.o.path(segmentName(seq))}
	var err error
	if s.f, err = r.open(s.path); err != nil {
		return nil, err
	}
	if err := r.readHeader(s); err != nil {
		return nil, errors.Join(err, s.f.Close())
	}
	return s, nil
}

func (r *recovery) readHeader(s *source) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size
	b := make([]byte, headerSize)
	n, err := s.f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.h, s.bad = parseHeader(b[:n])
	if newer, ok := errors.AsType[*layout.NewerError](s.bad); ok {
		at := *newer
		at.Path = s.path
		return &at
	}
	if s.bad != nil {
		return nil
	}
	if s.h.identity != r.o.Identity {
		return &zodb.CorruptError{Path: s.path, Reason: fmt.Sprintf(
			"it belongs to another storage, with identity %X, not %X: the journal was probably copied here by mistake", s.h.identity, r.o.Identity)}
	}
	if s.h.seq != s.seq {
		s.bad = fmt.Errorf("the header is that of segment %016X", s.h.seq)
	}
	return nil
}

// openNewest opens and scans the newest segment, and returns the numbers up to
// it. One that never got its header does not count, unless that is impossible.
func (r *recovery) openNewest(seqs []uint64) ([]uint64, error) {
	for len(seqs) > 0 {
		s, err := r.source(seqs[len(seqs)-1])
		if err != nil {
			return nil, err
		}
		r.sources = []*source{s}
		r.newest, err = scan(s.f, r.o.Identity, s.seq, s.size, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
		if s.bad == nil {
			return seqs, nil
		}
		if r.strict || r.newest.valid > 0 {
			return nil, damage(s, 0, s.bad.Error())
		}
		r.found.Cut = &Cut{Path: s.path, Reason: s.bad.Error()}
		r.behind = append(r.behind, s.path)
		if err := r.closeFrom(0); err != nil {
			return nil, err
		}
		seqs = seqs[:len(seqs)-1]
	}
	return nil, nil
}

// openOlder opens the segments before the newest, from the oldest that is
// needed on.
func (r *recovery) openOlder(seqs []uint64) error {
	newest := r.sources[0]
	oldest := max(newest.h.oldest, r.newest.oldest)
	first, _ := slices.BinarySearch(seqs, oldest)
	for i := len(seqs) - 1; i > first; i-- {
		if seqs[i-1] == seqs[i]-1 {
			continue
		}
		if newest.h.durable {
			return r.missing(seqs[i] - 1)
		}
		first = i // the mark may have been lost, and the removals not
		break
	}
	if seqs[first] != oldest && newest.h.durable {
		return r.missing(oldest)
	}
	for _, seq := range seqs[:first] {
		r.stale = append(r.stale, r.o.path(segmentName(seq)))
	}
	for _, seq := range seqs[first : len(seqs)-1] {
		s, err := r.source(seq)
		if err != nil {
			return err
		}
		r.sources = slices.Insert(r.sources, len(r.sources)-1, s)
	}
	return nil
}

func (r *recovery) missing(seq uint64) error {
	return &zodb.CorruptError{Path: r.o.path(segmentName(seq)),
		Reason: "this segment of the log is missing, although it is needed. " + advice}
}

func damage(s *source, offset int64, reason string) error {
	return &zodb.CorruptError{Path: s.path, Offset: offset,
		Reason: reason + ". This was durable once, so it is damage and not the end of an interrupted write. " + advice}
}

// readSource takes the transactions of the i-th segment; false if the log is cut there.
func (r *recovery) readSource(i int) (goOn bool, err error) {
	s, sc := r.sources[i], r.newest
	last := i == len(r.sources)-1
	durable := false // all of it, up to where the next segment says that it ends
	if !last {
		next := r.sources[i+1]
		if next.bad != nil {
			return false, damage(next, 0, next.bad.Error())
		}
		durable = next.h.durable
		if sc, err = scan(s.f, r.o.Identity, s.seq, next.h.previous, true); err != nil {
			return false, fmt.Errorf("%s: %w", s.path, err)
		}
	}
	if s.bad != nil {
		return false, damage(s, 0, s.bad.Error())
	}
	if sc.why != "" && (durable || sc.durable > sc.end) {
		return false, damage(s, sc.end, sc.why)
	}
	s.end = sc.end
	for _, it := range sc.items {
		if it.vote != nil {
			r.votes[it.vote.handle] = it.vote
			continue
		}
		why := r.take(s, it)
		if why == "" {
			continue
		}
		c := it.commit
		if durable || c.tid <= c.previous || c.previous < r.last ||
			c.meta.Segment == s.seq && sc.durable > c.meta.Offset || c.meta.Segment != s.seq && s.h.durable {
			return false, damage(s, it.offset, why)
		}
		s.end = it.offset
		r.cut(s, why, 1)
		return false, nil
	}
	if sc.why != "" && (!last || sc.behind > 0) {
		r.cut(s, sc.why, sc.behind)
	}
	return sc.why == "", nil
}

func (r *recovery) cut(s *source, why string, commits int) {
	r.found.Cut = &Cut{Path: s.path, Offset: s.end, Reason: why, Commits: commits}
}

// take adds a committed transaction. The result describes a misfit; empty: it fits.
func (r *recovery) take(s *source, it item) string {
	c := it.commit
	if c.tid <= c.previous || c.previous < r.last {
		return fmt.Sprintf("transaction %s, which follows %s, was committed after %s", c.tid, c.previous, r.last)
	}
	if c.meta.Segment < r.sources[0].seq {
		r.last, r.found.Freed = c.tid, c.tid
		return ""
	}
	v := r.votes[c.handle]
	if v == nil || v.pos != c.meta {
		return fmt.Sprintf("the data of transaction %s, which were at %d in segment %016X, are not there", c.tid, c.meta.Offset, c.meta.Segment)
	}
	delete(r.votes, c.handle)
	for i := range v.records {
		v.records[i].TID = c.tid
	}
	r.last = c.tid
	r.where[c.tid] = c.meta.Segment
	r.found.Transactions = append(r.found.Transactions,
		&Committed{TID: c.tid, Previous: c.previous, MaxOID: c.maxOID, Meta: v.meta, Packed: v.packed, Records: v.records})
	return ""
}
