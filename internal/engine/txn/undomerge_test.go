package txn_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// counter returns the record of a class that adds up: its state is a number.
func counter(class string, n int) []byte {
	module, name, _ := strings.Cut(class, "/")
	return fmt.Appendf(nil, "\x80\x03c%s\n%s\n.\x80\x03I%d\n.", module, name, n)
}

const adds = "BTrees.Length/Length"

func countOf(t testing.TB, data []byte) int {
	t.Helper()
	var n int
	_, state, ok := strings.Cut(string(data), ".\x80\x03I")
	if _, err := fmt.Sscanf(state, "%d\n.", &n); !ok || err != nil {
		t.Fatalf("%q is no counter", data)
	}
	return n
}

func ofBTrees(class string) bool { return strings.HasPrefix(class, "BTrees.") }

// mergeAll acts as a client: it votes, merges counters with those of the storage, stores,
// and votes again. between, if not nil, is called before each vote.
func mergeAll(t testing.TB, s *engine.Storage, txn zodb.Txn, between func(votes int)) (votes int, err error) {
	t.Helper()
	ctx := t.Context()
	for {
		if between != nil {
			between(votes)
		}
		votes++
		err := txn.Vote(ctx)
		c, ok := errors.AsType[*zodb.ConflictsError](err)
		if !ok || votes == 9 {
			return votes, err
		}
		for _, one := range c.Conflicts {
			state := func(tid zodb.TID) int {
				r, err := s.LoadRecord(ctx, one.OID, tid)
				if err != nil {
					t.Fatal(err)
				}
				return countOf(t, r.Data)
			}
			data, err := txn.Data(one.OID)
			if err != nil {
				t.Fatal(err)
			}
			merged := state(one.Current) + countOf(t, data) - state(one.Serial)
			if err := txn.Store(one.OID, one.Current, counter(adds, merged)); err != nil {
				return votes, err
			}
		}
	}
}

func beginMerging(t testing.TB, s *engine.Storage) zodb.Txn {
	t.Helper()
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{Mergeable: ofBTrees})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txn.Abort() })
	return txn
}

// counterWith commits a counter with these values one after the other.
func counterWith(t testing.TB, s *engine.Storage, values ...int) (tids []zodb.TID) {
	t.Helper()
	for _, n := range values {
		tids = append(tids, commit(t, s, change{oid: 1, data: counter(adds, n)}))
	}
	return tids
}

// TestUndoOfWhatWasChangedLaterIsMerged: the additions of the undone transactions are
// taken away, in any order of their names, and with as few votes as possible.
func TestUndoOfWhatWasChangedLaterIsMerged(t *testing.T) {
	t.Parallel()
	values := []int{1, 3, 7, 20, 50, 100, 200}
	for name, tc := range map[string]struct {
		undo        []int // indices of values
		want, votes int
	}{
		"one":                         {[]int{2}, 200 - 4, 2},
		"the last one":                {[]int{6}, 100, 1},
		"the last two, backwards":     {[]int{5, 6}, 50, 1},
		"two that follow each other":  {[]int{3, 2}, 200 - 17, 2},
		"two that follow, backwards":  {[]int{2, 3}, 200 - 17, 2},
		"three, mixed":                {[]int{3, 1, 2}, 200 - 19, 2},
		"two apart":                   {[]int{4, 2}, 200 - 30 - 4, 3},
		"three apart":                 {[]int{5, 3, 1}, 200 - 50 - 13 - 2, 4},
		"the last one and one before": {[]int{6, 3}, 100 - 13, 2},
		"one before and the last one": {[]int{3, 6}, 100 - 13, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inEveryPlace(t, func(t *testing.T, settle func(*engine.Storage)) {
				s := newStorage(t)
				tids := counterWith(t, s, values...)
				settle(s)
				txn := beginMerging(t, s)
				for _, i := range tc.undo {
					if oids, err := txn.Undo(t.Context(), tids[i]); err != nil || len(oids) != 1 {
						t.Fatal(oids, err)
					}
				}
				votes, err := mergeAll(t, s, txn, nil)
				if err != nil || votes != tc.votes {
					t.Errorf("%d votes, want %d; %v", votes, tc.votes, err)
				}
				if _, err := txn.Finish(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				if got := countOf(t, []byte(load(t, s, 1))); got != tc.want {
					t.Errorf("%d, want %d", got, tc.want)
				}
			})
		})
	}
}

// TestUndoThatCannotBeMergedIsRefused leaves nothing behind.
func TestUndoThatCannotBeMergedIsRefused(t *testing.T) {
	t.Parallel()
	old, now := counter(adds, 1), counter(adds, 2)
	for name, tc := range map[string]struct {
		before, undone, after []change
		want                  string
	}{
		"another class":         {[]change{{oid: 1, data: rec("a")}}, []change{{oid: 1, data: rec("b")}}, []change{{oid: 1, data: rec("c")}}, "changed later"},
		"a creation":            {nil, []change{{oid: 1, data: old}}, []change{{oid: 1, data: now}}, "changed later"},
		"deleted later":         {[]change{{oid: 1, data: old}}, []change{{oid: 1, data: now}}, []change{{oid: 1}}, "changed later"},
		"its deletion":          {[]change{{oid: 1, data: old}}, []change{{oid: 1}}, []change{{oid: 1, data: now}}, "changed later"},
		"the class was changed": {[]change{{oid: 1, data: old}}, []change{{oid: 1, data: counter("BTrees.x/Length", 1)}}, []change{{oid: 1, data: now}}, "changed later"},
		"it had a blob":         {[]change{{oid: 1, data: old, blob: "b"}}, []change{{oid: 1, data: now, blob: "c"}}, []change{{oid: 1, data: counter(adds, 9)}}, "changed later"},
		"no pickle":             {[]change{{oid: 1, data: []byte("a")}}, []change{{oid: 1, data: []byte("b")}}, []change{{oid: 1, data: []byte("c")}}, "changed later"},
		"one of two": {[]change{{oid: 1, data: old}, {oid: 2, data: rec("a")}}, []change{{oid: 1, data: now}, {oid: 2, data: rec("b")}},
			[]change{{oid: 1, data: counter(adds, 9)}, {oid: 2, data: rec("c")}}, "object 0000000000000002: it was changed later"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStorage(t)
			if tc.before != nil {
				commit(t, s, tc.before...)
			}
			tid := commit(t, s, tc.undone...)
			commit(t, s, tc.after...)
			txn := beginMerging(t, s)
			_, err := txn.Undo(t.Context(), tid)
			if !errors.Is(err, zodb.ErrUndo) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if oids := txn.OIDs(); len(oids) > 0 {
				t.Errorf("the transaction writes %v", oids)
			}
		})
	}
}

// TestUndoWithTooManyChangesToMerge: Python's client votes nine times at most.
func TestUndoWithTooManyChangesToMerge(t *testing.T) {
	t.Parallel()
	for apart, refused := range map[int]bool{maxMerges: false, maxMerges + 1: true} {
		s := newStorage(t)
		var values []int
		for i := range 2*apart + 2 {
			values = append(values, i*i)
		}
		tids := counterWith(t, s, values...)
		txn := beginMerging(t, s)
		var err error
		want := values[len(values)-1]
		for i := range apart {
			_, err = txn.Undo(t.Context(), tids[2*i+1])
			want -= values[2*i+1] - values[2*i]
		}
		if refused != errors.Is(err, zodb.ErrUndo) {
			t.Errorf("%d changes: %v", apart, err)
		}
		if refused {
			continue
		}
		if votes, err := mergeAll(t, s, txn, nil); err != nil || votes != maxMerges+1 {
			t.Errorf("%d votes, %v", votes, err)
		}
		if data, err := txn.Data(1); err != nil || countOf(t, data) != want {
			t.Errorf("%q, %v, want %d", data, err, want)
		}
	}
}

// TestUndoIsMergedWithWhatCameMeanwhile: between the undo and the vote, others commit.
func TestUndoIsMergedWithWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	for name, undone := range map[string][]int{"of the last one": {2}, "of one before": {1}, "of two apart": {2, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStorage(t)
			values := []int{5, 10, 30, 100, 1000}
			tids := counterWith(t, s, values[:4]...)
			txn := beginMerging(t, s)
			want := values[4]
			for _, i := range undone {
				if _, err := txn.Undo(t.Context(), tids[i+1]); err != nil {
					t.Fatal(err)
				}
				want -= values[i+1] - values[i]
			}
			if _, err := mergeAll(t, s, txn, func(votes int) {
				if votes == 0 {
					counterWith(t, s, values[4])
				}
			}); err != nil {
				t.Fatal(err)
			}
			if data, err := txn.Data(1); err != nil || countOf(t, data) != want {
				t.Errorf("%q, %v, want %d", data, err, want)
			}
		})
	}
}

// TestAnswersToAnUndoThatMeanNothing: a record with another serial is none, and the
// same conflict is offered until it is resolved.
func TestAnswersToAnUndoThatMeanNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newStorage(t)
	commit(t, s, change{oid: 7, data: rec("other")})
	tids := counterWith(t, s, 1, 2, 3)
	txn := beginMerging(t, s)
	if _, err := txn.Undo(ctx, tids[1]); err != nil {
		t.Fatal(err)
	}
	want := zodb.ConflictError{OID: 1, Serial: tids[1], Current: tids[2], Undo: true}
	for range 3 {
		c, ok := errors.AsType[*zodb.ConflictsError](txn.Vote(ctx))
		if !ok || len(c.Conflicts) != 1 || *c.Conflicts[0] != want {
			t.Fatalf("%+v, want %+v", c, want)
		}
		if data, err := txn.Data(1); err != nil || string(data) != string(counter(adds, 1)) {
			t.Fatalf("%q, %v", data, err)
		}
		if err := txn.Store(7, s.LastTransaction(), rec("a store of another object")); err != nil {
			t.Fatal(err)
		}
		if _, err := txn.Finish(ctx, nil); !errors.Is(err, zodb.ErrState) {
			t.Fatalf("finished with a conflict: %v", err)
		}
		if serial, err := s.Serial(ctx, 7); err != nil {
			t.Fatal(err)
		} else if err := txn.Store(7, serial, rec("a store of another object")); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Store(1, tids[0], counter(adds, 99)); err != nil {
		t.Fatal(err)
	}
	c, ok := errors.AsType[*zodb.ConflictsError](txn.Vote(ctx))
	if want := (zodb.ConflictError{OID: 1, Serial: tids[0], Current: tids[2]}); !ok || *c.Conflicts[0] != want {
		t.Errorf("%+v, want that of a store, %+v", c, want)
	}
}

// TestMergedReferencesAreChecked: the merged record is a store like any other.
func TestMergedReferencesAreChecked(t *testing.T) {
	t.Parallel()
	s := newStorage(t)
	tids := counterWith(t, s, 1, 2, 3)
	txn := beginMerging(t, s)
	if _, err := txn.Undo(t.Context(), tids[1]); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*zodb.ConflictsError](txn.Vote(t.Context())); !ok {
		t.Fatal("no conflict")
	}
	if err := txn.Store(1, tids[2], rec("merged", 99)); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrDangling) {
		t.Errorf("vote: %v", err)
	}
}

// TestUndoIsMergedThoughOthersComeBetweenTheVotes: merged objects are merged again.
func TestUndoIsMergedThoughOthersComeBetweenTheVotes(t *testing.T) {
	t.Parallel()
	for when := 1; when <= 2; when++ {
		s := newStorage(t)
		tids := counterWith(t, s, 1, 3, 7, 20, 50)
		txn := beginMerging(t, s)
		for _, i := range []int{3, 1} {
			if _, err := txn.Undo(t.Context(), tids[i]); err != nil {
				t.Fatal(err)
			}
		}
		votes, err := mergeAll(t, s, txn, func(votes int) {
			if votes == when {
				loseLocks(txn)
				counterWith(t, s, 500)
			}
		})
		if err != nil || votes != 4 {
			t.Errorf("before vote %d: %d votes, %v", when, votes, err)
		}
		if data, err := txn.Data(1); err != nil || countOf(t, data) != 500-13-2 {
			t.Errorf("before vote %d: %q, %v", when, data, err)
		}
	}
}

// TestUndoesAreMergedAtRandom undoes transactions that add to three counters, undos
// included, several at once, while others commit; the sums say whether each change was
// taken back just once.
func TestUndoesAreMergedAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := newStorage(t)
		type done struct {
			tid   zodb.TID
			delta [4]int
		}
		var list []done
		var sums [4]int
		add := func() {
			var d done
			var changes []change
			for oid := 1; oid <= 3; oid++ {
				if rnd.IntN(2) == 0 || len(list) == 0 {
					d.delta[oid] = rnd.IntN(1000) + 1
					sums[oid] += d.delta[oid]
					changes = append(changes, change{oid: zodb.OID(oid), data: counter(adds, sums[oid])})
				}
			}
			if changes != nil {
				d.tid = commit(t, s, changes...)
				list = append(list, d)
			}
		}
		add()
		merged := 0
		for range 60 {
			if rnd.IntN(2) == 0 {
				add()
				continue
			}
			txn := beginMerging(t, s)
			var u done
			taken := make(map[int]bool)
			for range 1 + rnd.IntN(3) {
				i := rnd.IntN(len(list))
				if i == 0 || taken[i] {
					continue // the creation
				}
				taken[i] = true
				if _, err := txn.Undo(t.Context(), list[i].tid); err != nil {
					t.Fatal(seed, err)
				}
				for oid, n := range list[i].delta {
					u.delta[oid] -= n
				}
			}
			votes, err := mergeAll(t, s, txn, func(votes int) {
				if rnd.IntN(3) == 0 && votes < 4 {
					loseLocks(txn)
					add()
				}
			})
			if err != nil {
				t.Fatal(seed, err)
			}
			merged += votes - 1
			if u.tid, err = txn.Finish(t.Context(), nil); err != nil {
				t.Fatal(seed, err)
			}
			for oid, n := range u.delta {
				sums[oid] += n
			}
			if len(taken) > 0 {
				list = append(list, u)
			}
			for oid := 1; oid <= 3; oid++ {
				if got := countOf(t, []byte(load(t, s, zodb.OID(oid)))); got != sums[oid] {
					t.Fatalf("seed %d: counter %d is %d, want %d", seed, oid, got, sums[oid])
				}
			}
		}
		if merged < 10 {
			t.Errorf("seed %d: %d merges", seed, merged)
		}
	}
}
