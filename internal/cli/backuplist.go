package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
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
			return listBackups(c.Context(), e, r, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func listBackups(_ context.Context, e *env, r *backup.Repository, asJSON bool) error {
	bad := false
	for _, err := range r.Damaged {
		bad = bad || !backup.IsNewer(err)
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
				bad = bad || !backup.IsNewer(err)
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
	if len(r.Backups) == 0 {
		fmt.Fprintln(e.Stdout, "no backups")
	}
	for _, s := range storages {
		fmt.Fprintf(e.Stdout, "storage %s\n", s.Identity)
		w := tabwriter.NewWriter(e.Stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "BACKUP\tTAKEN\tLAST TRANSACTION\tFILES\tOBJECTS\tSIZE\tVERIFIED")
		for _, l := range s.Backups {
			indent, verified := "", "never"
			if l.Kind == backup.Incremental {
				indent = "  "
			}
			if v := l.Verified; v != nil {
				verified = fmt.Sprintf("%s %s", v.Level, human.FormatTime(v.When, time.Local))
				if !v.OK {
					verified = "FAILED " + verified
				}
				if v.Archive == nil {
					verified += ", of which bytes is not known"
				}
			}
			fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\t%s\t%s\n", indent, l.Name, human.FormatTime(l.SnapshotAt, time.Local), l.TID,
				human.Count(l.Counts.Entries), objectsOf(l.Manifest), human.Bytes(l.Archive.Bytes), verified)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, l := range s.Backups {
			if l.Problem != "" {
				fmt.Fprintf(e.Stdout, "%s can't be restored: %s\n", l.Name, l.Problem)
			}
		}
		for _, x := range s.Restorable {
			if x.From == x.To {
				fmt.Fprintf(e.Stdout, "you can restore to transaction %s\n", formatLast(x.To))
				continue
			}
			fmt.Fprintf(e.Stdout, "you can restore to any of these, or to any transaction between %s and %s\n", formatLast(x.From), formatLast(x.To))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Damaged)) {
		fmt.Fprintf(e.Stdout, "the manifest of backup %s can't be used: %v\n", name, r.Damaged[name])
	}
	return nil
}
