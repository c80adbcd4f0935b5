package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/human"
)

// listedBackup is a backup as backup list --json prints it.
type listedBackup struct {
	*backup.Manifest
	// Problem says why it can't be restored.
	Problem  string           `json:"problem,omitempty"`
	Verified *backup.Verified `json:"verified,omitempty"`
}

type listedStorage struct {
	Identity   string              `json:"identity"`
	Backups    []listedBackup      `json:"backups"`
	Restorable []backup.Restorable `json:"restorable"`
}

func newBackupList(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:         "list REPO",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"ls", "show"},
		Short:       "List backups, and the transactions that can be restored",
		Long: `List the backups of a repository, oldest first, an incremental one indented below
its reference, and say which transactions can be restored. Manifests and names are
read, not the data: see backup verify. The exit status is 3 if something in the list
can't be restored, and 1 if a newer release has to read it.`,
		Example: "  dirstorage backup list /backup/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := openRepository(c.Context(), args[0])
			if err != nil {
				return err
			}
			return listBackups(e, r, args[0], asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func listBackups(e *env, r *backup.Repository, repo string, asJSON bool) error {
	bad, unread := false, 0
	for _, err := range r.Damaged {
		if errors.Is(err, fs.ErrPermission) {
			unread++
		} else {
			bad = bad || !backup.IsNewer(err)
		}
	}
	storages := []listedStorage{}
	for _, identity := range r.Identities() {
		s := listedStorage{Identity: identity, Restorable: r.Restorable(identity)}
		for _, m := range r.Backups {
			if m.Identity != identity {
				continue
			}
			l := listedBackup{Manifest: m}
			_, err := r.Exactly(m)
			if err == nil {
				err = r.KnownBad(m)
			}
			if err != nil {
				l.Problem = err.Error()
				bad = bad || !backup.IsNewer(err) && !errors.Is(err, fs.ErrPermission)
			}
			if v, ok := r.Verified[m.Name]; ok {
				l.Verified = &v
			}
			s.Backups = append(s.Backups, l)
		}
		storages = append(storages, s)
	}
	var err error
	if asJSON {
		damaged := make(map[string]string)
		for name, err := range r.Damaged {
			damaged[name] = err.Error()
		}
		err = e.printJSON(listReport{storages, damaged})
	} else {
		err = printBackups(e, r, storages)
	}
	switch {
	case err != nil:
		return err
	case bad:
		return &status{code: exitDamage}
	case unread > 0:
		return hint(fmt.Errorf("the list is not complete: this user may not read the manifest of %s", human.Number(int64(unread), "backup")), "%s", noRight(given{as: "REPO"}, repo))
	}
	if err := r.Newer(); err != nil {
		return fmt.Errorf("the list is not complete: %w", err)
	}
	return nil
}

// objectsOf is how many objects the archive of a backup holds; "-": its manifest does not say.
func objectsOf(m *backup.Manifest) string {
	if m.Original() || m.Counts.Objects == 0 && m.Counts.Revisions > 0 {
		return "-"
	}
	return human.Count(m.Counts.Objects)
}

// objectsText is objectsOf with the name of the things.
func objectsText(m *backup.Manifest) string {
	if number := objectsOf(m); number != "1" {
		return number + " objects"
	}
	return "1 object"
}

func printBackups(e *env, r *backup.Repository, storages []listedStorage) error {
	w := e.printer()
	if isEmpty(r) {
		w.printf("no backups\n")
	}
	for _, s := range storages {
		w.printf("storage %s\n", s.Identity)
		if w.err == nil {
			w.err = s.table().print(e)
		}
		for _, l := range s.Backups {
			if l.Problem != "" {
				w.printf("%s can't be restored: %s\n", l.Name, l.Problem)
			}
		}
		for _, x := range s.Restorable {
			if x.From == x.To {
				w.printf("you can restore to transaction %s\n", formatLast(x.To))
				continue
			}
			w.printf("you can restore to any of these, or to any transaction between %s and %s\n", formatLast(x.From), formatLast(x.To))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Damaged)) {
		w.printf("the manifest of backup %s can't be used: %v\n", name, r.Damaged[name])
	}
	return w.err
}

// table is the list of backups.
func (s *listedStorage) table() *table {
	name, taken, last := &tableColumn{head: "BACKUP"}, &tableColumn{head: "TAKEN"}, &tableColumn{head: "LAST TRANSACTION"}
	files, objects, size := &tableColumn{head: "FILES"}, &tableColumn{head: "OBJECTS"}, &tableColumn{head: "SIZE"}
	verified := &tableColumn{head: "VERIFIED"}
	for _, l := range s.Backups {
		indent := ""
		if l.Kind == backup.Incremental {
			indent = "  "
		}
		name.add(indent + l.Name)
		taken.add(human.FormatTime(l.SnapshotAt, time.Local), toMinute(l.SnapshotAt))
		last.add(l.TID.String())
		files.add(human.Count(l.Counts.Entries))
		objects.add(objectsOf(l.Manifest))
		size.add(human.Bytes(l.Archive.Bytes))
		verified.add(verifiedForms(l.Verified)...)
	}
	return &table{
		columns: []*tableColumn{name, taken, last, files, objects, size, verified},
		giving:  []*tableColumn{verified, files, taken, objects, verified, last, size},
	}
}

// toMinute is a local time for a table on a narrow terminal.
func toMinute(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// verifiedForms tell a verification: its level and time, the level and the day, the level alone.
func verifiedForms(v *backup.Verified) []string {
	if v == nil {
		return []string{"never", "never", "never"}
	}
	level := string(v.Level)
	if !v.OK {
		level = "FAILED " + level
	}
	long := level + " " + human.FormatTime(v.When, time.Local)
	if v.Archive == nil {
		long += ", of which bytes is not known"
	}
	return []string{long, level + " " + v.When.Local().Format(time.DateOnly), level}
}
