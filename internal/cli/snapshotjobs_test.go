package cli

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/zodb"
)

// incremental is a nightly job: all that is newer than the time of the last copy, in
// an archive or a tree of its own, and the time of this one. It records the last
// transaction, which the test wants to know.
const incremental = `set -eu
dir=$1
n=$(ls "$dir" | wc -l)
last=0
if [ -e "$dir/last" ]; then last=$(cat "$dir/last"); fi
sleep "$3"
cd "$SNAPSHOT_DIRECTORY"
case $2 in
tar) tar --newer-mtime="@$last" -cf "$dir/$(printf %06d "$n").tar" config A ;;
cp)
	mkdir "$dir/$(printf %06d "$n")"
	find config A -type f '(' -newermt "@$last" -o -newermt "@$((last - 1))" ')' -print0 | xargs -0 -r cp -p --parents -t "$dir/$(printf %06d "$n")" ;;
esac
echo "$SNAPSHOT_TIMESTAMP" > "$dir/last"
echo "$SNAPSHOT_TID" > "$dir/tid"
`

// restoreChain unpacks the archives of a job, oldest first.
const restoreChain = `set -eu
mkdir "$2"
for part in "$1"/0*; do
	if [ -d "$part" ]; then cp -a "$part/." "$2"; else tar -C "$2" -xf "$part"; fi
done
`

// chainHolds restores a chain and compares it with the model: it has every
// transaction up to the one that the job was told, and none later.
func (d *documented) chainHolds(t *testing.T, l *loadtest.Load, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "tid"))
	if err != nil {
		t.Fatalf("%s never made a copy: %v", dir, err)
	}
	tid, err := zodb.ParseTID(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	d.command(t, "sh", "-c", restoreChain, "sh", dir, restored)
	s, err := engine.Open(t.Context(), restored, engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	last := s.LastTransaction()
	s.Close()
	if last != tid {
		t.Errorf("%s: the job was told that A ends with %s, and its copy ends with %s", dir, tid, last)
	}
	if err := l.Compare(restored, tid); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
}

func (d *documented) status(t *testing.T, name string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (d *documented) dirstorage(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return d.status(t, filepath.Join(d.dir, "dirstorage"), args...)
}

// feed lets the writers make a transaction every few milliseconds, until stop.
func feed(l *loadtest.Load) (stop func()) {
	end := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.Budget.Store(1)
			case <-end:
				l.Budget.Store(0)
				return
			}
		}
	})
	return func() { close(end); wait.Wait() }
}

func newJobs(t *testing.T) *documented {
	t.Helper()
	if !have("flock", "tar", "find", "xargs", "cp", "touch") {
		t.Skip("flock, tar, find, xargs and cp are not all on this machine")
	}
	return documentedScripts(t)
}

// TestJobsThatOverlapLoseNothing runs nightly jobs that do not know of each other
// against one storage, at random moments: two by snapshot run, one by snapshot run
// within a snapshot enter, and one by hand in the snapshots of the others. The
// chain of each is restored and compared, transaction by transaction.
func TestJobsThatOverlapLoseNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	d := newJobs(t)
	for round := range hometest.Rounds(t, 1) {
		l := loadtest.New(t, 40, engine.CreateOptions{})
		l.Start(t, 4)
		l.Write(t, 40)
		stop := feed(l)
		work := t.TempDir()
		dirs := make(map[string]string)
		for _, name := range []string{"tar", "cp", "entered", "hand"} {
			dirs[name] = filepath.Join(work, name)
			if err := os.Mkdir(dirs[name], 0o777); err != nil {
				t.Fatal(err)
			}
		}
		var wait sync.WaitGroup
		job := func(name string, do func(pause string) (status int, out string)) {
			rnd := rand.New(rand.NewPCG(uint64(round), uint64(len(name))))
			wait.Go(func() {
				for made := 0; made < 3; {
					time.Sleep(time.Duration(rnd.IntN(150)) * time.Millisecond)
					status, out := do([]string{"0", "0.1", "0.6"}[rnd.IntN(3)])
					switch status {
					case 0:
						made++
					case exitLocked, exitFailed:
					default:
						t.Errorf("%s: status %d: %s", name, status, out)
						return
					}
				}
			})
		}
		run := func(kind, dir string) func(string) (int, string) {
			return func(pause string) (int, string) {
				return d.dirstorage(t, "snapshot", "run", "-q", "-t", "300", "-s", "0.05", l.Home, "--", "sh", "-c", incremental, "sh", dir, kind, pause)
			}
		}
		job("tar", run("tar", dirs["tar"]))
		job("cp", run("cp", dirs["cp"]))
		within := run("tar", dirs["entered"])
		job("entered", func(pause string) (int, string) {
			if status, out := d.dirstorage(t, "snapshot", "enter", l.Home); status != 0 {
				return status, out
			}
			time.Sleep(200 * time.Millisecond)
			status, out := within(pause)
			d.dirstorage(t, "snapshot", "leave", l.Home)
			return status, out
		})
		job("hand", func(pause string) (int, string) {
			return d.status(t, "sh", "-c", byHand, "sh", l.Home, dirs["hand"], pause)
		})
		wait.Wait()
		stop()
		l.End()
		d.dirstorage(t, "snapshot", "leave", l.Home) // a job could not leave it
		if err := l.Storage.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			d.chainHolds(t, l, dir)
		}
	}
}

// byHand takes part in any snapshot that there is, with a shell alone. x.serial
// says which is the last transaction.
const byHand = `set -eu
home=$1 dir=$2
(
	flock -n 9 || exit 4
	test -e "$home/misc/snapshot" || exit 4
	touch -r "$home/misc/snapshot" "$dir/stamp.new"
	newer=
	if [ -e "$dir/stamp" ]; then newer=--newer-mtime=@$(stat -c %.9Y "$dir/stamp"); fi
	sleep "$3"
	n=$(ls "$dir" | wc -l)
	tar -C "$home" $newer -cf "$dir/$(printf %06d "$n").tar" config A
	od -An -tx1 "$home/A/x.serial" | tr -d ' \n' | tr a-f A-F > "$dir/tid"
	mv "$dir/stamp.new" "$dir/stamp"
) 9>> "$home/misc/sublock"
`

// TestForgottenSnapshotKeepsItsMoment enters a snapshot, lets transactions come,
// and copies within it; the copy after that has all that came meanwhile.
func TestForgottenSnapshotKeepsItsMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("has to wait for time stamps to pass")
	}
	d := newJobs(t)
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 2)
	work := t.TempDir()
	run := func(args ...string) (int, string) {
		all := append([]string{"snapshot", "run"}, args...)
		return d.dirstorage(t, append(all, l.Home, "--", "sh", "-c", incremental, "sh", work, "tar", "0")...)
	}
	must := func(want int, text string) func(int, string) {
		return func(status int, out string) {
			t.Helper()
			if status != want || !strings.Contains(out, text) {
				t.Fatalf("status %d, want %d: %s, want %q", status, want, out, text)
			}
		}
	}
	l.Write(t, 10)
	must(0, "")(run())
	l.Write(t, 10)
	must(0, "user/forgotten")(d.dirstorage(t, "snapshot", "enter", "--code", "forgotten", l.Home))
	l.Write(t, 20)
	// The transaction gets its files long before the copy is made.
	if err := l.Storage.(*engine.Storage).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // stamps are in whole seconds, and lie ahead by one for each snapshot
	must(0, `"forgotten"`)(run())
	must(0, "")(run("--join"))
	l.Write(t, 10)
	d.chainHolds(t, l, work)
	if status, out := d.dirstorage(t, "snapshot", "enter", l.Home); status != exitLocked || !strings.Contains(out, "forgotten") {
		t.Errorf("entered twice: status %d, %s", status, out)
	}
	must(0, "")(d.dirstorage(t, "snapshot", "leave", l.Home))
	l.Write(t, 5)
	must(0, "")(run())
	d.chainHolds(t, l, work)
}

// TestStatesInWhichAIsASnapshot: a snapshot that is being left is none any more.
func TestStatesInWhichAIsASnapshot(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]bool{
		"": false, "startup": false, "leaving": false, "recombining": false, "shutdown": true, "user/nightly": true,
	} {
		if got := isSnapshot(state); got != want {
			t.Errorf("%q: %t", state, got)
		}
	}
}
