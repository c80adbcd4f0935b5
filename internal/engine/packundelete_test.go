package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPacksAndUndeletesInAnyOrderLoseNothing: packs that put aside, undeletes of one of them and of all, and power cuts
// or kills within each. At each step check finds no damage, and a backup by time stamps has all of A; an undelete of all
// packs brings back every file, transaction and revision in the end.
func TestPacksAndUndeletesInAnyOrderLoseNothing(t *testing.T) {
	t.Parallel()
	rounds := hometest.Rounds(t, hometest.OneOf(4, 1, 1)*len(allFormats()))
	phase := hometest.Phase(t)
	for i := range rounds {
		seed := uint64(phase*rounds + i)
		format := allFormats()[i%len(allFormats())]
		c := packCase{format: format, seed: seed, set: "storage.min_pack_time=0"}
		u := &undeletes{c: c, r: rand.New(rand.NewPCG(seed, 1)), interrupted: make(map[int64]bool)}
		if err := u.run(t); err != nil {
			t.Errorf("seed %d, %s: %v\n%s", seed, format, err, strings.Join(u.log, "\n"))
		}
	}
}

// undeletes is one run of the test.
type undeletes struct {
	c      packCase
	r      *rand.Rand
	f      *crashfs.FS
	s      *Storage
	m      *packModel
	stamps []int64
	// interrupted are the stamps of undeletes that were cut and not repeated; 0: of all.
	interrupted map[int64]bool
	log         []string
}

func (u *undeletes) run(t *testing.T) (err error) {
	u.f = crashfs.New(int64(u.c.seed))
	if err := u.c.home(u.f); err != nil {
		return err
	}
	if u.s, u.m, err = u.c.filled(t.Context(), u.c.options(u.f), 24); err != nil {
		return err
	}
	defer func() { _ = u.s.Close() }() // the last one is closed below
	files, transactions := filesOf(u.f, u.c.format), tids(t, u.s)
	var backup mirror
	for range 8 {
		if err := backup.take(t.Context(), u.s); err != nil {
			return err
		}
		if err := u.step(t.Context()); err != nil {
			return err
		}
		if err := damaged(t.Context(), u.f); err != nil {
			return err
		}
	}
	if _, err := u.s.Undelete(t.Context(), 0); err != nil {
		return fmt.Errorf("the last undelete: %w", err)
	}
	if err := backup.take(t.Context(), u.s); err != nil {
		return err
	}
	if now := filesOf(u.f, u.c.format); !slices.Equal(files, now) {
		return fmt.Errorf("files in the end:\n%s", difference(files, now))
	}
	if got := tids(t, u.s); !slices.Equal(got, transactions) {
		return fmt.Errorf("transactions in the end: %v, want %v", got, transactions)
	}
	return errors.Join(u.m.verify(t.Context(), u.s), u.s.Close(), sound(t.Context(), u.f, false))
}

// step packs or undeletes, and may cut that.
func (u *undeletes) step(ctx context.Context) (err error) {
	cut := u.r.IntN(3) > 0
	if cut {
		u.f.CrashAt(u.f.Ops() + 1 + u.r.IntN([]int{30, 150, 600}[u.r.IntN(3)]))
	}
	switch k := u.r.IntN(5); {
	case k < 2:
		err = u.pack(ctx, zodb.PackOptions{Time: u.m.txns[6+u.r.IntN(17)].tid.Time()})
	case k < 4 && len(u.stamps) > 0:
		err = u.undelete(ctx, u.stamps[u.r.IntN(len(u.stamps))])
	default:
		err = u.undelete(ctx, 0)
	}
	if cut {
		return u.again(ctx)
	}
	return err
}

// pack packs. After an undelete that was interrupted it may be refused, until that of all packs.
func (u *undeletes) pack(ctx context.Context, o zodb.PackOptions) error {
	done, err := u.s.Pack(ctx, o)
	u.log = append(u.log, fmt.Sprintf("pack with stamp %d: %v", done.Stamp, err))
	if done.Stamp != 0 {
		u.stamps = append(u.stamps, done.Stamp)
	}
	if err == nil || len(u.interrupted) == 0 || !strings.Contains(err.Error(), "“pack --undelete all” brings it back") {
		return err
	}
	u.f.CrashAt(0)
	if err := u.undelete(ctx, 0); err != nil {
		return err
	}
	return u.pack(ctx, o)
}

func (u *undeletes) undelete(ctx context.Context, stamp int64) error {
	_, err := u.s.Undelete(ctx, stamp)
	u.log = append(u.log, fmt.Sprintf("undelete %d: %v", stamp, err))
	switch {
	case err != nil:
		u.interrupted[stamp] = true
		return err
	case stamp == 0:
		clear(u.interrupted)
	default:
		delete(u.interrupted, stamp)
	}
	if len(u.interrupted) == 0 {
		err = u.whole(ctx)
	}
	return err
}

// whole looks whether each revision is one of an object that can be loaded, and has its transaction.
func (u *undeletes) whole(ctx context.Context) error {
	there := make(map[layout.Name]bool)
	for n, err := range u.s.store.Names(ctx, layout.KindObject, layout.KindRevision, layout.KindTransaction) {
		if err != nil {
			return err
		}
		there[n] = true
	}
	for n := range there {
		if n.Kind == layout.KindRevision && !(there[layout.Object(n.OID)] && there[layout.Transaction(n.TID)]) {
			return fmt.Errorf("%s is there without its object or its transaction", n)
		}
	}
	return nil
}

// again opens what a power cut or a kill has left.
func (u *undeletes) again(ctx context.Context) (err error) {
	u.f.CrashAt(0)
	_ = u.s.Close() // nothing of it reaches the disk that is looked at: it failed, or is all there
	if u.r.IntN(2) == 0 {
		u.log = append(u.log, "  killed")
		u.f = u.f.Killed()
	} else {
		mode := []crashfs.Mode{crashfs.KeepNone, crashfs.Random(u.r.Uint32())}[u.r.IntN(2)]
		u.log = append(u.log, fmt.Sprintf("  power cut, %v", mode))
		u.f = u.f.Crashed(mode)
	}
	if err := damaged(ctx, u.f); err != nil {
		return fmt.Errorf("before the open: %w", err)
	}
	if u.s, err = Open(ctx, "", u.c.options(u.f)); err != nil {
		return err
	}
	return u.s.WaitPack(ctx)
}
