package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// unbundleScript takes the script that unpacks bundles out of docs/backup.md.
func unbundleScript(t *testing.T) string {
	t.Helper()
	if !have("python3", "zstd", "tar") {
		t.Skip("python3, zstd and tar are not on this machine")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(text)
	if block == nil || !bytes.Contains(block[1], []byte("\n# unbundle.py ")) {
		t.Fatal("docs/backup.md has no unbundle.py")
	}
	path := filepath.Join(t.TempDir(), "unbundle.py")
	if err := os.WriteFile(path, block[1], 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnpackedBundlesAreAHomeOfFormatFlat runs the script of docs/backup.md on copies of a history
// with merges, packs and an undelete: on one without superseded files, and on a heap of all that
// A ever had.
func TestUnpackedBundlesAreAHomeOfFormatFlat(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	script := unbundleScript(t)
	l := loadtest.New(t, 60, engine.CreateOptions{Format: "bundled", Set: map[string]string{
		"storage.min_pack_time": "0", "storage.delay_delete": "3600",
	}})
	l.Start(t, 2)
	work := t.TempDir()
	heap := filepath.Join(work, "heap")
	const rounds = 8
	var lists, bundles int
	var plain string
	for round := range rounds {
		l.Write(t, 30)
		l.Pause()
		var err error
		switch round {
		case 1, 4, 6:
			_, err = l.Storage.Pack(t.Context(), zodb.PackOptions{NoGC: true})
		case 3:
			_, err = l.Storage.(*engine.Storage).Undelete(t.Context(), 0)
		}
		if err == nil {
			err = l.Storage.EnterSnapshot(t.Context(), "unbundle")
		}
		if err != nil {
			t.Fatal(err)
		}
		plain = filepath.Join(work, "copy"+string(rune('0'+round)))
		const both = `mkdir -p "$2" "$3"; cp -a "$1/config" "$1/A" "$2/"; cp -a "$1/config" "$3/"; cp -alf "$1/A" "$3/"`
		if out, err := exec.CommandContext(t.Context(), "sh", "-euc", both, "sh", l.Home, plain, heap).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := l.Storage.LeaveSnapshot(t.Context(), "unbundle"); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 || round == rounds-1 {
			for _, from := range []string{plain, heap} {
				isUnbundled(t, script, from, from+"-flat"+string(rune('0'+round)), l.Storage)
			}
		}
		lists += count(t, plain, "*.gone")
		bundles = max(bundles, count(t, plain, "*.tar.zst"))
	}
	if lists == 0 || bundles < 2 || count(t, heap, "*.tar.zst") <= bundles {
		t.Errorf("the history has %d lists of what is gone and up to %d bundles, its heap %d bundles", lists, bundles, count(t, heap, "*.tar.zst"))
	}
	left, err := filepath.Glob(filepath.Join(plain, "A", "bundles", "*.tar.zst"))
	if err != nil || len(left) == 0 {
		t.Fatal(left, err)
	}
	if err := os.Remove(left[len(left)-1]); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "python3", script, plain, filepath.Join(work, "lacks")).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("bundle")) || bytes.Contains(out, []byte("Traceback")) {
		t.Errorf("without its last bundle: %v, %s", err, out)
	}
}

// TestScriptReadsEachKindOfBitSet: arrays, bit maps and runs, of Roaring.
func TestScriptReadsEachKindOfBitSet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	script := unbundleScript(t)
	for what, fill := range map[string]func(*roaring.Bitmap){
		"an array": func(b *roaring.Bitmap) { b.AddMany([]uint32{0, 7, 70_000, 1 << 31}) },
		"a bit map": func(b *roaring.Bitmap) {
			for i := range uint32(20_000) {
				b.Add(3*i + 65_000)
			}
		},
		"one run":   func(b *roaring.Bitmap) { b.AddRange(5, 5_000) },
		"many runs": func(b *roaring.Bitmap) { b.AddRange(60_000, 200_000); b.Add(1 << 20); b.AddRange(2<<20, 2<<20+9) },
	} {
		set := roaring.New()
		fill(set)
		set.RunOptimize()
		packed, err := set.ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		const program = `import struct, sys
text = open(sys.argv[1]).read()
exec(text[text.index("def numbers"):text.index("def gone")])
print(*numbers(sys.stdin.buffer.read()))`
		cmd := exec.CommandContext(t.Context(), "python3", "-c", program, script)
		cmd.Stdin = bytes.NewReader(packed)
		out, err := cmd.CombinedOutput()
		var want strings.Builder
		for _, n := range set.ToArray() {
			fmt.Fprintf(&want, "%d ", n)
		}
		if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want.String()) {
			t.Errorf("%s: %v, it reads %.200s", what, err, out)
		}
	}
}

// TestScriptComparesChecksums: it computes an XXH64 of contents of all lengths, and leaves one that
// does not fit for check to find.
func TestScriptComparesChecksums(t *testing.T) {
	t.Parallel()
	script := unbundleScript(t)
	const program = `import struct, sys
text = open(sys.argv[1]).read()
exec(text[text.index("P = "):text.index("def classic")])
b = sys.stdin.buffer.read()
print(*(f"{xxh64(b[:n]):016x}" for n in range(len(b) + 1)))`
	content := make([]byte, 200)
	for i := range content {
		content[i] = byte(i * i)
	}
	var want []string
	for n := range len(content) + 1 {
		want = append(want, strings.TrimPrefix(record.SumBlob(content[:n]).String(), "xxh64:"))
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", program, script)
	cmd.Stdin = bytes.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != strings.Join(want, " ") {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}

	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
	s := enginetest.Open(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
	last := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root, changed")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Rewrite(t, home, layout.Bundled, func(n layout.Name, b []byte) []byte {
		if n == layout.Revision(0, last) || n == layout.Transaction(last) {
			b[len(b)-1] ^= 1
		}
		return b
	})
	to := filepath.Join(t.TempDir(), "flat")
	if out, err := exec.CommandContext(t.Context(), "python3", script, home, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := vfs.OS(to)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[check.Kind]zodb.TID)
	if _, err := check.Run(t.Context(), check.Options{FS: f}, func(x check.Finding) { found[x.Kind] = x.TID }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[check.ObjectChecksum] != last || found[check.TransactionChecksum] != last {
		t.Errorf("check of what was unpacked finds %v", found)
	}
}

// count returns how many files there are among the bundles of a copy.
func count(t *testing.T, dir, pattern string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "A", "bundles", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// isUnbundled unpacks a copy, and compares the result with the storage.
func isUnbundled(t *testing.T, script, from, to string, want zodb.Storage) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "python3", script, from, to).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", from, err, out)
	}
	f, err := vfs.OS(to)
	if err == nil {
		_, err = checktest.Sound(t.Context(), f)
	}
	if err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	if kinds := enginetest.SumKinds(t, to, layout.Flat); len(kinds) != 1 || kinds[record.MD5] == 0 {
		t.Errorf("%s: kinds of checksums, and how many there are: %v; want MD5 only", to, kinds)
	}
	s, err := engine.Open(t.Context(), to, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if format := s.Status().Format; format != "flat" {
		t.Errorf("%s has format %s", to, format)
	}
	if s.LastTransaction() != want.LastTransaction() {
		t.Errorf("%s ends with %s, want %s", to, s.LastTransaction(), want.LastTransaction())
	}
	// In both directions: a copy may have members that packs took from its source.
	for _, pair := range [][2]zodb.Storage{{want, s}, {s, want}} {
		if _, err := transfer.Compare(t.Context(), pair[0], pair[1], transfer.CompareOptions{}); err != nil {
			t.Errorf("%s to %s: %v", pair[0].Home(), pair[1].Home(), err)
		}
	}
}
