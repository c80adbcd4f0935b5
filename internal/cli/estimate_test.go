package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/estimate"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// generated writes a Data.fs with objects of many sizes, later revisions of some of them, and
// blobs. Each object is referred to by the one before.
func generated(t *testing.T, dir string, objects int, blobs bool) (name, blobDir string) {
	t.Helper()
	name, blobDir = filepath.Join(dir, "Data.fs"), filepath.Join(dir, "blobs")
	fsys, base, err := vfs.Split(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(fsys, base)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	if blobs {
		if err := errors.Join(os.Mkdir(blobDir, 0o755), os.WriteFile(filepath.Join(blobDir, ".layout"), []byte("bushy"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	tid := zodb.TID(0x0400000000000000)
	data := func(oid int) []byte {
		var text strings.Builder
		for range 1 + rnd.IntN(60)*rnd.IntN(10) {
			fmt.Fprintf(&text, "%x words ", rnd.IntN(1<<20))
		}
		b := append([]byte("\x80\x03cm\nC\n.\x80\x03(X"), byte(text.Len()), byte(text.Len()>>8), byte(text.Len()>>16), 0)
		b = append(b, text.String()...)
		if oid+1 < objects {
			b = append(append(append(b, "C\x08"...), zodb.OID(oid+1).Bytes()...), 'Q')
		}
		return append(b, "t."...)
	}
	add := func(oids []int) {
		tid += zodb.TID(1+rnd.IntN(50)) << 32
		records := func(yield func(zodb.Record, error) bool) {
			for _, oid := range oids {
				if !yield(zodb.Record{OID: zodb.OID(oid), TID: tid, Data: data(oid), Exists: true}, nil) {
					return
				}
			}
			if !blobs || rnd.IntN(3) > 0 {
				return
			}
			oid := zodb.OID(1<<20 + rnd.IntN(5000))
			rec := zodb.Record{OID: oid, TID: tid, Data: []byte("\x80\x03cZODB.blob\nBlob\n.\x80\x03N."), Exists: true}
			file := filepath.Join(blobDir, filestorage.BlobBushy.Path(oid, tid))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(file, make([]byte, rnd.IntN(30_000)), 0o644); err != nil {
				t.Error(err)
			}
			yield(rec, nil)
		}
		txn := &zodb.Transaction{TID: tid, Status: zodb.StatusDone, TxnMeta: zodb.TxnMeta{User: []byte("/ editor"), Description: []byte("/site/page/edit")}}
		if err := w.Append(txn, iter.Seq2[zodb.Record, error](records)); err != nil {
			t.Fatal(err)
		}
	}
	for from := 0; from < objects; {
		var oids []int
		for range 1 + rnd.IntN(20) {
			if from < objects {
				oids = append(oids, from)
				from++
			}
		}
		add(oids)
	}
	for range objects / 10 {
		add([]int{rnd.IntN(objects)})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return name, blobDir
}

// estimated runs estimate.
func estimated(t *testing.T, status int, args ...string) (r estimate.Report) {
	t.Helper()
	out := want(t, status, "", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return r
}

// used is the space of a directory with everything in it.
func used(t *testing.T, dir string) (bytes, inodes int64) {
	t.Helper()
	fsys, err := vfs.OS(dir)
	if err == nil {
		err = vfs.Measure(fsys, ".", false, func(_ string, n int64, _ bool) error {
			bytes += n
			inodes++
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes, inodes
}

// within reports whether a value is within some percent of another, or differs by no more than a
// few blocks.
func within(got, want int64, percent float64, blocks int64) bool {
	diff := got - want
	if diff < 0 {
		diff = -diff
	}
	return float64(diff) <= float64(want)*percent/100 || diff <= blocks*4096
}

// The tolerances that docs/cli.md states.
const (
	classicPercent = 2
	bundledPercent = 10
	bundledInodes  = 4 // either way, where a part of the source goes through the log
)

// TestEstimateIsAboutTheImport imports each file in all formats, and compares space and inodes with
// the estimate.
func TestEstimateIsAboutTheImport(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	objects := 3000
	if testing.Short() || hometest.RaceDetector {
		objects = 600
	}
	plain, _ := generated(t, t.TempDir(), objects, false)
	withBlobs, blobDir := generated(t, t.TempDir(), objects/2, true)
	dir := hometest.FileStorage(t, "blobs")
	for _, tc := range hometest.Today(t, hometest.OneOf(1, 1, 3), []struct{ name, file, blobs string }{
		{"generated", plain, ""},
		{"generated with blobs", withBlobs, blobDir},
		{"blobs of Python", filepath.Join(dir, "Data.fs"), filepath.Join(dir, "blobs")},
		{"undo", hometest.FileStorage(t, "undo.fs"), ""},
		{"packed", hometest.FileStorage(t, "packed.fs"), ""},
		{"before a pack", hometest.FileStorage(t, "before_pack.fs"), ""},
	}) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			target := t.TempDir()
			args := []string{tc.file, filepath.Join(target, "home")}
			if tc.blobs != "" {
				args = append(args, "--blobs", tc.blobs)
			}
			r := estimated(t, exitOK, append([]string{"estimate"}, args...)...)
			if len(r.Formats) != 5 || !r.Complete || !r.Fits || r.Sample == nil {
				t.Fatalf("%+v", r)
			}
			if left, err := os.ReadDir(target); err != nil || len(left) > 0 {
				t.Errorf("the estimate left %v, %v", left, err)
			}
			for _, f := range r.Formats {
				home := filepath.Join(target, f.Format)
				importArgs := append([]string{"import", "--format", f.Format}, args...)
				importArgs[4] = home
				want(t, exitOK, "imported", importArgs...)
				bytes, inodes := used(t, home)
				percent, files := float64(classicPercent), int64(0)
				if f.Format == layout.Bundled.String() {
					percent, files = bundledPercent, bundledInodes
				}
				if f.Inodes < inodes-files || f.Inodes > inodes+files || !within(f.Bytes, bytes, percent, 2) {
					t.Errorf("%s: estimated %d bytes and %d inodes, there are %d and %d", f.Format, f.Bytes, f.Inodes, bytes, inodes)
				}
				if f.Seconds == nil || *f.Seconds <= 0 {
					t.Errorf("%s: no time", f.Format)
				}
			}
		})
	}
}

// TestEstimateOfEachKindOfSource compares those of a Data.fs, a HOME made of it, and a server.
func TestEstimateOfEachKindOfSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := hometest.FileStorage(t, "undo.fs")
	url, _ := served(t, "undo.fs", nil)
	home := filepath.Join(dir, "home")
	want(t, exitOK, "imported", "import", "--format", "lawn", source, home)
	target := filepath.Join(dir, "target")
	file := estimated(t, exitOK, "estimate", source, target)
	for _, from := range []string{home, url + "/main"} {
		r := estimated(t, exitOK, "estimate", from, target)
		a, b := file.Source, r.Source
		a.ReadSeconds, b.ReadSeconds = 0, 0
		if a != b {
			t.Errorf("%s: %+v, and of the file %+v", from, b, a)
		}
		for i, f := range r.Formats[1:] {
			if want := file.Formats[i+1]; f.Bytes != want.Bytes || f.Inodes != want.Inodes {
				t.Errorf("%s: %+v, and of the file %+v", from, f, want)
			}
		}
	}
}

// TestImportDryRunIsTheEstimate and makes nothing.
func TestImportDryRunIsTheEstimate(t *testing.T) {
	t.Parallel()
	source, dir := hometest.FileStorage(t, "undo.fs"), t.TempDir()
	home := filepath.Join(dir, "home")
	r := estimated(t, exitOK, "import", "--dry-run", "--format", "chunky", source, home)
	e := estimated(t, exitOK, "estimate", "--format", "chunky", source, home)
	r.Source.ReadSeconds, e.Source.ReadSeconds = 0, 0
	if r.Format != "chunky" || r.Source != e.Source || r.Of("chunky").Bytes != e.Of("chunky").Bytes {
		t.Errorf("%+v\n%+v", r, e)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it made %v, %v", left, err)
	}
	want(t, exitUsage, "class Full only", "import", "--dry-run", "--class", "Minimal", source, home)
	want(t, exitUsage, "cannot be combined", "import", "--dry-run", "--follow", source, home)
	text := want(t, exitOK, "", "estimate", source, home)
	for _, part := range []string{"14 transactions, 53 revisions", "format", "bundled", "memory", "Times are estimates"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

// TestEstimateOfTheRest is for a HOME that has a part of the source already.
func TestEstimateOfTheRest(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	whole, at := dataFS("FS30", growing(200)...)
	for _, format := range []string{"bundled", "bushy"} {
		c.write("FS", whole[:at[100]])
		home := c.path("home-" + format)
		c.must(exitOK, "import", "--format", format, "FS", home)
		c.write("FS", whole)
		before, inodes := used(t, home)
		r := estimated(t, exitOK, "estimate", c.path("FS"), home)
		if r.Format != format || r.Source.Present != 100 || r.Source.Transactions != 200 {
			t.Errorf("%+v", r)
		}
		c.must(exitOK, "import", "FS", home)
		after, now := used(t, home)
		f := r.Of(format)
		if format == "bushy" && f.NeedInodes != now-inodes {
			t.Errorf("estimated %d inodes more, there are %d", f.NeedInodes, now-inodes)
		}
		const log = 40_000 // the content may be in the log, too
		if need := after - before; f.NeedBytes < need*9/10-8192 || f.NeedBytes > need*11/10+log+8192 {
			t.Errorf("%s: estimated %d bytes more, there are %d", format, f.NeedBytes, need)
		}
	}
}

func TestEstimateSaysThatItDoesNotFit(t *testing.T) {
	t.Parallel()
	dir := hometest.FileStorage(t, "blobs")
	blobs := filepath.Join(dir, "blobs")
	space, err := vfs.OS(blobs)
	if err != nil {
		t.Fatal(err)
	}
	free, err := space.Space()
	if err != nil {
		t.Fatal(err)
	}
	var huge string
	for name, err := range vfs.Walk(space, ".") {
		if err == nil && strings.HasSuffix(name, ".blob") {
			huge = space.Path(name)
		}
	}
	if err := os.Chmod(huge, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, int64(free.FreeBytes)+1<<30); err != nil {
		t.Skipf("no file can be that large here: %v", err)
	}
	file, home := filepath.Join(dir, "Data.fs"), filepath.Join(t.TempDir(), "home")
	want(t, exitFailed, "not enough space on the disk: it needs about", "estimate", "--blobs", blobs, file, home)
	want(t, exitFailed, "not enough space on the disk: it needs about", "import", "--dry-run", "--blobs", blobs, file, home)
	want(t, exitOK, "", "estimate", "--no-blobs", file, home)
	if r := estimated(t, exitFailed, "estimate", "--blobs", blobs, file, home); r.Fits || r.Of("bundled").Fits {
		t.Errorf("%+v", r)
	}
}

// TestEstimateFindsOddities makes each of them.
func TestEstimateFindsOddities(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	good, at := dataFS("FS30", growing(5)...)
	order := growing(5)
	order[3].tid = order[1].tid
	backward, _ := dataFS("FS30", order...)
	future := append(growing(3), fsTxn{zodb.TIDFromTime(c.now.Add(100 * time.Hour)), ' '})
	late, _ := dataFS("FS30", future...)
	packed := growing(3)
	packed[0].status = 'p'
	status, _ := dataFS("FS30", packed...)
	old, _ := dataFS("FS21", growing(3)...)
	damaged := slices.Clone(good)
	damaged[at[2]+9]++ // the length
	rootless := slices.Clone(good)
	for _, pos := range at {
		rootless[pos+23+7] = 9 // the oid of the root
	}
	python2 := []byte(strings.ReplaceAll(string(good), "\x80\x03", "\x80\x02"))
	blobs := hometest.FileStorage(t, "blobs")
	removed := 0
	err := filepath.WalkDir(filepath.Join(blobs, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".blob") && removed == 0 {
			removed++
			if err := os.Rename(path, filepath.Join(filepath.Dir(path), "0x0111111111111111.blob")); err != nil {
				return err
			}
		}
		return err
	})
	if err = errors.Join(err, os.Chmod(blobs, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		data   []byte
		status int
		kinds  string
	}{
		{"good", good, exitOK, ""},
		{"backward", backward, exitOK, "tid-order=1"},
		{"future", late, exitOK, "future-transaction=1"},
		{"packed", status, exitOK, "packed-transaction=1"},
		{"python2 file", old, exitOK, "python2-file=1"},
		{"python2 records", python2, exitOK, "python2-record=10"},
		{"torn", good[:len(good)-20], exitOK, "torn-end=1"},
		{"damaged", damaged, exitDamage, "damage=1"},
		{"rootless", rootless, exitOK, "missing-root=1"},
		{"dangling", slices.Concat(good[:at[0]], danglingFS(good)), exitOK, "dangling-reference=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "Data.fs")
			if err := os.WriteFile(name, tc.data, 0o644); err != nil {
				t.Fatal(err)
			}
			checkKinds(t, estimated(t, tc.status, "estimate", name, t.TempDir()), tc.kinds)
		})
	}
	file := filepath.Join(blobs, "Data.fs")
	r := estimated(t, exitOK, "estimate", "--blobs", filepath.Join(blobs, "blobs"), file, c.dir)
	for _, kind := range []string{estimate.KindMissingBlob, estimate.KindUnusedBlob} {
		if !slices.ContainsFunc(r.Odd, func(o estimate.Oddity) bool { return o.Kind == kind && o.Count == 1 }) {
			t.Errorf("no %s: %+v", kind, r.Odd)
		}
	}
	r = estimated(t, exitOK, "estimate", file, c.dir)
	if !slices.ContainsFunc(r.Odd, func(o estimate.Oddity) bool { return o.Kind == estimate.KindNoBlobs && o.Stops }) {
		t.Errorf("no %s: %+v", estimate.KindNoBlobs, r.Odd)
	}
	// A HOME remembers it.
	c.write("FS", old)
	c.must(exitOK, "import", "FS", c.path("home"))
	checkKinds(t, estimated(t, exitOK, "estimate", c.path("home"), c.dir), "python2-file=1")
	// As many dangling references as an import finds.
	for _, name := range []string{"undo.fs", "before_pack.fs", "packed.fs"} {
		source := hometest.FileStorage(t, name)
		done, _ := c.imported(exitOK, source, c.path("home-"+name))
		count := int64(0)
		for _, o := range estimated(t, exitOK, "estimate", source, c.dir).Odd {
			if o.Kind == estimate.KindDangling {
				count = o.Count
			}
		}
		if count != done.Dangling {
			t.Errorf("%s: %d dangling references, an import finds %d", name, count, done.Dangling)
		}
	}
}

// danglingFS is the rest of a file whose root refers to an object that is not there.
func danglingFS(good []byte) []byte {
	return []byte(strings.ReplaceAll(string(good[4:]), "C\x08\x00\x00\x00\x00\x00\x00\x00\x01Q", "C\x08\x00\x00\x00\x00\x00\x00\x00\x07Q"))
}

func checkKinds(t *testing.T, r estimate.Report, want string) {
	t.Helper()
	var kinds []string
	for _, o := range r.Odd {
		kinds = append(kinds, fmt.Sprintf("%s=%d", o.Kind, o.Count))
		if o.Detail == "" {
			t.Errorf("%s says nothing", o.Kind)
		}
	}
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("oddities %q, want %q: %+v", got, want, r.Odd)
	}
}

// TestInterruptedEstimateLeavesNothing ends it at each of many looks at the clock, also within the
// sample.
func TestInterruptedEstimateLeavesNothing(t *testing.T) {
	t.Parallel()
	source, dir := hometest.FileStorage(t, "undo.fs"), t.TempDir()
	interrupted := 0
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		now := func() time.Time {
			if looks++; looks == n {
				cancel()
			}
			return time.Now()
		}
		status, _, stderr := commandAt(ctx, now, "estimate", source, filepath.Join(dir, "home"))
		cancel()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("after look %d it left %v, %v", n, left, err)
		}
		switch {
		case status == exitInterrupted:
			interrupted++
		case status != exitOK:
			t.Fatalf("look %d: status %d, %s", n, status, stderr)
		}
		if looks < n {
			break
		}
	}
	if interrupted < 5 {
		t.Errorf("it was interrupted %d times only", interrupted)
	}
}

// TestEstimateOfAPart reads the beginning only.
func TestEstimateOfAPart(t *testing.T) {
	t.Parallel()
	name, _ := generated(t, t.TempDir(), 3000, false)
	dir := t.TempDir()
	whole := estimated(t, exitOK, "estimate", name, dir)
	part := estimated(t, exitOK, "estimate", "--limit", "1ns", name, dir)
	if part.Complete || whole.Source.RecordBytes == part.Source.RecordBytes {
		t.Errorf("%+v", part)
	}
	want(t, exitUsage, "want a time", "estimate", "--limit", "-1s", name, dir)
	want(t, exitUsage, "leave them out", "estimate", "--tls-key", "k", name, dir)
	want(t, exitUsage, "leave one out", "estimate", "--no-blobs", "--blobs", dir, name, dir)
	want(t, exitFailed, "no such file", "estimate", filepath.Join(dir, "nothing"), dir)
}
