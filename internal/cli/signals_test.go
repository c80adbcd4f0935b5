package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// pauseAtOutput, in the environment, has the program of the tests pause when it is about to
// print for the first time, progress included, until a signal comes. Then it goes on.
const pauseAtOutput = "DIRSTORAGE_TEST_PAUSE"

// pausing makes it so. The end of descriptor 3 tells that it pauses.
func pausing(ctx context.Context, e *env) {
	var once sync.Once
	pause := func() {
		once.Do(func() {
			os.NewFile(3, "told").Close()
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute): // which the test says
			}
		})
	}
	e.Terminal, e.ProgressEvery = true, time.Nanosecond
	e.Stdout, e.Stderr = before{e.Stdout, pause}, before{e.Stderr, pause}
}

// before is a writer with something to be done before each write.
type before struct {
	io.Writer
	do func()
}

func (b before) Write(p []byte) (int, error) {
	b.do()
	return b.Writer.Write(p)
}

// signalled is how a command is met by a signal while it is busy.
type signalled struct {
	args []string // with HOME, REPO, and NEW for names that are free
	// silent: a storage or a server has accepted the connection, and does not answer. Else
	// the command pauses when it first prints something.
	silent bool
	// copying: somebody holds misc/sublock.
	copying bool
	// files: HOME has a file for each revision, so that the work takes long enough.
	files bool
	// changes: HOME, which is the command's own then, and there is something to roll forward.
	changes bool
	// never says why no signal meets it: it is over at once, or another test does it.
	never string
}

// signalledCommands has all commands. SERVER is an address.
var signalledCommands = map[string]signalled{
	"create":          {never: "over at once"},
	"config":          {never: "over at once"},
	"version":         {never: "over at once"},
	"man":             {never: "over at once"},
	"completion":      {never: "over at once"},
	"health":          {never: "one request with a time limit"},
	"doctor":          {never: "over in a moment; a context that ends is in TestInterruptedDoctorRemovesItsFiles of package doctor"},
	"every":           {never: "TestEveryRunsACommandAgain: the command that runs meets it"},
	"serve":           {never: "TestServeEndsCleanly and others: SIGTERM is its end, and SIGHUP reloads"},
	"import":          {args: []string{"import", "zeo://SERVER", "NEW"}, silent: true},
	"estimate":        {never: "TestInterruptedEstimateLeavesNothing"},
	"export":          {args: []string{"export", "HOME", "NEW"}},
	"convert":         {args: []string{"convert", "HOME", "NEW"}},
	"status":          {args: []string{"status", "HOME"}, silent: true},
	"top":             {args: []string{"top", "HOME"}, silent: true},
	"log":             {args: []string{"log", "-n", "0", "HOME"}},
	"history":         {args: []string{"history", "-n", "0", "HOME", "0x0"}},
	"show":            {never: "reads one object"},
	"refs":            {args: []string{"refs", "--weak", "HOME", "0x0"}},
	"refs --index":    {args: []string{"refs", "--write-index", "HOME"}},
	"files":           {args: []string{"files", "--since", "FIRST", "HOME"}, files: true},
	"pack":            {args: []string{"pack", "HOME"}, silent: true},
	"classes":         {args: []string{"classes", "HOME"}, silent: true},
	"gc":              {args: []string{"gc", "--report", "HOME"}, silent: true},
	"snapshot run":    {args: []string{"snapshot", "run", "HOME", "--", "true"}, silent: true},
	"snapshot enter":  {args: []string{"snapshot", "enter", "HOME"}, silent: true},
	"snapshot leave":  {args: []string{"snapshot", "leave", "HOME"}, silent: true},
	"snapshot status": {args: []string{"snapshot", "status", "HOME"}, silent: true},
	"backup full":     {args: []string{"backup", "full", "HOME", "NEW"}},
	"backup inc":      {args: []string{"backup", "inc", "-t", "600", "HOME", "REPO"}, copying: true},
	"backup run":      {args: []string{"backup", "run", "-t", "600", "HOME", "REPO"}, copying: true},
	"backup list":     {never: "reads a directory"},
	"backup verify":   {args: []string{"backup", "verify", "--restore", "REPO"}},
	"backup prune":    {never: "reads a directory and removes files; a context that ends is in TestInterruptedCommandSaysWhatToDo"},
	"backup merge":    {args: []string{"backup", "merge", "REPO"}},
	"restore":         {args: []string{"restore", "REPO", "NEW"}},
	"check":           {args: []string{"check", "HOME"}},
	"recover":         {args: []string{"recover", "-v", "HOME"}, changes: true},
	"salvage":         {args: []string{"salvage", "LOST", "HOME"}, files: true},
	"bench":           {args: []string{"bench", "--yes", "zeo://SERVER"}, silent: true},
	"demo":            {args: []string{"demo"}},
	"certs authority": {never: "over at once"},
	"certs server":    {never: "over at once"},
	"certs client":    {never: "over at once"},
	"certs renew":     {never: "over at once"},
	"certs revoke":    {never: "over at once"},
	"certs list":      {never: "over at once"},
	"certs show":      {never: "over at once"},
}

// busyHome makes a HOME of a format with many objects and transactions, a repository of it, and a copy of it
// that was not closed.
func busyHome(t *testing.T, format layout.Format) (home, repo, open string) {
	t.Helper()
	dir := t.TempDir()
	home, repo, open = filepath.Join(dir, "home"), filepath.Join(dir, "repo"), filepath.Join(dir, "open")
	if err := engine.Create(home, engine.CreateOptions{Format: string(format)}); err != nil {
		t.Fatal(err)
	}
	h := &packHome{t: t, home: home}
	h.start(nil)
	oids, err := h.s.NewOIDs(1500)
	if err != nil {
		t.Fatal(err)
	}
	records := map[zodb.OID][]byte{0: packData("Root", "first", oids...)}
	for _, oid := range oids {
		records[oid] = packData("Many", strings.Repeat("x", 100), 0)
	}
	h.commit(records)
	for range 150 {
		h.commit(map[zodb.OID][]byte{0: packData("Root", "again", oids...)})
	}
	h.stop()
	want(t, exitOK, "", "backup", "full", home, repo)
	h.start(nil)
	h.commit(map[zodb.OID][]byte{0: packData("Root", "last", oids...)})
	h.stop()
	want(t, exitOK, "", "backup", "inc", home, repo)
	h.start(nil)
	h.commit(map[zodb.OID][]byte{0: packData("Root", "not flushed", oids...)})
	for _, d := range []string{"config", "A", "B", "journal"} { // in misc is a socket
		if err := os.CopyFS(filepath.Join(open, d), os.DirFS(filepath.Join(home, d))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(open, "misc"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.stop()
	return home, repo, open
}

// TestSignalMeetsEachCommandAtWork sends real signals to real processes in the middle of their
// work, to each command one of those that ask to end. Each says that it was interrupted, and how to go on, and ends at once.
func TestSignalMeetsEachCommandAtWork(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	e, _, _ := testEnv()
	commands := leaves(e)
	for name := range commands {
		if _, ok := signalledCommands[name]; !ok {
			t.Errorf("no signal meets %s", name)
		}
	}
	home, repo, open := busyHome(t, layout.Bundled)
	ofFiles, _, _ := busyHome(t, layout.Chunky)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	for i, name := range slices.Sorted(maps.Keys(signalledCommands)) {
		c := signalledCommands[name]
		plain, _, _ := strings.Cut(name, " --")
		command := commands[plain]
		if command == nil {
			t.Errorf("there is no command %s", plain)
			continue
		}
		if c.never != "" {
			continue
		}
		s := signals[i%len(signals)]
		t.Run(name+" "+s.String(), func(t *testing.T) {
			from := home
			if c.files {
				from = ofFiles
			}
			if c.changes {
				from = open
			}
			c.meet(t, s, from, repo, command.Annotations[ifInterrupted])
		})
	}
}

func (c signalled) meet(t *testing.T, s syscall.Signal, home, repo, advice string) {
	// Unix sockets have short names.
	dir, err := os.MkdirTemp("", "met")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	mine := filepath.Join(dir, "home")
	if c.silent {
		err = engine.Create(mine, engine.CreateOptions{})
	} else if c.changes || c.copying || slices.Contains(c.args, "LOST") {
		err = os.CopyFS(mine, os.DirFS(home))
	} else {
		mine = home
	}
	if err == nil && slices.Contains(c.args, "REPO") {
		err = os.CopyFS(filepath.Join(dir, "repo"), os.DirFS(repo))
	}
	if err == nil && slices.Contains(c.args, "leave") {
		err = os.WriteFile(filepath.Join(mine, "misc", "snapshot"), []byte("user/snapshot"), 0o600)
	}
	if err == nil && slices.Contains(c.args, "LOST") {
		err = lose(filepath.Join(mine, "A"), filepath.Join(dir, "lost"))
	}
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(c.args)
	busy := make(chan struct{})
	if c.silent {
		network, at := "unix", filepath.Join(mine, "misc", "control")
		server := slices.IndexFunc(args, func(a string) bool { return strings.HasSuffix(a, "SERVER") })
		if server >= 0 {
			network, at = "tcp", "127.0.0.1:0"
		} else {
			lock := lockHome(t, mine)
			defer lock.Close()
		}
		l, err := net.Listen(network, at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if server >= 0 {
			args[server] = strings.Replace(args[server], "SERVER", l.Addr().String(), 1)
		}
		go func() {
			if conn, err := l.Accept(); err == nil {
				close(busy)
				_, _ = io.Copy(io.Discard, conn) // until the command ends
				conn.Close()
			}
		}()
	}
	if c.copying {
		f, err := vfs.OS(mine)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := f.Lock("misc/sublock")
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
	}
	for i, a := range args {
		switch a {
		case "HOME":
			args[i] = mine
		case "FIRST":
			args[i] = firstTransaction(t, mine)
		case "REPO", "NEW", "LOST":
			args[i] = filepath.Join(dir, strings.ToLower(a))
		}
	}
	cmd := program(t, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if !c.silent {
		told, tells, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer told.Close()
		cmd.Env = append(cmd.Env, pauseAtOutput+"=1")
		cmd.ExtraFiles = []*os.File{tells}
		go func() {
			_, _ = io.Copy(io.Discard, told)
			close(busy)
		}()
		defer tells.Close()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := tells.Close(); err != nil {
			t.Fatal(err)
		}
	} else if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the status says it
	}()
	select {
	case <-busy:
	case <-ended:
		t.Fatalf("status %d before the signal: %s", cmd.ProcessState.ExitCode(), &said)
	}
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	<-ended
	text := said.String()
	text = text[max(0, len(text)-1000):]
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
		t.Errorf("status %d, want %d: %s", got, exitInterrupted, text)
	}
	if !strings.Contains(text, "interrupted\n") || !strings.Contains(text, "hint: ") || strings.Contains(text, "context canceled") || advice == "" {
		t.Errorf("says %q, want that it was interrupted, and: %s", text, advice)
	}
	if took := time.Since(sent); took > 8*time.Second { // a silent storage has 10
		t.Errorf("it ends %v after the signal", took)
	}
}

// lockHome is the lock of a process that has HOME open.
func lockHome(t *testing.T, home string) vfs.Lock {
	t.Helper()
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("misc/lock")
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

// lose moves the transactions of A to another directory, under other names.
func lose(a, lost string) error {
	if err := os.Mkdir(lost, 0o700); err != nil {
		return err
	}
	n := 0
	return filepath.WalkDir(a, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(strings.TrimPrefix(path, a), "/t") {
			return err
		}
		n++
		return os.Rename(path, filepath.Join(lost, fmt.Sprintf("#%d", n)))
	})
}

// firstTransaction is the oldest of a HOME.
func firstTransaction(t *testing.T, home string) string {
	t.Helper()
	s, err := engine.Open(t.Context(), home, engine.Options{ReadOnly: true, NoControlSocket: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := zodb.TID(0)
	for txn, err := range s.TransactionsBackward(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		first = txn.TID
	}
	return first.String()
}
