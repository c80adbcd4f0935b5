package layout

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// table was printed by the original, but for the rows of blobs, which it does
// not have.
var table = []struct {
	name                  Name
	text                  string
	bushy, chunky, inLawn string
}{
	{XOID, "x.oid", "x/oid", "x/oid", "x/oid"},
	{XSerial, "x.serial", "x/serial", "x/serial", "x/serial"},
	{XPacked, "x.packed", "x/packed", "x/packed", "x/packed"},
	{Pointer(0), "o0000000000000000.c", "o0/00/00/00/00/00/00/000/c", "o000/000/000/000/0000.c", "o0000000000000000/c"},
	{Revision(0, 0x03F6ED2440000000), "o0000000000000000.03F6ED2440000000", "o0/00/00/00/00/00/00/000/03F6ED2440000000",
		"o000/000/000/000/0000.03F6ED2440000000", "o0000000000000000/03F6ED2440000000"},
	{Pointer(0x1A771), "o000000000001A771.c", "o0/00/00/00/00/00/1A/771/c", "o000/000/000/001/A771.c", "o000000000001A771/c"},
	{Revision(0x1A771, 0x0349DEA41A25853B), "o000000000001A771.0349DEA41A25853B", "o0/00/00/00/00/00/1A/771/0349DEA41A25853B",
		"o000/000/000/001/A771.0349DEA41A25853B", "o000000000001A771/0349DEA41A25853B"},
	{Pointer(1<<64 - 1), "oFFFFFFFFFFFFFFFF.c", "oF/FF/FF/FF/FF/FF/FF/FFF/c", "oFFF/FFF/FFF/FFF/FFFF.c", "oFFFFFFFFFFFFFFFF/c"},
	{Object(0x1A771), "o000000000001A771", "o0/00/00/00/00/00/1A/771", "o000/000/000/001/A771", "o000000000001A771"},
	{Transaction(0x0349DEA41A25853B), "t0349DE.A41A25853B", "t0/34/9DE/A41A25853B", "t034/9DE.A41A25853B", "t0349DE/A41A25853B"},
	{Transaction(0x03F6ED2440000000), "t03F6ED.2440000000", "t0/3F/6ED/2440000000", "t03F/6ED.2440000000", "t03F6ED/2440000000"},
	{Blob(0x1A771, 0x0349DEA41A25853B), "o000000000001A771.0349DEA41A25853B.blob", "o0/00/00/00/00/00/1A/771/0349DEA41A25853B.blob",
		"o000/000/000/001/A771.0349DEA41A25853B.blob", "o000000000001A771/0349DEA41A25853B.blob"},
}

func TestNamesAndPathsAreThoseOfTheOriginal(t *testing.T) {
	t.Parallel()
	for _, tc := range table {
		t.Run(tc.text, func(t *testing.T) {
			t.Parallel()
			if got := tc.name.String(); got != tc.text {
				t.Errorf("String() = %q", got)
			}
			if got, ok := ParseName(tc.text); got != tc.name || !ok {
				t.Errorf("ParseName = %v, %t", got, ok)
			}
			for format, want := range map[Format]string{Bushy: tc.bushy, Chunky: tc.chunky, Lawn: tc.inLawn, Flat: tc.text} {
				if got := format.Path(tc.name); got != want {
					t.Errorf("%s.Path = %q, want %q", format, got, want)
				}
				if got, ok := format.Parse(want); got != tc.name || !ok {
					t.Errorf("%s.Parse = %v, %t", format, got, ok)
				}
			}
		})
	}
}

func TestWrongPathsAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "/", ".", "..", "x", "o", "t", "x.", "x.OID", "x/tid", "X.oid", "x.oid.blob",
		"o0000000000000000.", "o0000000000000000.d", "o0000000000000000.C", "o0000000000000000.c.blob", "o0000000000000000..blob",
		"o000000000001a771.c", "o000000000001A77.c", "o000000000001A7711.c", "o000000000001A771c", "o0000000000000000/",
		"o0000000000000000.03f6ed2440000000", "o0000000000000000.03F6ED244000000", "o0000000000000000.03F6ED24400000000",
		"o0000000000000000.03F6ED2440000000.Blob", "o0000000000000000.03F6ED2440000000.blob.blob", "o0000000000000000.+3F6ED2440000000",
		"t03F6ED24.40000000", "t03F6ED.244000000", "t03F6ED.24400000000", "t03f6ed.2440000000", "t03F6ED2440000000", "t03F6ED",
		"o0/00/00/00/00/00/00/000/", "/o0/00/00/00/00/00/00/000/c", "o0/00/00/00/00/00/00/00/0/c", "o00/0/00/00/00/00/00/000/c", "o0//00/00/00/00/00/00/000/c",
		"o0/00/00/00/00/00/00/000.c", "o0/00/00/00/00/00/00/000/.c", "o000/000/000/000/0000/c", "o000/000/000/0000/000.c", "o000/000/000/000/0000c",
		"o0000000000000000/.c", "t03F6ED/24400000/00", "t0/3F/6ED.2440000000", "t03F/6ED/2440000000",
		"o0/00/00/00/00/00/00/000/c-1709292147-deleted", "x/oid-deleted", "x/oid\n", "x/oid ", " x/oid", "xoid", "x//oid", "./x/oid",
		strings.Repeat("o", 100), strings.Repeat("/", 47),
	} {
		for _, format := range Formats() {
			if n, ok := format.Parse(path); ok {
				t.Errorf("%s.Parse(%q) = %v", format, path, n)
			}
		}
	}
}

func TestLowerCaseNamesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range table {
		lower := strings.ToLower(tc.text)
		if n, ok := ParseName(lower); ok != (lower == tc.text) {
			t.Errorf("ParseName(%q) = %v, %t", lower, n, ok)
		}
	}
}

// names returns random names of all kinds; the bits of their ids are dense,
// sparse, and all the same, in turn.
func names(n int) []Name {
	random := rand.New(rand.NewPCG(1, 2))
	id := func() uint64 {
		switch random.IntN(4) {
		case 0:
			return 0
		case 1:
			return 1<<64 - 1
		case 2:
			return 1 << random.IntN(64)
		}
		return random.Uint64()
	}
	all := []Name{XOID, XSerial, XPacked}
	for range n {
		oid, tid := zodb.OID(id()), zodb.TID(id())
		all = append(all, Pointer(oid), Revision(oid, tid), Object(oid), Transaction(tid), Blob(oid, tid))
	}
	return all
}

func TestPathsLeadBackAndDoNotCollide(t *testing.T) {
	t.Parallel()
	all := names(2000)
	for _, format := range Formats() {
		seen := make(map[string]Name)
		for _, n := range all {
			path := format.Path(n)
			if got, ok := format.Parse(path); got != n || !ok {
				t.Fatalf("%s.Parse(%q) = %v, %t, want %v", format, path, got, ok, n)
			}
			if other, ok := seen[path]; ok && other != n {
				t.Fatalf("%s: %v and %v both are %q", format, n, other, path)
			}
			if len(path) > maxPath {
				t.Fatalf("%q is longer than %d", path, maxPath)
			}
			seen[path] = n
			if got, ok := ParseName(n.String()); got != n || !ok {
				t.Fatalf("ParseName(%q) = %v, %t", n, got, ok)
			}
		}
	}
}

// TestGoldenHomesHaveOnlyNamesThatAreKnown parses each path below A and B of
// the golden homes, and each name in their journals.
func TestGoldenHomesHaveOnlyNamesThatAreKnown(t *testing.T) {
	t.Parallel()
	for _, home := range hometest.Names(t) {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			format, err := ParseFormat(hometest.Expected(t, home).Format)
			if err != nil {
				t.Fatal(err)
			}
			parsed := 0
			for path := range hometest.Files(t, home) {
				side, rest, _ := strings.Cut(path, "/")
				f := format
				switch side {
				case "journal":
					_, rest, _ = strings.Cut(rest, "/")
					f = Flat
					if rest == "" { // replica.tar
						continue
					}
				case "A", "B":
				default:
					continue
				}
				n, ok := f.Parse(rest)
				if !ok {
					n, _, ok = f.ParseDeleted(rest)
					rest, _, _ = strings.Cut(rest, "-")
				}
				if !ok || f.Path(n) != rest {
					t.Errorf("%s: %v, %t", path, n, ok)
				}
				parsed++
			}
			if parsed < 3 {
				t.Errorf("only %d files", parsed)
			}
		})
	}
}

func TestParseFormatAcceptsTheFourOnly(t *testing.T) {
	t.Parallel()
	for _, f := range Formats() {
		if got, err := ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("ParseFormat(%q) = %q, %v", f, got, err)
		}
	}
	for _, s := range []string{"", "Bushy", "bushy ", "bushy4", "tree"} {
		got, err := ParseFormat(s)
		if err == nil || got != "" {
			t.Errorf("ParseFormat(%q) = %q, %v", s, got, err)
			continue
		}
		for _, f := range Formats() {
			if !strings.Contains(err.Error(), f.String()) {
				t.Errorf("ParseFormat(%q): %q does not name %s", s, err, f)
			}
		}
		if strings.Contains(err.Error(), "pre-release") != (s == "bushy4") {
			t.Errorf("ParseFormat(%q): %q", s, err)
		}
	}
}

func TestParseDeleted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path string
		want       Name
		seconds    int64
		ok         bool
	}{
		{"with seconds", "t0/3F/6ED/2440000000-1709292147-deleted", Transaction(0x03F6ED2440000000), 1709292147, true},
		{"without seconds", "x/oid-deleted", XOID, 0, true},
		{"pointer", "o0/00/00/00/00/00/1A/771/c-5-deleted", Pointer(0x1A771), 5, true},
		{"blob", "o0/00/00/00/00/00/1A/771/0349DEA41A25853B.blob-5-deleted", Blob(0x1A771, 0x0349DEA41A25853B), 5, true},
		{"largest number", "x/oid-9223372036854775807-deleted", XOID, 1<<63 - 1, true},
		{"number too large", "x/oid-9223372036854775808-deleted", Name{}, 0, false},
		{"no number", "x/oid-soon-deleted", Name{}, 0, false},
		{"empty number", "x/oid--deleted", Name{}, 0, false},
		{"signed number", "x/oid-+5-deleted", Name{}, 0, false},
		{"twice", "x/oid-5-deleted-6-deleted", Name{}, 0, false},
		{"not deleted", "x/oid", Name{}, 0, false},
		{"stray file", "README-5-deleted", Name{}, 0, false},
		{"suffix alone", "-deleted", Name{}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n, seconds, ok := Bushy.ParseDeleted(tc.path)
			if n != tc.want || seconds != tc.seconds || ok != tc.ok {
				t.Errorf("got %v, %d, %t", n, seconds, ok)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, tc := range table {
		for _, path := range []string{tc.text, tc.bushy, tc.chunky, tc.inLawn} {
			f.Add(path)
			f.Add(path + "-1709292147-deleted")
		}
	}
	f.Fuzz(func(t *testing.T, path string) {
		if n, ok := ParseName(path); ok && n.String() != path {
			t.Errorf("ParseName(%q) = %v", path, n)
		}
		for _, format := range Formats() {
			if n, ok := format.Parse(path); ok && format.Path(n) != path {
				t.Errorf("%s.Parse(%q) = %v", format, path, n)
			} else if !ok && n != (Name{}) {
				t.Errorf("%s.Parse(%q) = %v, false", format, path, n)
			}
			n, seconds, ok := format.ParseDeleted(path)
			if ok && (!strings.HasPrefix(path, format.Path(n)+"-") || seconds < 0) {
				t.Errorf("%s.ParseDeleted(%q) = %v, %d", format, path, n, seconds)
			}
		}
	})
}

func TestPathAllocatesOnlyItsResult(t *testing.T) {
	n := Revision(0x1A771, 0x0349DEA41A25853B)
	for _, format := range Formats() {
		path := ""
		if allocs := testing.AllocsPerRun(100, func() { path = format.Path(n) }); allocs > 1 {
			t.Errorf("%s.Path makes %v allocations", format, allocs)
		}
		ok := false
		if allocs := testing.AllocsPerRun(100, func() { _, ok = format.Parse(path) }); allocs > 0 || !ok {
			t.Errorf("%s.Parse makes %v allocations", format, allocs)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	for _, format := range Formats() {
		b.Run(format.String(), func(b *testing.B) {
			b.ReportAllocs()
			n := Revision(0x1A771, 0x0349DEA41A25853B)
			for b.Loop() {
				n.OID++
				_ = format.Path(n)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, format := range Formats() {
		b.Run(format.String(), func(b *testing.B) {
			b.ReportAllocs()
			path := format.Path(Revision(0x1A771, 0x0349DEA41A25853B))
			for b.Loop() {
				if _, ok := format.Parse(path); !ok {
					b.Fatal(path)
				}
			}
		})
	}
}
