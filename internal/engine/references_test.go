package engine

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// syncBuffer is a log that tests read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestOnlyAddedReferencesAreChecked: the holder of an old dangling reference can be
// changed, and nobody can add one.
func TestOnlyAddedReferencesAreChecked(t *testing.T) {
	t.Parallel()
	const target, doomed, holder, other, absent = 1, 2, 10, 11, 99
	for name, tc := range map[string]struct {
		set     string
		before  []change // committed one by one
		changes []change
		want    *zodb.DanglingError // nil: it is committed
	}{
		"kept":                       {changes: []change{{oid: holder, data: rec("new", target, doomed)}}},
		"the only one is kept":       {changes: []change{{oid: holder, data: rec("new", doomed)}}},
		"kept beside a new one":      {changes: []change{{oid: holder, data: rec("new", doomed, 20)}, {oid: 20, data: rec("x")}}},
		"kept by the second store":   {changes: []change{{oid: holder, data: rec("new", absent)}, {oid: holder, data: rec("new", doomed)}}},
		"another one is added":       {changes: []change{{oid: holder, data: rec("new", doomed, absent)}}, want: &zodb.DanglingError{OID: holder, Target: absent}},
		"by another object":          {changes: []change{{oid: other, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: other, Target: doomed}},
		"by a new object":            {changes: []change{{oid: 30, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: 30, Target: doomed}},
		"added by the second store":  {changes: []change{{oid: holder, data: rec("new", doomed)}, {oid: holder, data: rec("new", absent)}}, want: &zodb.DanglingError{OID: holder, Target: absent}},
		"let go and brought back":    {before: []change{{oid: holder, data: rec("without", target)}}, changes: []change{{oid: holder, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: holder, Target: doomed}},
		"of a holder that was gone":  {before: []change{{oid: holder}}, changes: []change{{oid: holder, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: holder, Target: doomed}},
		"before it was no pickle":    {before: []change{{oid: holder, data: []byte("encrypted")}}, changes: []change{{oid: holder, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: holder, Target: doomed}},
		"of what is deleted with it": {changes: []change{{oid: holder, data: rec("new", target)}, {oid: target}}, want: &zodb.DanglingError{OID: holder, Target: target}},
		"kept, strict":               {set: "storage.check_kept_references", changes: []change{{oid: holder, data: rec("new", doomed)}}, want: &zodb.DanglingError{OID: holder, Target: doomed}},
		"let go, strict":             {set: "storage.check_kept_references", changes: []change{{oid: holder, data: rec("new", target)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inEveryPlace(t, func(t *testing.T, settle func(*Storage)) {
				var logged syncBuffer
				set := make(map[string]string)
				if tc.set != "" {
					set[tc.set] = "1"
				}
				s := open(t, newHome(t, CreateOptions{Set: set}), Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
				commit(t, s, change{oid: target, data: rec("t")}, change{oid: doomed, data: rec("d")}, change{oid: other, data: rec("o")})
				commit(t, s, change{oid: holder, data: rec("h", target, doomed)})
				commit(t, s, change{oid: doomed})
				for _, c := range tc.before {
					commit(t, s, c)
				}
				settle(s)
				last := s.LastTransaction()
				_, err := tryCommit(s, zodb.TxnMeta{}, tc.changes...)
				d, _ := errors.AsType[*zodb.DanglingError](err)
				if (tc.want == nil) != (err == nil) || tc.want != nil && (d == nil || *d != *tc.want) {
					t.Fatalf("%v, want %v", err, tc.want)
				}
				line := ""
				if tc.want != nil {
					line = fmt.Sprintf("class=persistent.mapping.PersistentMapping oid=%s target=%s\n", tc.want.OID, tc.want.Target)
					if s.LastTransaction() != last {
						t.Error("something was committed")
					}
				}
				if text := logged.String(); !strings.Contains(text, line) || strings.Contains(text, "dangling") != (tc.want != nil) {
					t.Errorf("the log has %q, want %q", text, line)
				}
			})
		})
	}
}

// TestReferencesOfADamagedRevisionCountAsNew: its content is not known.
func TestReferencesOfADamagedRevisionCountAsNew(t *testing.T) {
	t.Parallel()
	var logged syncBuffer
	s := open(t, newHome(t, CreateOptions{}), Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	commit(t, s, change{oid: 1, data: rec("target")}, change{oid: 2, data: rec("doomed")})
	tid := commit(t, s, change{oid: 10, data: rec("h", 1, 2)})
	commit(t, s, change{oid: 2})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.state.ForgetCached(10)
	if err := os.WriteFile(s.home.FS.Path(pathOf(s, "A", layout.Revision(10, tid))), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 10, data: rec("new", 1, 2)}); !errors.Is(err, zodb.ErrDangling) {
		t.Errorf("with the old reference: %v", err)
	}
	if !strings.Contains(logged.String(), "all references of the next one count as new") {
		t.Errorf("the log has %q", logged.String())
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 10, data: rec("new", 1)}); err != nil {
		t.Errorf("without it, the object could not be repaired: %v", err)
	}
}

// TestResolvedAndRestoredReferencesAreKept: the replaced revision counts, not the one from which
// the change was made.
func TestResolvedAndRestoredReferencesAreKept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 1, data: rec("target")}, change{oid: 2, data: rec("doomed")})
	first := commit(t, s, change{oid: 10, data: rec("h", 1, 2)})
	commit(t, s, change{oid: 2})
	second := commit(t, s, change{oid: 10, data: rec("h", 1)})
	resolve := func(data []byte) error {
		txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer txn.Abort()
		if err := txn.Store(10, first, rec("mine", 2)); err != nil {
			t.Fatal(err)
		}
		if _, ok := errors.AsType[*zodb.ConflictsError](txn.Vote(ctx)); !ok {
			t.Fatal("no conflict")
		}
		if err := txn.Store(10, second, data); err != nil {
			t.Fatal(err)
		}
		return txn.Vote(ctx)
	}
	if err := resolve(rec("merged", 1, 2)); !errors.Is(err, zodb.ErrDangling) {
		t.Errorf("the current revision let go of it, the merged one brings it back: %v", err)
	}
	if err := resolve(rec("merged", 1)); err != nil {
		t.Errorf("merged without it: %v", err)
	}
	txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: s.LastTransaction() + 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Restore(ctx, zodb.Record{OID: 10, TID: s.LastTransaction() + 1, Data: rec("copied", 2, 98), Exists: true}, nil); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(ctx, nil); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 10, data: rec("changed", 2, 98)})
}

// TestKeptReferencesDuringAPackOfDeletedObjects: the pack of a storage without
// garbage collection removes the earlier target of the reference.
func TestKeptReferencesDuringAPackOfDeletedObjects(t *testing.T) {
	t.Parallel()
	var act func()
	p := &pausing{}
	p.removed = func(name string) {
		if name == planFile && act != nil {
			act()
			act = nil
		}
	}
	s := pausingStorage(t, p)
	commit(t, s, change{oid: 0, data: rec("root", 1, 2)}, change{oid: 1, data: rec("1")}, change{oid: 2, data: rec("2")})
	commit(t, s, change{oid: 2})
	for i := range 3 {
		commit(t, s, change{oid: 1, data: rec(fmt.Sprint(i))})
	}
	var err, added error
	acted := false
	act = func() {
		acted = true
		_, err = tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("root again", 1, 2)})
		_, added = tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("1", 2)})
	}
	doPack(t, s, zodb.PackOptions{NoGC: true})
	if !acted {
		t.Fatal("the pack did not remove its plan")
	}
	if err != nil {
		t.Errorf("the holder of a reference to what was deleted before could not be changed: %v", err)
	}
	if !errors.Is(added, zodb.ErrDangling) {
		t.Errorf("a new reference to it: %v", added)
	}
}
