package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// rsyncer is a copy of A that rsync keeps: a file of the same size whose time is in the same second
// stays.
type rsyncer struct {
	name    string
	copy    *crashfs.FS
	deletes bool  // files that are gone
	coarse  int64 // seconds of the copy's time stamps are multiples of this
	window  int64 // times that differ by so many seconds are equal
}

// newRsyncers are rsync -a onto a usual file system, and rsync -a --modify-window=1 onto FAT.
func newRsyncers(deletes bool) []*rsyncer {
	return []*rsyncer{
		{name: "rsync", copy: crashfs.New(3), deletes: deletes, coarse: 1},
		{name: "rsync onto FAT", copy: crashfs.New(4), deletes: deletes, coarse: 2, window: 1},
	}
}

// lay copies a state of A over the copy.
func (r *rsyncer) lay(is map[string]fileState) error {
	for _, name := range slices.Sorted(maps.Keys(is)) {
		f := is[name]
		if f.IsDir() {
			if _, err := vfs.MkdirAll(r.copy, name); err != nil {
				return err
			}
			continue
		}
		info, err := r.copy.Stat(name)
		if off := info.ModTime.Unix() - f.ModTime.Unix(); err == nil && info.Size == f.Size && max(off, -off) <= r.window {
			continue
		}
		err = vfs.WriteFileAtomic(r.copy, "aside", name, []byte(f.content), vfs.SyncOptions{})
		if err == nil {
			err = r.copy.SetModTime(name, time.Unix(f.ModTime.Unix()/r.coarse*r.coarse, 0))
		}
		if err != nil {
			return err
		}
	}
	if !r.deletes {
		return nil
	}
	there, err := stateOf(r.copy, "A")
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(there))) {
		if _, ok := is[name]; !ok && err == nil {
			err = r.copy.Remove(name)
		}
	}
	return err
}

// TestRsyncOfEachSnapshotIsWhole: a copy of each snapshot that goes by size and whole seconds equals
// it, while the clock stands still, or the clock of the file system, which is another one.
func TestRsyncOfEachSnapshotIsWhole(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, format := range allFormats() {
		for _, off := range []time.Duration{0, -time.Hour, 700 * time.Millisecond, time.Hour} {
			for _, tick := range []time.Duration{0, 100 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, file system %s ahead, tick %s", format, off, tick), func(t *testing.T) {
					t.Parallel()
					rsyncOfSnapshots(t, format, off, tick)
				})
			}
		}
	}
}

func rsyncOfSnapshots(t *testing.T, format layout.Format, off, tick time.Duration) {
	ctx := t.Context()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	disk := crashfs.New(1)
	disk.SetClock(func() time.Time { return begin.Add(off) })
	c := packCase{format: format, set: "storage.min_pack_time=0"}
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	var now atomic.Int64
	o := scriptOptions(disk)
	o.Clock = func() time.Time { return begin.Add(time.Duration(now.Add(int64(tick)))) }
	s, err := Open(ctx, "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // it may be closed
	copies := newRsyncers(true)
	var asked []time.Time
	var states []map[string]fileState
	for round := range 6 {
		switch round {
		case 3: // the next process finds the clock stepped back
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			now.Add(-int64(1500 * time.Millisecond))
			if s, err = Open(ctx, "", o); err != nil {
				t.Fatal(err)
			}
		case 4:
			now.Add(int64(1500 * time.Millisecond))
		}
		if err := s.WaitNormal(ctx); err != nil {
			t.Fatal(err)
		}
		commit(t, s, change{oid: 0, data: rec(fmt.Sprintf("round %d", round), 1)}, change{oid: 1, data: rec("one")})
		last := commit(t, s, change{oid: 1, data: rec(fmt.Sprintf("other %d", round))})
		err := s.Flush(ctx)
		if err == nil {
			_, err = s.Pack(ctx, zodb.PackOptions{Time: last.Time()})
		}
		asked = append(asked, o.Clock())
		if err := errors.Join(err, s.EnterSnapshot(ctx, "rsync")); err != nil {
			t.Fatal(err)
		}
		is, err := stateOf(disk, "A")
		if err != nil {
			t.Fatal(err)
		}
		for i, was := range states {
			if err := looksNew(copied{asked[i], was}, is); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		states = append(states, is)
		for _, r := range copies {
			if err := r.lay(is); err != nil {
				t.Fatal(err)
			}
			there, err := stateOf(r.copy, "A")
			if err != nil {
				t.Fatal(err)
			}
			if names := differIn(is, there); len(names) > 0 {
				t.Errorf("round %d: %s leaves as they were: %s", round, r.name, strings.Join(names, ", "))
			}
		}
		// Files put while A stands still bear times of the next snapshot.
		commit(t, s, change{oid: 0, data: rec(fmt.Sprintf("while %d", round), 1)})
		if err := errors.Join(s.Flush(ctx), s.LeaveSnapshot(ctx, "rsync")); err != nil {
			t.Fatal(err)
		}
	}
	if is := states[len(states)-1]; tick > 0 && is["A/"+format.Path(layout.XPacked)].content == states[0]["A/"+format.Path(layout.XPacked)].content {
		t.Error("no pack moved x.packed")
	}
}

// differIn names the files that differ in their content, or are in one of two states alone.
func differIn(a, b map[string]fileState) (names []string) {
	for name := range maps.Keys(a) {
		if other, ok := b[name]; !ok || other.content != a[name].content {
			names = append(names, name)
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestTimesFarAheadAreLoggedOnce: the clock is set back by an hour, so files bear times ahead of it.
func TestTimesFarAheadAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var logged syncBuffer
	var back atomic.Int64
	s := open(t, newHome(t, CreateOptions{}), Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Clock: func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }})
	for _, c := range []struct {
		back time.Duration
		want int // lines so far
	}{{0, 0}, {time.Hour, 1}, {time.Hour, 1}, {-time.Hour, 1}, {2 * time.Hour, 2}} {
		back.Store(int64(c.back))
		commit(t, s, change{oid: 0, data: rec(c.back.String())})
		err := s.EnterSnapshot(t.Context(), "a")
		if err := errors.Join(err, s.LeaveSnapshot(t.Context(), "a"), s.WaitNormal(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(logged.String(), "ahead of the clock"); got != c.want {
			t.Errorf("with a clock that is %s behind the log has %d lines, want %d", c.back, got, c.want)
		}
	}
}
