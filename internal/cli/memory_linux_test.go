package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// memoryGroup is a control group, of version 1 or 2, that may use so much memory and no swap.
type memoryGroup struct {
	dir    string
	events string // the file that counts who was killed
}

func newMemoryGroup(t *testing.T, limit int64) memoryGroup {
	t.Helper()
	name := fmt.Sprintf("dirstorage-test-%d-%d", os.Getpid(), limit)
	g := memoryGroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.oom_control"}
	max, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	swapMax := limit
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err != nil {
		g, max, swap, swapMax = memoryGroup{filepath.Join("/sys/fs/cgroup", name), "memory.events"}, "memory.max", "memory.swap.max", 0
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Skipf("no control group can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(g.dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(g.dir, max), strconv.AppendInt(nil, limit, 10), 0); err != nil {
		t.Skipf("the memory of a control group cannot be limited: %v", err)
	}
	err := os.WriteFile(filepath.Join(g.dir, swap), strconv.AppendInt(nil, swapMax, 10), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		t.Skipf("the swap of a control group cannot be limited: %v", err)
	}
	return g
}

// command returns a program that will run within the group.
func (g memoryGroup) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	script := `echo $$ > "$0/cgroup.procs" && exec "$@"`
	c := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", script, g.dir, name}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GOMEMLIMIT=") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

// run runs a program within the group.
func (g memoryGroup) run(t *testing.T, name string, args ...string) {
	t.Helper()
	c := g.command(t, name, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	begun := time.Now()
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, &out, g.counted())
	}
	if used, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.Logf("%s: %v, resident up to %d KiB", args[0], time.Since(begun).Round(time.Second/10), used.Maxrss)
	}
	g.nobodyWasKilled(t, strings.Join(args, " "))
}

func (g memoryGroup) counted() []byte {
	b, _ := os.ReadFile(filepath.Join(g.dir, g.events))
	return b
}

// nobodyWasKilled fails the test if the kernel ended a process for its memory.
func (g memoryGroup) nobodyWasKilled(t *testing.T, what string) {
	t.Helper()
	for line := range strings.Lines(string(g.counted())) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			t.Errorf("%s: the kernel killed %s processes", what, n)
		}
	}
}

// plainProgram puts the program, built once for all tests, into a directory. It is not the binary of
// the test: the race detector takes many times the memory.
func plainProgram(t *testing.T, dir string) string {
	t.Helper()
	built, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "dirstorage")
	if err := os.WriteFile(binary, built, 0o755); err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildPlain = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "plain")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "dirstorage")
	if out, err := exec.Command("go", "build", "-race=false", "-o", binary, "../../cmd/dirstorage").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(binary)
})

// writeLargeTransactions makes a Data.fs of so many transactions of so many new objects.
func writeLargeTransactions(t *testing.T, dir string, transactions, objects int) string {
	t.Helper()
	home, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(home, "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	record := append([]byte("cpersistent.mapping\nPersistentMapping\n.}U\x04dataU"), append([]byte{200}, append(bytes.Repeat([]byte("x"), 200), "s."...)...)...)
	for i := range transactions {
		txn := &zodb.Transaction{TID: 0x040D486800000000 + zodb.TID(i), Status: zodb.StatusDone, TxnMeta: zodb.TxnMeta{User: []byte("u")}}
		var records iter.Seq2[zodb.Record, error] = func(yield func(zodb.Record, error) bool) {
			for k := range objects {
				if !yield(zodb.Record{OID: zodb.OID(i*objects + k), TID: txn.TID, Data: record, Exists: true}, nil) {
					return
				}
			}
		}
		if err := w.Append(txn, records); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "Data.fs")
}

// TestCommandsInLittleMemory runs the program where the kernel kills who takes more than
// 64 MiB. The Data.fs has 10,000 objects in two transactions, with $DIRSTORAGE_ROUNDS
// 200,000, and then it is imported ten times.
func TestCommandsInLittleMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it makes many files")
	}
	const limit = 64 << 20
	objects, imports := 5_000, 1
	if os.Getenv("DIRSTORAGE_ROUNDS") != "" {
		objects, imports = 100_000, 10
	}
	g := newMemoryGroup(t, limit)
	dir := t.TempDir()
	binary := plainProgram(t, dir)
	data := writeLargeTransactions(t, dir, 2, objects)
	home, backups := filepath.Join(dir, "home"), filepath.Join(dir, "backups")
	for range imports {
		if err := os.RemoveAll(home); err != nil {
			t.Fatal(err)
		}
		g.run(t, binary, "import", data, home)
	}
	for _, args := range [][]string{
		{"backup", "full", home, backups},
		{"check", home},
		{"export", home, filepath.Join(dir, "out.fs")},
		{"restore", backups, filepath.Join(dir, "restored")},
		{"pack", "--keep", "0", home},
	} {
		g.run(t, binary, args...)
	}
	want, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out.fs"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was exported is not what was imported (err %v)", err)
	}
}
