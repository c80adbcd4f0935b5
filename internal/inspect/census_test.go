package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/inspect"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

func census(t testing.TB, s inspect.Storage, o inspect.CensusOptions) *inspect.Census {
	t.Helper()
	o.Clock = time.Now
	c := inspect.NewCensus(s, o)
	t.Cleanup(c.Close)
	return c
}

// counted starts a count and waits for its result.
func counted(t testing.TB, c *inspect.Census) *inspect.CensusCount {
	t.Helper()
	if !c.Start(0) {
		t.Fatal("it does not start")
	}
	var last *inspect.CensusCount
	hometest.Eventually(t, "the count ends", func() bool {
		var under *inspect.Progress
		under, last = c.Last()
		return under == nil
	})
	return last
}

func dryRun(s *engine.Storage) func(context.Context, int) (zodb.PackResult, error) {
	return func(ctx context.Context, _ int) (zodb.PackResult, error) {
		return s.Pack(ctx, zodb.PackOptions{DryRun: true, Time: s.LastTransaction().Time()})
	}
}

func TestACensusCountsClasses(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, _ *inspect.Browser) {
		site(t, s)
		large := Object("m", "Large", Text(fmt.Sprintf("%5000d", 1)))
		store(t, s, 50, large) // nothing refers to it
		store(t, s, 51, []byte("garbage"))
		enginetest.Commit(t, s, enginetest.Change{OID: notes})
		flush(t, s)
		c := census(t, s, inspect.CensusOptions{DryRun: dryRun(s)})
		if under, last := c.Last(); under != nil || last != nil {
			t.Errorf("before the first: %v, %v", under, last)
		}
		n := counted(t, c)
		if n.Err != "" || n.Objects != 10 || n.Gone != 1 || n.Damaged != 0 || n.TID != s.LastTransaction() {
			t.Errorf("%+v", n)
		}
		if k := n.Classes[0]; k.Class != "m.Large" || k.Objects != 1 || k.Bytes != int64(len(large)) || k.Largest != 50 {
			t.Errorf("the largest class: %+v", k)
		}
		if o := n.Largest[0]; o.OID != 50 || o.Class != "m.Large" || len(n.Largest) != 10 {
			t.Errorf("the largest objects: %+v", n.Largest)
		}
		byName := make(map[string]inspect.ClassCount)
		total := int64(0)
		for _, k := range n.Classes {
			byName[k.Class] = k
			total += k.Bytes
		}
		if total != n.Bytes || byName["Products.News.Item"].Objects != 2 || byName["BTrees.OOBTree.OOBucket"].Objects != 2 || byName["(no class)"].Objects != 1 {
			t.Errorf("classes: %+v, %d bytes of %d", byName, total, n.Bytes)
		}
		if n.Pack == nil && n.NoPack == "" {
			t.Error("nothing is said about a pack")
		}
	})
}

func TestACensusSaysWhatAPackWouldRemove(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{Set: map[string]string{"storage.min_pack_time": "0"}})
	site(t, s)
	store(t, s, 50, Object("m", "Lost", Text("nobody refers to this one")))
	for i := range 3 {
		store(t, s, root, Object("persistent.mapping", "PersistentMapping", Dict(Text("data"), Dict(Text("Application"), Ref(app, "a", "A"), Text("n"), Int(i)))))
	}
	n := counted(t, census(t, s, inspect.CensusOptions{DryRun: func(ctx context.Context, _ int) (zodb.PackResult, error) {
		return s.Pack(ctx, zodb.PackOptions{DryRun: true})
	}}))
	if n.Pack == nil || n.Pack.Objects != 1 || n.Pack.OldRevisions == 0 {
		t.Fatalf("pack: %+v, %s", n.Pack, n.NoPack)
	}
	for _, k := range n.Classes {
		if want := map[bool]int64{true: 1}[k.Class == "m.Lost"]; k.Removed != want {
			t.Errorf("%s: %d would go, want %d", k.Class, k.Removed, want)
		}
	}
	n = counted(t, census(t, s, inspect.CensusOptions{}))
	if n.Pack != nil || n.NoPack == "" {
		t.Errorf("without a dry run: %+v", n)
	}
	n = counted(t, census(t, s, inspect.CensusOptions{DryRun: func(context.Context, int) (zodb.PackResult, error) { return zodb.PackResult{}, errors.New("not now") }}))
	if n.NoPack != "not now" {
		t.Errorf("with one that fails: %+v", n)
	}
}

func TestManyClassesTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	for from := zodb.OID(0); from < 5600; from += 400 {
		var changes []enginetest.Change
		for oid := from; oid < from+400; oid++ {
			changes = append(changes, enginetest.Change{OID: oid, Data: Object("m", fmt.Sprintf("C%d", oid), None)})
		}
		enginetest.Commit(t, s, changes...)
	}
	n := counted(t, census(t, s, inspect.CensusOptions{Rest: -1}))
	if n.Objects != 5600 || len(n.Classes) != 5000 || n.Other.Objects != 600 || len(n.Largest) != 20 {
		t.Errorf("%d objects, %d classes, others %+v, %d largest", n.Objects, len(n.Classes), n.Other, len(n.Largest))
	}
}

// TestThereIsOneCountAtATime holds a count in its rest.
func TestThereIsOneCountAtATime(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	var changes []enginetest.Change
	for oid := range zodb.OID(600) {
		changes = append(changes, enginetest.Change{OID: oid, Data: Object("m", "C", None)})
	}
	enginetest.Commit(t, s, changes...)
	var rests atomic.Int64
	resting := make(chan struct{}, 10)
	c := census(t, s, inspect.CensusOptions{Sleep: func(ctx context.Context, _ time.Duration) {
		rests.Add(1)
		resting <- struct{}{}
		<-ctx.Done() // until Close
	}})
	if !c.Start(0) {
		t.Fatal("it does not start")
	}
	<-resting
	if c.Start(0) {
		t.Error("a second one starts")
	}
	if under, last := c.Last(); under == nil || under.Objects != 256 || under.Total < 256 || last != nil {
		t.Errorf("progress %+v, %+v", under, last)
	}
	c.Close()
	if under, last := c.Last(); under != nil || last != nil || rests.Load() != 1 {
		t.Errorf("after Close: %+v, %+v, %d rests", under, last, rests.Load())
	}
	if c.Start(0) {
		t.Error("it starts after Close")
	}
}

// failing is a storage whose list of objects ends with an error.
type failing struct{ *engine.Storage }

func (f failing) OIDs(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		_ = yield(root, nil) && yield(0, zodb.ErrClosed)
	}
}

func TestACountThatFailsSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	site(t, s)
	n := counted(t, census(t, failing{s}, inspect.CensusOptions{DryRun: dryRun(s)}))
	if n.Err == "" || n.Objects != 1 || n.Pack != nil {
		t.Errorf("%+v", n)
	}
}

// buggy is a storage whose objects have a bug.
type buggy struct{ inspect.Storage }

func (buggy) OIDs(context.Context) iter.Seq2[zodb.OID, error] { panic("a bug of a test") }

// TestABugInACountIsItsResult, and the next count is as good as any.
func TestABugInACountIsItsResult(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	site(t, s)
	var failed atomic.Int32
	c := census(t, buggy{s}, inspect.CensusOptions{Failed: func(text string) {
		if strings.Contains(text, "panic: a bug of a test") && strings.Contains(text, "census_test.go") {
			failed.Add(1)
		}
	}})
	for i := range int32(2) {
		if n := counted(t, c); !strings.Contains(n.Err, "panic: a bug of a test") || !strings.Contains(n.Err, "census_test.go") || n.Ended.IsZero() {
			t.Errorf("%+v", n)
		}
		if n := failed.Load(); n != i+1 {
			t.Errorf("after %d counts %d bugs were told", i+1, n)
		}
	}
}
