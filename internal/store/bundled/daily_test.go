package bundled_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// paddedTxn has records that do not compress.
type paddedTxn struct{ *storetest.Txn }

const padding = 1000

// AppendRevision implements [store.Transaction].
func (x paddedTxn) AppendRevision(dst []byte, i int) ([]byte, error) {
	data := make([]byte, padding)
	seed := [32]byte(append(x.Tid.Append(x.OIDs[i].Append(nil)), make([]byte, 16)...))
	if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
		return nil, err
	}
	o := record.Object{OID: x.OIDs[i], Serial: x.Tid, Previous: x.Before[x.OIDs[i]], Data: data}
	return o.Append(dst, record.MD5)
}

// site is a home that is used and packed each day. Packs leave no old revision.
type site struct {
	s    store.Store
	r    *rand.Rand
	last zodb.TID
	now  map[zodb.OID]zodb.TID
	live map[zodb.TID]int // revisions that are left of a transaction
	old  []layout.Name    // that the next pack removes
	// aside is how many revisions and transactions each pack has put aside.
	aside map[int64]int
}

const day = 24 * 60 * 60

// write commits and flushes one transaction.
func (s *site) write(oids []zodb.OID) error {
	x := paddedTxn{&storetest.Txn{Tid: s.last + 1<<20, Previous: s.last, OIDs: oids, Before: make(map[zodb.OID]zodb.TID)}}
	for _, oid := range oids {
		if was, ok := s.now[oid]; ok {
			x.Before[oid] = was
			s.old = append(s.old, layout.Revision(oid, was))
		}
		s.now[oid] = x.Tid
	}
	s.live[x.Tid], s.last = len(oids), x.Tid
	return errors.Join(s.s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.s.SetLast(store.A, x.Tid))
}

// pack puts aside all that is not current.
func (s *site) pack(stamp int64) error {
	var what store.Removal
	for _, n := range s.old {
		what.Revisions = append(what.Revisions, store.Revisions{OID: n.OID, TIDs: []zodb.TID{n.TID}})
		if s.live[n.TID]--; s.live[n.TID] == 0 {
			what.Transactions = append(what.Transactions, n.TID)
		}
	}
	s.aside[stamp] = len(s.old)
	s.old = nil
	_, err := s.s.Remove(stamp, what)
	return errors.Join(s.s.SetPacked(s.last), err, s.s.Sync())
}

// tend does all that there is, as when nobody commits for a minute, and returns the bytes written.
func (s *site) tend(before int64) (written int64, err error) {
	for _, least := range []float64{0.5, 0.3} {
		n, err := s.tendOnly(least, before)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// tendOnly does all that there is with one threshold.
func (s *site) tendOnly(least float64, before int64) (written int64, err error) {
	for range 1000 {
		c, err := s.s.Tend(store.Tending{Least: least, Before: before})
		if err != nil {
			return written, err
		}
		found, err := c.Prepare(context.Background())
		var n store.Tended
		if err == nil && found {
			n, err = c.Publish()
		}
		written += n.Bytes
		if err = errors.Join(err, c.Close()); err != nil || !found {
			return written, err
		}
	}
	return written, nil
}

func bundleBytes(disk vfs.FS) (size int64, bundles int, err error) {
	for e, err := range disk.List("A/bundles") {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		info, err := disk.Stat("A/bundles/" + e.Name)
		if err != nil {
			return 0, 0, err
		}
		size += info.Size
		if _, number, _ := bundle.ParseName(e.Name); number == 0 {
			bundles++
		}
	}
	return size, bundles, nil
}

// TestDailyPacksWithDelayStayBounded: a busy home that is packed each day and has a delay_delete of ten days
// takes up current members and those to bring back, and a part of that more. All that is aside can be
// brought back at the end, and is as it was.
func TestDailyPacksWithDelayStayBounded(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("thirty days take seconds")
	}
	const objects, hot, days, delay = 300, 20, 30, 10
	st, disk := newStore(t)
	s := &site{s: st, r: rand.New(rand.NewPCG(1, 2)), now: make(map[zodb.OID]zodb.TID), live: make(map[zodb.TID]int), aside: make(map[int64]int)}
	if _, empty, err := st.Thaw(1); err != nil || !empty {
		t.Fatal(err)
	}
	var all []zodb.OID
	for oid := range zodb.OID(objects) {
		all = append(all, oid)
	}
	if err := s.write(all); err != nil {
		t.Fatal(err)
	}
	written, revisions := int64(0), objects
	for d := int64(1); d <= days; d++ {
		for k := range 8 { // flushes a day
			oids := slices.Clone(all[:hot])
			for range 5 {
				if oid := zodb.OID(hot + s.r.IntN(objects-hot)); !slices.Contains(oids, oid) {
					oids = append(oids, oid)
				}
			}
			if err := s.write(oids[k*2:]); err != nil { // some of the hot ones each time
				t.Fatal(err)
			}
			revisions += len(oids) - k*2
		}
		err := s.pack(d * day)
		n, terr := s.tend((d-delay)*day + 1)
		if err = errors.Join(err, terr); err != nil {
			t.Fatal(err)
		}
		written += n
		delete(s.aside, d-delay)
		kept := objects
		for stamp, n := range s.aside {
			if stamp > (d-delay)*day {
				kept += n
			}
		}
		size, bundles, err := bundleBytes(disk)
		if err != nil {
			t.Fatal(err)
		}
		// 30 % of each bundle may be gone for good; a record takes up some hundred bytes besides.
		if most := int64(float64(kept) * (padding + 250) / 0.7); size > most || bundles > 20 {
			t.Errorf("day %d: %d bytes in %d bundles; %d revisions are there or can be brought back: %d bytes", d, size, bundles, kept, most)
		}
	}
	size, bundles, err := bundleBytes(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %d bundles; %d revisions were put, %d bytes; merges and rewritings have written %d bytes", size, bundles, revisions, revisions*padding, written)
	if size > int64(revisions)*padding*2/3 {
		t.Errorf("%d bytes after %d revisions: next to nothing was given back", size, revisions)
	}
	for stamp := int64(days - delay + 2); stamp <= days; stamp++ {
		b := st.BringBack(stamp * day)
		n := int64(0)
		for done := false; !done; {
			step, err := b.Step(10, func() error { return nil })
			if done = step.Done; err != nil {
				t.Fatal(err)
			}
			n += step.Revisions
		}
		b.Close()
		if n != int64(s.aside[stamp*day]) || n == 0 {
			t.Errorf("of the pack of day %d %d revisions came back, it had put %d aside", stamp, n, s.aside[stamp*day])
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
