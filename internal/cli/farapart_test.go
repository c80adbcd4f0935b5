package cli

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestOIDsThatAreFarApart: a storage whose oids lie 2^50 apart, two of them 2^62, is
// packed, checked, and asked for references. Their number is larger than the number of
// 4 kB pages within the limit of a set, so that sets with one bit for each oid
// between two neighbours would refuse.
func TestOIDsThatAreFarApart(t *testing.T) {
	t.Parallel()
	const n = 4000
	oidOf := func(i int) zodb.OID {
		if i > n/2 {
			return 1<<62 + zodb.OID(i)<<50
		}
		return zodb.OID(i) << 50
	}
	home := enginetest.Home(t, engine.CreateOptions{Set: map[string]string{
		"storage.check_dangling_references": "0", "storage.min_pack_time": "0", "storage.delay_delete": "0"}})
	s := enginetest.Open(t, home, engine.Options{NoControlSocket: true})
	refs := make([]string, 0, n)
	changes := []enginetest.Change{{OID: 0, Data: pickled("Root")}}
	for i := 1; i < n; i++ {
		refs = append(refs, strongRef(oidOf(i)))
		changes = append(changes, enginetest.Change{OID: oidOf(i), Data: pickled("Leaf", strongRef(0))})
	}
	enginetest.Commit(t, s, changes...)
	const garbage = 7 // every garbage'th object is not reached
	for i := len(refs) - 1; i >= 0; i-- {
		if i%garbage == 0 {
			refs = append(refs[:i], refs[i+1:]...)
		}
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickled("Root", refs...)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (stdout string) {
		t.Helper()
		var out, errs bytes.Buffer
		e := &env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Getenv: func(string) string { return "" }}
		if status := run(t.Context(), e, args); status != exitOK {
			t.Fatalf("%v: exit status %d: %s%s", args, status, out.String(), errs.String())
		}
		return out.String()
	}
	command("pack", "--keep", "0", "--refs", home)
	command("check", home)
	s = enginetest.Open(t, home, engine.Options{NoControlSocket: true, ReadOnly: true})
	left := 0
	for _, err := range s.OIDs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		left++
	}
	if left != len(refs)+1 {
		t.Errorf("%d objects are left, want %d", left, len(refs)+1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	out := command("refs", home, "0")
	if got := strings.Count(out, "Leaf"); got != len(refs) {
		t.Errorf("%d objects refer to the root, want %d:\n%.300s", got, len(refs), out)
	}
	if last := strconv.FormatUint(uint64(oidOf(n-1)), 16); !strings.Contains(strings.ToLower(out), last) {
		t.Errorf("%s does not refer to the root", last)
	}
}
