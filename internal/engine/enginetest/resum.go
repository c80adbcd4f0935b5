package enginetest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
)

// files calls f for each file in A of a HOME that has revisions or transactions: n is zero for a
// bundle.
func files(t testing.TB, home string, format layout.Format, f func(path string, n layout.Name, b []byte) error) {
	t.Helper()
	a := filepath.Join(home, "A")
	found := 0
	err := filepath.WalkDir(a, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(a, path)
		n, _ := format.Parse(filepath.ToSlash(rel))
		switch n.Kind {
		case layout.KindRevision, layout.KindObject, layout.KindTransaction:
		default:
			if !strings.HasSuffix(path, ".tar.zst") {
				return nil
			}
			n = layout.Name{}
		}
		found++
		return f(path, n, b)
	})
	if err != nil || found == 0 {
		t.Fatalf("%d files of %s: %v", found, home, err)
	}
}

// Rewrite gives change the content of each revision and transaction in A of a HOME in a format, one
// after the other, and puts what it returns in its place, in the files of classic formats or inside
// of bundles. No pack has removed anything of it, and nobody has it open.
func Rewrite(t testing.TB, home string, format layout.Format, change func(n layout.Name, content []byte) []byte) {
	t.Helper()
	files(t, home, format, func(path string, n layout.Name, b []byte) (err error) {
		if n == (layout.Name{}) {
			b, err = rewriteBundle(b, path, change)
		} else {
			b = change(n, b)
		}
		if err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o640)
	})
	tables, err := filepath.Glob(filepath.Join(home, "misc", "current*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables { // they name places in bundles
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func rewriteBundle(b []byte, path string, change func(n layout.Name, content []byte) []byte) ([]byte, error) {
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := bundle.NewWriter(&out, bundle.Options{Identity: r.Identity, Min: r.Min, Max: r.Max, Generation: r.Generation, Previous: r.Previous, HighestOID: r.HighestOID})
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	flags := make(map[layout.Name]uint16)
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return nil, err
		}
		flags[layout.Revision(e.OID, e.TID)] = e.Flags
	}
	for e, err := range r.TransactionsFrom(0) {
		if err != nil {
			return nil, err
		}
		flags[layout.Transaction(e.TID)] = e.Flags
	}
	for m, err := range bundle.Scan(bytes.NewReader(b), int64(len(b)), path) {
		if err != nil {
			return nil, err
		}
		content := change(m.Name, bytes.Clone(m.Content))
		if m.Name.Kind == layout.KindTransaction {
			err = w.Transaction(m.Name.TID, flags[m.Name], content)
		} else {
			err = w.Revision(m.Name.OID, m.Name.TID, flags[m.Name], content)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err = w.Close()
	return out.Bytes(), err
}

// Resum returns a change for [Rewrite] that gives contents checksums of the kinds, in turn. Their
// checksums fit.
func Resum(t testing.TB, kinds ...record.SumKind) func(n layout.Name, content []byte) []byte {
	i := 0
	return func(n layout.Name, content []byte) []byte {
		t.Helper()
		i++
		var b []byte
		var err error
		if n.Kind == layout.KindTransaction {
			x, perr := record.ParseTransactionAs(content, n.String(), n.TID, true)
			if err = perr; err == nil {
				b, err = x.Append(nil, kinds[i%len(kinds)])
			}
		} else {
			x, perr := record.ParseObjectAs(content, n.String(), n.OID, n.TID, true)
			if err = perr; err == nil {
				b, err = x.Append(nil, kinds[i%len(kinds)])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// SumKinds returns how many revisions and transactions in A have a checksum of each kind; each of
// these fits.
func SumKinds(t testing.TB, home string, format layout.Format) map[record.SumKind]int {
	t.Helper()
	kinds := make(map[record.SumKind]int)
	count := func(n layout.Name, b []byte) {
		if fault := record.SumFault(b); fault != "" {
			t.Errorf("%s: %s", n, fault)
		}
		kinds[record.SumKindOf(b)]++
	}
	files(t, home, format, func(path string, n layout.Name, b []byte) error {
		if n != (layout.Name{}) {
			count(n, b)
			return nil
		}
		for m, err := range bundle.Scan(bytes.NewReader(b), int64(len(b)), path) {
			if err != nil {
				return err
			}
			count(m.Name, m.Content)
		}
		return nil
	})
	return kinds
}
