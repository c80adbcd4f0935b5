package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/sample"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

func newDemo(e *env) *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:         "demo",
		Annotations: interruptible("its directory was removed, unless --keep-directory was given; run it again"),
		Short:       "Show the main uses in a temporary directory",
		Long: `In a temporary directory, make a storage from a sample Data.fs, write to it
without pause, copy it with tar meanwhile, kill the writer hard, recover, check,
and prove that the copy is the state of the database at one transaction. It
needs tar.`,
		Example: "  dirstorage demo\n  dirstorage demo --keep-directory",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "dirstorage-demo-")
			if err != nil {
				return err
			}
			if keep {
				defer fmt.Fprintf(e.Stdout, "\nEverything is in %s.\n", dir)
			} else {
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			}
			d := demo{e: e, home: filepath.Join(dir, "home"), archive: filepath.Join(dir, "backup.tar"), restored: filepath.Join(dir, "restored")}
			return d.run(c.Context())
		},
	}
	c.Flags().BoolVar(&keep, "keep-directory", false, "leave the directory, to look at")
	return c
}

// demo is one run: a storage, a copy of it, and the directory that the copy is unpacked to.
type demo struct {
	e                       *env
	home, archive, restored string
	steps                   int
}

// The writer gets so much time before, and after the snapshot.
const demoPause = time.Second

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.e.Stdout, "   "+format+"\n", args...)
}

func (d *demo) step(title string) {
	d.steps++
	fmt.Fprintf(d.e.Stdout, "\n%d. %s\n", d.steps, title)
}

func (d *demo) run(ctx context.Context) error {
	if err := d.makeHome(ctx); err != nil {
		return err
	}
	d.step("A writer begins, in a process of its own")
	w, err := startWriter(ctx, d.home)
	if err != nil {
		return err
	}
	defer w.kill()
	if err := w.write(ctx, demoPause); err != nil {
		return err
	}
	d.say("%s acknowledged in %s; each is durable from then on", human.Plural(int64(w.count()), "transaction was", "transactions were"), human.Duration(demoPause))
	last, err := d.copyWhileWriting(ctx, w)
	if err != nil {
		return err
	}
	d.step("The writer is killed with signal 9 while it writes")
	if err := w.write(ctx, demoPause); err != nil {
		return err
	}
	acknowledged := w.kill()
	d.say("it had %s acknowledged", human.Number(int64(len(acknowledged)), "transaction"))
	if err := d.recover(ctx, acknowledged); err != nil {
		return err
	}
	if err := d.compare(ctx, last); err != nil {
		return err
	}
	fmt.Fprintln(d.e.Stdout, "\nAll of this held: no acknowledged transaction was lost, and the copy is whole.")
	return nil
}

func (d *demo) makeHome(ctx context.Context) error {
	d.step("A storage is made from a FileStorage")
	if err := engine.Create(d.home, engine.CreateOptions{}); err != nil {
		return err
	}
	s, err := engine.Open(ctx, d.home, engine.Options{Logger: d.e.logger()})
	if err != nil {
		return err
	}
	src, size := sample.Open()
	r, err := filestorage.NewReader(src, size, "sample.fs")
	var done transfer.Imported
	if err == nil {
		done, err = transfer.Import(ctx, s, r, transfer.ImportOptions{})
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	d.say("%s has the %s and %s of the sample Data.fs now,", d.home, human.Number(int64(done.Transactions), "transaction"), human.Number(int64(done.Records), "record"))
	d.say("in bundles below A: ordinary tars, of which none is ever changed")
	return nil
}

// copyWhileWriting makes the backup, and returns the last transaction in it.
func (d *demo) copyWhileWriting(ctx context.Context, w *demoWriter) (last zodb.TID, err error) {
	d.step("A is frozen, and copied with tar while the writer goes on")
	held, err := snapshot.Enter(ctx, snapshot.Options{Home: d.home, Now: d.e.Now})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, held.Release(context.WithoutCancel(ctx))) }()
	before := w.count()
	d.say("misc/snapshot holds %q, and misc/sublock is locked", held.Code)
	c := exec.CommandContext(ctx, "tar", "-C", d.home, "-cf", d.archive, "config", string(store.A))
	c.Stderr = d.e.Stderr
	d.say("$ tar -C HOME -cf backup.tar config A")
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("tar: %w", err)
	}
	if err := w.write(ctx, demoPause/4); err != nil {
		return 0, err
	}
	d.say("meanwhile %s acknowledged; they went into journal and B", human.Plural(int64(w.count()-before), "transaction was", "transactions were"))
	if err := os.Mkdir(d.restored, 0o777); err != nil {
		return 0, err
	}
	if c, err := exec.CommandContext(ctx, "tar", "-C", d.restored, "-xf", d.archive).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("tar: %w: %s", err, c)
	}
	s, err := openReader(ctx, d.e, d.restored)
	if err != nil {
		return 0, err
	}
	last = s.LastTransaction()
	d.say("snapshot mode is left; the copy ends with transaction %s", last)
	return last, s.Close()
}

func (d *demo) recover(ctx context.Context, acknowledged []zodb.TID) error {
	d.step("The storage is recovered, and checked file by file")
	s, err := engine.Open(ctx, d.home, engine.Options{Logger: d.e.logger(), CleanShutdown: true})
	if err != nil {
		return err
	}
	d.say("%s rolled forward from the journal", human.Plural(int64(s.Status().RolledForward), "transaction was", "transactions were"))
	err = s.WaitNormal(ctx)
	for _, tid := range acknowledged {
		if err == nil {
			_, err = s.Transaction(ctx, tid)
		}
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	d.say("all of the %s acknowledged ones are there", human.Count(int64(len(acknowledged))))
	return d.check(ctx, d.home)
}

// check reads every file of a storage.
func (d *demo) check(ctx context.Context, home string) error {
	dir, err := openHome(home)
	if err != nil {
		return err
	}
	sum, err := check.Run(ctx, check.Options{FS: dir, Now: d.e.Now}, func(f check.Finding) {
		if f.Severity != check.Note {
			d.say("%s: %s %s %s", f.Severity, f.Kind, f.Path, f.Detail)
		}
	})
	if err == nil && sum.Damage > 0 {
		err = &status{code: exitDamage, err: fmt.Errorf("check found damage in %s", home)}
	}
	if err == nil {
		d.say("check read %s and found no damage", human.Number(sum.Files, "file"))
	}
	return err
}

// compare proves that the unpacked copy equals the storage as of the last transaction of the copy.
func (d *demo) compare(ctx context.Context, last zodb.TID) (err error) {
	d.step("The copy is compared with the storage as it was then")
	if err := d.check(ctx, d.restored); err != nil {
		return err
	}
	s, err := openReader(ctx, d.e, d.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	copied, err := openReader(ctx, d.e, d.restored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	objects, blobs := 0, 0
	for oid, err := range s.OIDs(ctx) {
		if err != nil {
			return err
		}
		want, err := s.LoadBefore(ctx, oid, last+1)
		if want == nil && err == nil || errors.Is(err, zodb.ErrNotFound) {
			if _, err := copied.Load(ctx, oid); !errors.Is(err, zodb.ErrNotFound) {
				return fmt.Errorf("object %s did not exist then, and the copy has it: %w", oid, err)
			}
			continue
		}
		if err != nil {
			return err
		}
		got, err := copied.Load(ctx, oid)
		if err != nil {
			return fmt.Errorf("the copy: %w", err)
		}
		if got.Serial != want.Serial || !bytes.Equal(got.Data, want.Data) {
			return fmt.Errorf("object %s of the copy differs from that of the storage at that time", oid)
		}
		objects++
		had, err := sameBlob(ctx, s, copied, oid, want.Serial)
		if err != nil {
			return err
		}
		if had {
			blobs++
		}
	}
	d.say("%s and %s are the same, byte for byte", human.Number(int64(objects), "object"), human.Number(int64(blobs), "blob"))
	return nil
}

// sameBlob compares the blob of a revision, if it has one, in two storages.
func sameBlob(ctx context.Context, a, b *engine.Storage, oid zodb.OID, serial zodb.TID) (had bool, err error) {
	rec, err := a.LoadRecord(ctx, oid, serial)
	if err != nil || !rec.HasBlob {
		return false, err
	}
	var content [2][]byte
	for i, s := range []*engine.Storage{a, b} {
		f, err := s.OpenBlob(ctx, oid, serial)
		if err != nil {
			return true, err
		}
		content[i], err = io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return true, err
		}
	}
	if !bytes.Equal(content[0], content[1]) {
		err = fmt.Errorf("the blob of object %s in the copy differs from that of the storage at that time", oid)
	}
	return true, err
}

// demoWriter is the process that writes.
type demoWriter struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when its output is at an end

	mu           sync.Mutex
	acknowledged []zodb.TID
}

func startWriter(ctx context.Context, home string) (*demoWriter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &demoWriter{cmd: exec.CommandContext(ctx, self, "demo-writer", home), ended: make(chan struct{})}
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			// A line that was cut off by the kill is no acknowledgement that anybody got.
			if tid, err := zodb.ParseTID(lines.Text()); err == nil {
				w.mu.Lock()
				w.acknowledged = append(w.acknowledged, tid)
				w.mu.Unlock()
			}
		}
	}()
	return w, nil
}

func (w *demoWriter) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

// write lets the writer write for a while, and until it did something.
func (w *demoWriter) write(ctx context.Context, d time.Duration) error {
	before := w.count()
	for wait := d; ; wait = 10 * time.Millisecond {
		select {
		case <-time.After(wait):
		case <-w.ended:
			return errors.New("the writer ended by itself")
		case <-ctx.Done():
			return ctx.Err()
		}
		if w.count() > before {
			return nil
		}
	}
}

// kill ends the writer by signal 9 and returns the transactions that it had acknowledged. It may
// be called again.
func (w *demoWriter) kill() []zodb.TID {
	_ = w.cmd.Process.Kill() // it may have ended already
	<-w.ended
	_ = w.cmd.Wait() // it was killed, so this is an error
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acknowledged
}
