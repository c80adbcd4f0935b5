package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// made is an archive with files of many sizes around that of a frame.
type made struct {
	archive, index bytes.Buffer
	totals         Totals
	entries        []Entry
	content        map[string][]byte
}

func makeArchive(t testing.TB, frame int) *made {
	t.Helper()
	m := &made{content: make(map[string][]byte)}
	w, err := NewWriter(&m.archive, &m.index, Options{FrameSize: frame, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	if err := w.AddDir("A", at); err != nil {
		t.Fatal(err)
	}
	rnd := rand.NewChaCha8([32]byte{1})
	for i, size := range []int{0, 1, 8, 511, 512, 513, frame - 1, 3, frame, frame + 1, 3*frame + 7, 8, 2 * frame, 100, 100, frame / 2, frame / 2, frame / 2, 1} {
		b := make([]byte, size)
		rnd.Read(b)
		name := fmt.Sprintf("A/%d/%s", i, strings.Repeat("n", 10*i+1))
		e, err := w.Add(name, int64(size), at, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		m.entries = append(m.entries, e)
		m.content[name] = b
	}
	if m.totals, err = w.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestArchiveCanBeReadFromEachFrame reads all of it, and from each frame that
// says that an entry begins there.
func TestArchiveCanBeReadFromEachFrame(t *testing.T) {
	t.Parallel()
	for _, frame := range []int{1 << 10, 5000, 64 << 10} {
		m := makeArchive(t, frame)
		if m.totals.ArchiveBytes != int64(m.archive.Len()) || m.totals.IndexBytes != int64(m.index.Len()) || m.totals.Entries != int64(len(m.entries)+1) {
			t.Errorf("totals %+v", m.totals)
		}
		var listed []Entry
		starts, end := 0, int64(0)
		for line, err := range ReadIndex(bytes.NewReader(m.index.Bytes())) {
			if err != nil {
				t.Fatal(err)
			}
			if line.Entry != nil {
				listed = append(listed, *line.Entry)
				continue
			}
			f := line.Frame
			if f.Offset != end {
				t.Errorf("frame at %d, the one before ends at %d", f.Offset, end)
			}
			end += f.Size
			if f.Start {
				starts++
				m.readFrom(t, *f)
			}
		}
		if starts < 2 && frame < 10_000 || end != m.totals.ArchiveBytes || len(listed) != len(m.entries)+1 {
			t.Errorf("%d frames with a start, up to %d of %d; %d entries", starts, end, m.totals.ArchiveBytes, len(listed))
		}
		for i, e := range m.entries {
			e.ModTime = time.Time{}
			if listed[i+1] != e {
				t.Errorf("entry %d is listed as %+v, want %+v", i, listed[i+1], e)
			}
		}
	}
}

func (m *made) readFrom(t *testing.T, f Frame) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(m.archive.Bytes()[f.Offset:]))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := m.entries
	for len(want) > 0 && want[0].At < f.At {
		want = want[1:]
	}
	for {
		e, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Dir {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil || len(want) == 0 || e.Name != want[0].Name || !bytes.Equal(b, m.content[e.Name]) {
			t.Fatalf("from frame %+v: %s with %d bytes, %v", f, e.Name, len(b), err)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("from frame %+v: %d entries are missing", f, len(want))
	}
}

func TestOrdinaryToolsUnpackIt(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("zstd is not on this machine")
	}
	m := makeArchive(t, 2000)
	cmd := exec.Command("tar", "--zstd", "-tf", "-")
	cmd.Stdin = bytes.NewReader(m.archive.Bytes())
	out, err := cmd.CombinedOutput()
	if got := strings.Count(string(out), "\n"); err != nil || got != len(m.entries)+1 {
		t.Errorf("tar lists %d entries, %v", got, err)
	}
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "/etc/passwd", "../A/x", "A/../../x", "A//x", "A/", "B/x", "journal/log", "misc/lock", "other", "A/\x00", "config\\x", "."} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken for a good name", name)
		}
	}
	for _, name := range []string{"A", "A/x", "config/settings", "B", "journal", "misc", "A/o000/0.c"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestFileThatChangesItsSizeIsAnError(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{5, 7} {
		var a, i bytes.Buffer
		w, err := NewWriter(&a, &i, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add("A/x", size, time.Time{}, strings.NewReader("123456")); err == nil {
			t.Errorf("6 bytes were taken for %d", size)
		}
		w.Abort()
	}
}

// FuzzIndex asserts that what is accepted has good names, in order.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"name":"A/x","size":8,"sha256":"` + strings.Repeat("0", 64) + `","at":0}` + "\n" + `{"frame":{"at":0,"offset":0,"size":9,"start":true}}`))
	f.Add([]byte(`{"name":"../x","size":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		enc, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		last := int64(-1)
		for line, err := range ReadIndex(bytes.NewReader(enc.EncodeAll(text, nil))) {
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("error %v", err)
				}
				return
			}
			if e := line.Entry; e != nil {
				if CheckName(e.Name) != nil || e.Size < 0 || e.At <= last || !filepath.IsLocal(e.Name) {
					t.Errorf("accepted %+v after %d", e, last)
				}
				last = e.At
			}
		}
	})
}

// FuzzReader asserts that an archive of anybody can't lead elsewhere.
func FuzzReader(f *testing.F) {
	f.Add([]byte("no tar"))
	f.Fuzz(func(t *testing.T, text []byte) {
		enc, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(enc.EncodeAll(text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			e, err := r.Next(t.Context())
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrDamaged) {
					t.Errorf("error %v", err)
				}
				return
			}
			if !filepath.IsLocal(e.Name) || CheckName(e.Name) != nil {
				t.Errorf("accepted %q", e.Name)
			}
		}
	})
}

// TestArchiveIsTheSame: the same files make the same bytes as in the releases before, which
// another version of the compressor alone may change. In the index the lines of entries and of
// frames come in an order by chance.
func TestArchiveIsTheSame(t *testing.T) {
	t.Parallel()
	m := makeArchive(t, 5000)
	const archive, index = "3fc3fab88d8eacdde861b1bd207c6d6164c498c340ada754c79d6cd87bdffdc9", "9b55336bccc681facacb641ce8994a2805bbe014e04693bdf31c7ab052b65391"
	if got := m.totals.ArchiveSum.String(); got != archive {
		t.Errorf("the archive has the SHA-256 %s, want %s", got, archive)
	}
	dec, err := zstd.NewReader(&m.index)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	text, err := io.ReadAll(dec)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Sorted(strings.Lines(string(text)))
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "")))); got != index {
		t.Errorf("the lines of the index have the SHA-256 %s, want %s", got, index)
	}
}

// TestStoredFilesAreNotCompressed: files that are compressed already take their own length, and are
// read as any other.
func TestStoredFilesAreNotCompressed(t *testing.T) {
	t.Parallel()
	const frame = 16 << 10
	m := &made{content: make(map[string][]byte)}
	w, err := NewWriter(&m.archive, &m.index, Options{FrameSize: frame, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	packed, stored := 0, 0
	for i, size := range []int{100, 10, 0, frame, 10 * frame, 3, 300 << 10, 7, 7} {
		name := fmt.Sprintf("A/%d", i)
		m.content[name] = bytes.Repeat([]byte{'x'}, size)
		as := i%3 != 0
		if as {
			stored += size
		} else {
			packed += size
		}
		if _, err := w.AddAs(name, int64(size), time.Unix(1, 0), bytes.NewReader(m.content[name]), as); err != nil {
			t.Fatal(err)
		}
	}
	if m.totals, err = w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := m.archive.Len(); n < stored || n > stored+stored/50+packed/10+16<<10 {
		t.Errorf("the archive has %d bytes, with %d that are stored and %d that are compressed", n, stored, packed)
	}
	r, err := NewReader(bytes.NewReader(m.archive.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for ; ; n++ {
		e, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, m.content[e.Name]) {
			t.Errorf("%s has %d bytes, %v", e.Name, len(b), err)
		}
	}
	if n != len(m.content) {
		t.Errorf("%d entries, want %d", n, len(m.content))
	}
	for line, err := range ReadIndex(bytes.NewReader(m.index.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		if f := line.Frame; f != nil && f.Start && f.At > 0 {
			r, err := NewReader(bytes.NewReader(m.archive.Bytes()[f.Offset:]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(t.Context()); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("from the frame at %d: %v", f.Offset, err)
			}
			r.Close()
		}
	}
}
