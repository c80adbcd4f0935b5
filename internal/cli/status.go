package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/zodb"
)

func newStatus(e *env) *cobra.Command {
	var asJSON, count bool
	c := &cobra.Command{
		Use:         "status HOME",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"info", "state"},
		Short:       "Say in which state a storage is and how much it holds",
		Long: `Say whether a storage is running, and print the state of its snapshot mode, its last
transaction, the transactions that wait to be flushed, and how much it holds. It
costs nothing, even for a large storage. The room on the disk is estimated: of
bundles it is their size; in other formats each file is a block at least, and files
that packs have put aside are not counted.

--count looks at each file: it counts the objects and revisions, which a HOME of the
original, or a copy of A and config, does not know; it measures the room of HOME on
the disk, part by part; and it shows how much packs have put aside, blobs included,
and from when on the next pack frees that. Of a HOME of the format bundled that is
shown in any case: how much is gone for good and not given back yet, and how much is
set aside, and until when; without --count an estimate if it is not running.`,
		Example: "  dirstorage status /srv/zodb\n  dirstorage status --count /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			st, err := readStatus(c.Context(), e, args[0])
			if err == nil && count {
				err = st.count(c.Context(), e)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return e.printJSON(st)
			}
			return st.print(e)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&count, "count", false, "count its contents, file by file")
	return c
}

// count counts and measures the contents of a storage.
func (st *homeStatus) count(ctx context.Context, e *env) error {
	s, err := openReader(ctx, e, st.Home)
	if err != nil {
		return err
	}
	st.Counts, err = s.CountExactly(ctx)
	if err == nil {
		var use engine.DiskUse
		use, err = s.DiskUse(ctx)
		st.Disk = &use
	}
	return errors.Join(err, s.Close())
}

// homeStatus is a storage's description of itself, with whether it runs.
type homeStatus struct {
	Running bool `json:"running"`
	zodb.Status
	// Disk is the room of HOME on the disk; nil: it was not measured.
	Disk *engine.DiskUse `json:"disk,omitempty"`
}

// readStatus asks the process that has the storage open, or else looks at the
// files.
func readStatus(ctx context.Context, e *env, home string) (homeStatus, error) {
	st := homeStatus{Running: true}
	running, err := control.Dial(ctx, home)
	if err == nil {
		b, err := running.Status(ctx)
		if err = errors.Join(err, running.Close()); err != nil {
			return st, err
		}
		return st, json.Unmarshal(b, &st.Status)
	}
	if !errors.Is(err, control.ErrNotRunning) {
		return st, err
	}
	s, err := openReader(ctx, e, home)
	if err != nil {
		return st, err
	}
	st = homeStatus{Status: s.Status()}
	st.PID, st.ReadOnly = 0, false
	if st.Snapshot == "" {
		dir, err := openHome(home)
		if err != nil {
			return st, errors.Join(err, s.Close())
		}
		code, err := dir.ReadFile(snapfile.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return st, errors.Join(err, s.Close())
		}
		st.Snapshot = string(code)
		if r, err := snapfile.Read(dir); err == nil && r.Code != snapfile.Shutdown {
			st.SnapshotMode = &zodb.SnapshotStatus{Since: r.Moment, Seconds: e.Now().Sub(r.Moment).Seconds(), TID: r.TID}
			st.SnapshotMode.Code, _ = snapfile.UserCode(r.Code)
		}
	}
	return st, s.Close()
}

// formatDone says how far a pack has come in its phase.
func formatDone(p *zodb.PackProgress) string {
	if p.Total == 0 {
		return human.Count(p.Done) + " done"
	}
	text := fmt.Sprintf("%s of %s", human.Count(p.Done), human.Count(p.Total))
	if p.LeftSeconds > 0 {
		text += ", " + human.Duration(time.Duration(p.LeftSeconds*1e9)) + " left"
	}
	return text
}

// printDisk prints the room of HOME on the disk.
func (st *homeStatus) printDisk(line func(name, format string, args ...any)) {
	if st.Disk == nil {
		if text := st.estimateDisk(); text != "" {
			line("on the disk", "about %s; --count measures it", text)
		}
		return
	}
	var parts []string
	for _, p := range st.Disk.Parts {
		parts = append(parts, p.Name+" "+human.Bytes(p.Bytes))
	}
	line("on the disk", "%s in %s files and directories: %s", human.Bytes(st.Disk.Bytes), human.Count(st.Disk.Files), strings.Join(parts, ", "))
}

// printRemoved prints how much packs have removed, and when the file system has it back.
func (st *homeStatus) printRemoved(line func(name, format string, args ...any)) {
	r := st.Removed // of blobs it knows nothing
	if st.Disk != nil {
		r = &st.Disk.Removed
	}
	if r == nil {
		return
	}
	if r.GoneBytes > 0 {
		line("gone for good", "%s in bundles; it comes back when these are written again: by themselves from half on, now by pack --reclaim", human.Bytes(r.GoneBytes))
	}
	for i, a := range r.Aside {
		name := ""
		if i == 0 {
			name = "set aside"
		}
		until := human.FormatTime(a.Until, time.Local)
		if r.InBundles {
			line(name, "%s, %s items, by pack %d; until %s, then it is gone for good", human.Bytes(a.Bytes), human.Count(a.Files), a.Stamp, until)
		} else {
			line(name, "%s in %s files by pack %d; the first pack after %s frees it, or pack --reclaim", human.Bytes(a.Bytes), human.Count(a.Files), a.Stamp, until)
		}
	}
	if st.GaveBackBytes != 0 {
		line("given back", "%s since the start, by bundles that were written again", human.Bytes(st.GaveBackBytes))
	}
}

func (st *homeStatus) print(e *env) error {
	line := func(name, format string, args ...any) {
		if name != "" {
			name += ":"
		}
		fmt.Fprintf(e.Stdout, "%-18s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("storage", "%s (%s, %s, identity %s)", st.Home, st.Class, st.Format, st.Identity)
	if st.Running {
		line("state", "running, pid %d", st.PID)
	} else {
		line("state", "not running, or without a control socket")
	}
	switch {
	case st.Snapshot != "":
		line("snapshot mode", "%s", printable([]byte(st.Snapshot)))
	case st.Running:
		line("snapshot mode", "off")
	case st.LastTID == 0 && st.JournalBytes == 0: // as create leaves it
		line("snapshot mode", "off: nothing was ever committed")
	default:
		line("snapshot mode", "off: it was not closed cleanly, and is rolled forward at the next start")
	}
	if m := st.SnapshotMode; m != nil {
		name, mode := "", "since"
		if m.Long {
			name, mode = "TROUBLE", "in snapshot mode since"
		}
		line(name, mode+" %s, for %s; A ends with %s, and %s transactions were committed since", human.FormatTime(m.Since, time.Local),
			human.Duration(time.Duration(m.Seconds*1e9)), formatLast(m.TID), human.Count(m.Newer))
	}
	if st.Failure != "" {
		line("READ-ONLY", "%s", st.Failure)
	}
	if st.Trouble != "" {
		line("TROUBLE", "%s", st.Trouble)
	}
	for _, path := range st.Damaged {
		line("WARNING", "%s is damaged, and is left as it is: see “dirstorage check”", path)
	}
	if st.LowSpace != "" {
		line("WARNING", "%s", st.LowSpace)
	}
	if st.CommitSeconds >= 1 {
		line("TROUBLE", "a commit has been waiting for the disk for %.0f seconds", st.CommitSeconds)
	}
	line("last transaction", "%s", formatLast(st.LastTID))
	if st.Packed != 0 {
		line("packed", "%s", formatLast(st.Packed))
	}
	if p := st.Pack; p != nil {
		line("pack", "%s, %s, since %s", p.Phase, formatDone(p), human.FormatTime(p.Since, time.Local))
		if p.Waiting != "" {
			line("", "it waits for %s", p.Waiting)
		}
	}
	n := st.Counts
	if n.Exact {
		line("holds", "%s objects, %s revisions, %s transactions; %s, of which %s of blobs", human.Count(n.Objects), human.Count(n.Revisions),
			human.Count(n.Transactions), human.Bytes(n.Bytes), human.Bytes(n.BlobBytes))
	} else {
		line("holds", "up to %s objects (nobody has counted)", human.Count(n.Objects))
	}
	st.printDisk(line)
	st.printRemoved(line)
	line("to be flushed", "%s transactions, %s files; journal %s", human.Count(int64(st.UnflushedTransactions)), human.Count(int64(st.UnflushedFiles)), human.Bytes(st.JournalBytes))
	if st.Running {
		line("open transactions", "%d", st.OpenTransactions)
	}
	_, err := fmt.Fprintf(e.Stdout, "%-18s %s of %s, %s of %s inodes\n", "free:", human.Bytes(int64(st.Space.FreeBytes)), human.Bytes(int64(st.Space.TotalBytes)),
		human.Count(int64(st.Space.FreeInodes)), human.Count(int64(st.Space.TotalInodes)))
	return err
}
