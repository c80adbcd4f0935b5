package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

// fsTxn is a transaction of a Data.fs that a test makes: it stores the root, which
// refers to object 1, and object 1 with its number.
type fsTxn struct {
	tid    zodb.TID
	status byte
}

// dataFS makes a file byte by byte, so that it may be one that no storage would write.
// Positions of the transactions come with it.
func dataFS(magic string, list ...fsTxn) (file []byte, at []int) {
	file = []byte(magic)
	var prev [2]int
	for i, txn := range list {
		start := len(file)
		at = append(at, start)
		file = binary.BigEndian.AppendUint64(file, uint64(txn.tid))
		file = append(file, make([]byte, 8)...)
		file = append(file, txn.status, 0, 0, 0, 0, 0, 0)
		for oid, data := range [][]byte{packData("Root", "root", 1), packData("Data", fmt.Sprint("data ", i%10))} {
			pos := len(file)
			for _, v := range []uint64{uint64(oid), uint64(txn.tid), uint64(prev[oid]), uint64(start)} {
				file = binary.BigEndian.AppendUint64(file, v)
			}
			file = binary.BigEndian.AppendUint64(append(file, 0, 0), uint64(len(data)))
			file = append(file, data...)
			prev[oid] = pos
		}
		length := uint64(len(file) - start)
		binary.BigEndian.PutUint64(file[start+8:], length)
		file = binary.BigEndian.AppendUint64(file, length)
	}
	return file, at
}

// growing are n transactions, a minute apart.
func growing(n int) (list []fsTxn) {
	for i := range n {
		list = append(list, fsTxn{0x03F6000000000000 + zodb.TID(i)<<32, ' '})
	}
	return list
}

// folder runs commands in a new directory; words in capitals are names below it.
type folder struct {
	t   *testing.T
	dir string
	now time.Time
}

func newFolder(t *testing.T) *folder {
	return &folder{t: t, dir: t.TempDir(), now: time.Now()}
}

func (c *folder) path(name string) string { return filepath.Join(c.dir, name) }

func (c *folder) write(name string, data []byte) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// must runs a command that has to end with that status.
func (c *folder) must(want int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	for i, a := range args {
		if a == strings.ToUpper(a) && strings.ToLower(a) != a && len(a) < 10 {
			args[i] = c.path(a)
		}
	}
	var out, errs bytes.Buffer
	e := &env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: func() time.Time { return c.now }, Getenv: func(string) string { return "" }}
	if code := run(c.t.Context(), e, args); code != want {
		c.t.Fatalf("%v: exit status %d, want %d\n%s%s", args, code, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// imported runs an import that prints a document.
func (c *folder) imported(want int, args ...string) (done transfer.Imported, stderr string) {
	c.t.Helper()
	stdout, stderr := c.must(want, append([]string{"import", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &done); err != nil {
		c.t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	return done, stderr
}

// has fails the test unless all of the texts are in one.
func (c *folder) has(text string, want ...string) {
	c.t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			c.t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// TestImportOfADamagedLength: one bit of the length of the second transaction; the end of
// the file leads back to sound ones.
func TestImportOfADamagedLength(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	file, at := dataFS("FS30", growing(50)...)
	file[at[1]+8] ^= 0x40
	c.write("DATA", file)
	_, stderr := c.must(exitDamage, "import", "DATA", "HOME")
	c.has(stderr, "damage of the length and no torn end", "--salvage")
	done, stderr := c.imported(exitDamage, "--salvage", "DATA", "HOME")
	if done.Transactions != 49 || done.Damaged != 1 || len(done.Skipped) != 1 || done.Skipped[0].Offset != int64(at[1]) || done.Truncated != nil {
		t.Errorf("salvaged %+v", done)
	}
	c.has(stderr, "took all the same", "damaged parts of ")
	stdout, _ := c.must(exitOK, "log", "HOME")
	if n := strings.Count(stdout, "\n"); n != 50 {
		t.Errorf("%d transactions, want 50", n)
	}
	c.must(exitOK, "check", "HOME")
	c.began("HOME", true)
	// A torn end is none, as ever.
	c.write("TORN", file[:at[1]+20])
	if done, stderr := c.imported(exitOK, "TORN", "HOME2"); done.Transactions != 1 || done.Truncated == nil || !strings.Contains(stderr, "never committed") {
		t.Errorf("torn: %+v %s", done, stderr)
	}
	c.began("HOME2", false)
}

// TestImportOfADamagedLengthAtTheEnd: in the last transaction, or the last but an empty one,
// it looks like a torn end. All but the length is sound, so salvage has everything.
func TestImportOfADamagedLengthAtTheEnd(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	sound, at := dataFS("FS30", growing(3)...)
	empty := slices.Clone(sound[at[2]:][:23])
	binary.BigEndian.PutUint64(empty, binary.BigEndian.Uint64(empty)+1)
	copy(empty[8:], []byte{0, 0, 0, 0, 0, 0, 0, 23, ' ', 0, 0, 0, 0, 0, 0})
	empty = append(empty, 0, 0, 0, 0, 0, 0, 0, 23)
	for i, tc := range []struct {
		tail []byte
		flip int // this byte
	}{
		{nil, at[2] + 8}, {nil, at[2] + 15}, {nil, len(sound) - 8}, {nil, len(sound) - 1},
		{empty, at[2] + 8}, {empty, at[2] + 15}, {empty, len(sound) - 1}, {empty, len(sound) + 8}, {empty, len(sound) + 30},
	} {
		file := append(slices.Clone(sound), tc.tail...)
		file[tc.flip] ^= 4
		name, home := fmt.Sprint("DATA", i), fmt.Sprint("HOME", i)
		c.write(name, file)
		_, stderr := c.must(exitDamage, "import", name, home)
		c.has(stderr, "--salvage")
		done, stderr := c.imported(exitDamage, "--salvage", name, home)
		c.has(stderr, "took all the same")
		if want := 3 + int64(len(tc.tail)/31); done.Damaged != 1 || done.Truncated != nil || strings.Count(c.log(home), "\n") != int(want) {
			t.Errorf("byte %d flipped: salvaged %+v, in the log:\n%s", tc.flip, done, c.log(home))
		}
	}
}

// log returns the log of a HOME.
func (c *folder) log(home string) string {
	c.t.Helper()
	stdout, _ := c.must(exitOK, "log", home)
	return stdout
}

// began opens a HOME as serve does, and looks with which history it begins.
func (c *folder) began(home string, anew bool) {
	c.t.Helper()
	s, err := engine.Open(c.t.Context(), c.path(home), engine.Options{NoControlSocket: true})
	if err != nil {
		c.t.Fatal(err)
	}
	txn, err := s.Transaction(c.t.Context(), s.LastTransaction())
	if err != nil || !histfile.IsBeginning(txn) || histfile.IsAnew(txn) != anew {
		c.t.Errorf("the history of %s begins with %q, %v; what is before is not as in the source: %v", home, txn.Description, err, anew)
	}
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
}

func TestImportOfTIDsThatDoNotGrow(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	list := growing(5)
	list[2].tid, list[3].tid = list[0].tid, list[1].tid
	list = append(list, fsTxn{1<<64 - 1, ' '})
	file, _ := dataFS("FS30", list...)
	c.write("DATA", file)
	_, stderr := c.must(exitFailed, "import", "DATA", "HOME")
	c.has(stderr, "do not grow", list[0].tid.String(), "--renumber")
	done, stderr := c.imported(exitOK, "--renumber", "DATA", "HOME")
	if done.Transactions != 4 || done.Renumbered != 3 || done.LastTID != list[4].tid+1 {
		t.Errorf("renumbered %+v", done)
	}
	c.has(stderr, "3 transactions got other tids")
	if done, _ = c.imported(exitOK, "--renumber", "DATA", "HOME"); done.Transactions != 0 {
		t.Errorf("again: %+v", done)
	}
	c.must(exitOK, "check", "HOME")
	c.began("HOME", true)
}

func TestImportOfTheFuture(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	list := append(growing(2), fsTxn{zodb.TIDFromTime(c.now.Add(100 * 365 * 24 * time.Hour)), ' '})
	file, _ := dataFS("FS30", list...)
	c.write("DATA", file)
	_, stderr := c.imported(exitOK, "DATA", "HOME")
	c.has(stderr, "ahead of the clock")
	stdout, _ := c.must(exitOK, "check", "HOME")
	c.has(stdout, "warning x-future")
	c.must(exitOK, "backup", "full", "HOME", "REPO")
	stdout, _ = c.must(exitOK, "restore", "--to", "now", "REPO", "NOW")
	c.has(stdout, list[2].tid.String())
	stdout, _ = c.must(exitOK, "restore", "--to", list[1].tid.String()[:16], "REPO", "THEN")
	c.has(stdout, list[1].tid.String())
	_, stderr = c.must(exitFailed, "restore", "--to=2001-01-01", "REPO", "BEFORE")
	c.has(stderr, "nothing was committed by then", list[0].tid.String())
}

func TestImportOfWhatIsNoFile(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	c.write("GZ", []byte("\x1f\x8b\x08\x00 and so on"))
	for name, want := range map[string][]string{"/dev/null": {"not an ordinary file"}, c.dir: {"a directory", "import DATA.FS HOME"}, c.path("GZ"): {"gunzip"}} {
		_, stderr := c.must(exitFailed, "import", name, "HOME")
		c.has(stderr, want...)
	}
	if _, err := os.Stat(c.path("HOME")); err == nil {
		t.Error("HOME was made")
	}
}

// TestFilesOfPython2StayThat: import says so, and the export is one again.
func TestFilesOfPython2StayThat(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	file, _ := dataFS("FS21", growing(3)...)
	c.write("DATA", file)
	_, stderr := c.imported(exitOK, "DATA", "HOME")
	c.has(stderr, "Python 2")
	for name, args := range map[string][]string{"FS21": nil, "FS30": {"--python=3"}} {
		c.must(exitOK, append(append([]string{"export"}, args...), "HOME", name)...)
		got, err := os.ReadFile(c.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if want := append([]byte(name), file[4:]...); !bytes.Equal(got, want) {
			t.Errorf("the export %v is not the file but for the magic %q", args, name)
		}
	}
}

// TestPackedTransactionsStayPacked from a file into a HOME, a backup, its restoration and
// another file.
func TestPackedTransactionsStayPacked(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	list := growing(4)
	list[0].status, list[1].status = 'p', 'p'
	file, _ := dataFS("FS30", list...)
	c.write("DATA", file)
	c.imported(exitOK, "DATA", "HOME")
	c.must(exitOK, "backup", "full", "HOME", "REPO")
	c.must(exitOK, "restore", "REPO", "RESTORED")
	for _, home := range []string{"HOME", "RESTORED"} {
		c.must(exitOK, "export", home, "OUT")
		if got, err := os.ReadFile(c.path("OUT")); err != nil || !bytes.Equal(got, file) {
			t.Errorf("the export of %s is another file, %v", home, err)
		}
		if err := os.Remove(c.path("OUT")); err != nil {
			t.Fatal(err)
		}
		stdout, _ := c.must(exitOK, "log", "--json", home)
		if n := strings.Count(stdout, `"packed":true`); n != 2 {
			t.Errorf("%d packed transactions in the log:\n%s", n, stdout)
		}
	}
}

// TestDamagedTransaction damages the file of one: it is named, and all before and behind
// it is there. Its revisions are found by their names.
func TestDamagedTransaction(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"gone":  os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFolder(t)
			list := growing(5)
			file, _ := dataFS("FS30", list...)
			c.write("DATA", file)
			c.must(exitOK, "import", "--format", "bushy", "DATA", "HOME")
			c.must(exitOK, "backup", "full", "HOME", "REPO")
			hit := list[2].tid.String()
			path := c.path("HOME/A/t" + hit[:1] + "/" + hit[1:3] + "/" + hit[3:6] + "/" + hit[6:])
			if _, err := os.Stat(path); err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			_, stderr := c.must(exitDamage, "export", "HOME", "OUT")
			c.has(stderr, "--skip-broken", hit)
			stdout, stderr := c.must(exitDamage, "export", "--skip-broken", "--json", "HOME", "OUT")
			var done transfer.Exported
			if err := json.Unmarshal([]byte(stdout), &done); err != nil {
				t.Fatal(err)
			}
			if done.Transactions != 5 || done.Records != 10 || done.PackedAway != 0 || done.Broken != 1 || done.BrokenList[0].TID != list[2].tid || !done.BrokenList[0].Transaction {
				t.Errorf("exported %+v", done)
			}
			c.has(stderr, "transaction "+hit+" itself")
			if done, _ := c.imported(exitOK, "OUT", "HOME2"); done.Transactions != 5 || done.Records != 10 {
				t.Errorf("read again: %+v", done)
			}
			stdout, stderr = c.must(exitDamage, "log", "HOME")
			if strings.Count(stdout, "\n") != 5 || strings.Count(stdout, "  damaged\n") != 1 {
				t.Errorf("log:\n%s%s", stdout, stderr)
			}
			c.has(stderr, "damage: transaction "+hit)
			stdout, _ = c.must(exitDamage, "history", "HOME", "0x1")
			if strings.Count(stdout, "\n") != 5 {
				t.Errorf("history:\n%s", stdout)
			}
			stdout, _ = c.must(exitDamage, "check", "--since", list[0].tid.String(), "HOME")
			c.has(stdout, hit)
			if stdout, _ = c.must(exitDamage, "check", "HOME"); strings.Count(stdout, "transaction-") != 1 {
				t.Errorf("check:\n%s", stdout)
			}
			// A backup that was made before brings it back.
			c.must(exitOK, "restore", "REPO", "RESTORED")
			c.must(exitOK, "check", "RESTORED")
		})
	}
}

// TestExportAroundDamage: the record that cannot be read is left out, and nothing else.
func TestExportAroundDamage(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	list := growing(4)
	file, _ := dataFS("FS30", list...)
	c.write("DATA", file)
	c.must(exitOK, "import", "--format", "flat", "DATA", "HOME")
	c.write("HOME/A/o0000000000000001."+list[2].tid.String(), []byte("damaged"))
	_, stderr := c.must(exitDamage, "export", "HOME", "OUT")
	c.has(stderr, "--skip-broken")
	if _, err := os.Stat(c.path("OUT")); err == nil {
		t.Error("there is a file although the export failed")
	}
	stdout, stderr := c.must(exitDamage, "export", "--skip-broken", "--json", "HOME", "OUT")
	var done transfer.Exported
	if err := json.Unmarshal([]byte(stdout), &done); err != nil {
		t.Fatal(err)
	}
	if done.Transactions != 4 || done.Records != 7 || done.Broken != 1 || done.BrokenList[0].OID != 1 || done.BrokenList[0].TID != list[2].tid {
		t.Errorf("exported %+v", done)
	}
	c.has(stderr, "left out object 0000000000000001 of transaction "+list[2].tid.String())
	if done, _ := c.imported(exitOK, "OUT", "HOME2"); done.Transactions != 4 || done.Records != 7 {
		t.Errorf("read again: %+v", done)
	}
	// The rest is listed; status 3 tells of the damage.
	stdout, stderr = c.must(exitDamage, "history", "HOME", "0x1")
	if strings.Count(stdout, "\n") != 4 || strings.Count(stdout, "  damaged\n") != 1 || !strings.Contains(stderr, "damage: ") {
		t.Errorf("history:\n%s%s", stdout, stderr)
	}
	if err := os.Remove(c.path("HOME/A/o0000000000000001." + list[2].tid.String())); err != nil {
		t.Fatal(err)
	}
	if stdout, _ = c.must(exitDamage, "log", "HOME"); strings.Count(stdout, "\n") != 4 || strings.Count(stdout, "  damaged\n") != 1 {
		t.Errorf("log:\n%s", stdout)
	}
}
