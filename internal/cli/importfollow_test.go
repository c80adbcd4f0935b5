package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// followed reads the output of import --follow --json.
func followed(t *testing.T, text string) (states []followState, done transfer.Imported) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return states, done
		} else if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		var s followState
		if err := json.Unmarshal(raw, &s); err == nil && s.State != "" {
			states = append(states, s)
		} else if err := json.Unmarshal(raw, &done); err != nil {
			t.Fatal(err)
		}
	}
}

// followerTest runs import --follow with a clock that the test sets.
type followerTest struct {
	t              *testing.T
	stdout, stderr output
	ahead          atomic.Int64 // nanoseconds that its clock is ahead
	cancel         context.CancelFunc
	ended          chan int
}

func startFollower(t *testing.T, args ...string) *followerTest {
	f := &followerTest{t: t, ended: make(chan int, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	f.cancel = cancel
	now := func() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }
	e := &env{Stdin: strings.NewReader(""), Stdout: &f.stdout, Stderr: &f.stderr, Now: now, Getenv: func(string) string { return "" }}
	go func() { f.ended <- run(ctx, e, append([]string{"import", "--follow"}, args...)) }()
	t.Cleanup(cancel)
	return f
}

func (f *followerTest) end() {
	f.t.Helper()
	f.cancel()
	if code := <-f.ended; code != exitOK {
		f.t.Errorf("status %d: %s", code, &f.stderr)
	}
}

// TestImportFollowsAGrowingFile: torn ends are not taken, and a pack replaces the file.
func TestImportFollowsAGrowingFile(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	whole, at := dataFS("FS30", growing(40)...)
	list := growing(40)
	c.write("FS", whole[:at[10]])
	home := c.path("home")
	f := startFollower(t, "--json", c.path("FS"), home)
	f.stderr.await(t, "copied 10 transactions up to "+list[9].tid.String())
	f.stderr.await(t, "caught up: HOME has everything")
	// Its end is being written.
	c.write("FS", whole[:at[12]+30])
	f.ahead.Add(int64(time.Hour))
	f.stderr.await(t, "the last transaction is "+list[11].tid.String())
	c.write("FS", whole[:at[20]])
	f.ahead.Add(int64(time.Hour))
	f.stderr.await(t, "the last transaction is "+list[19].tid.String())
	// Another file with the same transactions, as after a pack.
	c.write("NEW", whole)
	if err := os.Rename(c.path("NEW"), c.path("FS")); err != nil {
		t.Fatal(err)
	}
	f.ahead.Add(int64(time.Hour))
	f.stderr.await(t, "the last transaction is "+list[39].tid.String())
	f.end()
	states, done := followed(t, f.stdout.String())
	if done.Transactions != 40 || done.LastTID != list[39].tid {
		t.Errorf("%+v", done)
	}
	if len(states) < 4 || states[0].State != "caught-up" || states[len(states)-1].State == "behind" || states[len(states)-1].LastTID != done.LastTID {
		t.Errorf("%+v", states)
	}
	if done, _ := c.imported(exitOK, c.path("FS"), home); done.Transactions != 0 {
		t.Errorf("the rest: %+v", done)
	}
	c.must(exitOK, "check", home)
}

// TestImportFollowStopsAtAnotherFile: it holds other transactions.
func TestImportFollowStopsAtAnotherFile(t *testing.T) {
	t.Parallel()
	c := newFolder(t)
	whole, at := dataFS("FS30", growing(20)...)
	c.write("FS", whole[:at[10]])
	f := startFollower(t, c.path("FS"), c.path("home"))
	f.stderr.await(t, "caught up")
	list := growing(20)
	for i := range list {
		list[i].tid += 5
	}
	other, _ := dataFS("FS30", list...)
	c.write("NEW", other)
	if err := os.Rename(c.path("NEW"), c.path("FS")); err != nil {
		t.Fatal(err)
	}
	if code := <-f.ended; code != exitFailed || !strings.Contains(f.stderr.String(), "the storage is not a copy of this Data.fs") {
		t.Errorf("status %d: %s", code, &f.stderr)
	}
}

// TestFollowTellsHowFarBehindItIs of a server whose transactions come quicker than they are copied:
// the clock goes on by a minute each time it is looked at, so that each line is due.
func TestFollowTellsHowFarBehindItIs(t *testing.T) {
	t.Parallel()
	url, _ := served(t, "undo.fs", nil)
	home := filepath.Join(t.TempDir(), "home")
	f := startFollower(t, "--json", url+"/main", home)
	f.stderr.await(t, "caught up: HOME has everything")
	z, err := zeoclient.ParseURL(url + "/main")
	if err != nil {
		t.Fatal(err)
	}
	c, err := zeoclient.Dial(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var last zodb.TID
	for i := range zodb.OID(300) {
		txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
		if err == nil {
			err = txn.Store(0x1000+i, 0, []byte("\x80\x03cm\nC\n.\x80\x03N."))
		}
		if err != nil {
			t.Fatal(err)
		}
		if last, err = txn.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.ahead.Add(int64(time.Hour))
	f.stderr.await(t, last.String())
	f.end()
	states, done := followed(t, f.stdout.String())
	if done.LastTID != last || done.Transactions != 314 {
		t.Errorf("%+v", done)
	}
	if s := states[len(states)-1]; s.LastTID != last || s.BehindTransactions != 0 || s.BehindSeconds != 0 || s.Transactions != 314 {
		t.Errorf("%+v", states)
	}
}

// TestFollowingSaysEachChange goes through the states without a source.
func TestFollowingSaysEachChange(t *testing.T) {
	t.Parallel()
	e, stdout, stderr := testEnv()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	e.Now = func() time.Time { return now }
	f := newFollowing(&importCommand{json: true}, e, newMeter(e))
	tid := func(seconds int) zodb.TID {
		return zodb.TIDFromTime(now.Truncate(time.Hour).Add(time.Duration(seconds) * time.Second))
	}
	at := func(up bool, left, bytes int64, here, there int) {
		l := transfer.Lag{Up: up, Transactions: left, Bytes: bytes, Source: tid(there)}
		l.LastTID, l.Imported.Transactions = tid(here), int64(here)
		f.report(l)
	}
	at(false, -1, 5<<20, 1, 90) // the first copy; no line yet
	now = now.Add(lineEvery)
	at(false, -1, 4<<20, 2, 92)
	at(true, 0, 0, 92, 92)
	at(false, 3, 2048, 93, 96) // too soon for a line
	now = now.Add(lineEvery)
	at(true, 0, 0, 93, 93)
	at(false, 1, 1024, 93, 94) // it keeps up, though a line would be due
	now = now.Add(lineEvery)
	at(false, 2, 1024, 94, 96)
	at(true, 0, 0, 96, 96)
	at(true, 0, 0, 97, 97) // too soon
	now = now.Add(lineEvery)
	at(true, 0, 0, 97, 97) // and nothing more
	at(true, 0, 0, 97, 97)
	now = now.Add(upEvery)
	at(true, 0, 0, 98, 98)
	f.lost(errors.New("connection lost"), time.Second)
	at(true, 0, 0, 98, 98)
	if err := f.end(t.Context(), nil); err != nil {
		t.Error(err)
	}
	states, _ := followed(t, stdout.String())
	var got []string
	for _, s := range states {
		got = append(got, s.State)
	}
	if want := "behind caught-up behind caught-up up up lost caught-up"; strings.Join(got, " ") != want {
		t.Errorf("states %v, want %s\n%s", got, want, stderr)
	}
	if s := states[2]; s.BehindTransactions != 2 || s.BehindBytes != 1024 || s.BehindSeconds < 1.9 || s.BehindSeconds > 2.1 || s.LastTID != tid(94) {
		t.Errorf("%+v", s)
	}
	for _, text := range []string{"behind, about 4.0 MiB, 1m30s between", "copied 92 transactions up to", "behind by 2 transactions, about 1.0 KiB, 1.9s between", "warning: connection lost; trying again in 1.0s"} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("%q is not in\n%s", text, stderr)
		}
	}
	// The end of one that is behind.
	at(false, 1, 100, 99, 100)
	if err := f.end(t.Context(), nil); err != nil || !strings.Contains(stderr.String(), "warning: stopped while behind by 1 transaction") {
		t.Errorf("%v\n%s", err, stderr)
	}
}
