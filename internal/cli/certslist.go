package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

func newCertsList(e *env) *cobra.Command {
	within, json := 0, false
	c := &cobra.Command{
		Use:   "list PATH...",
		Short: "List certificates and revocation lists, the first to end first",
		Long: `List the certificates and revocation lists in files and directories, the first to end
first; those that a list among them, or a ca.crl beside them, revokes are marked. Status 1:
one that is not revoked has ended, or ends within --within days.`,
		Example: "  dirstorage certs list ca\n  dirstorage certs list --within 30 /etc/dirstorage/*.pem",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if within < 0 {
				return usage("--within %d: want 0 or more", within)
			}
			lines, err := e.findCertificates(args)
			if err != nil {
				return err
			}
			return e.listCertificates(lines, within, json)
		},
	}
	c.Flags().IntVar(&within, "within", 0, "status 1 if one ends within this `NUMBER` of days")
	c.Flags().BoolVar(&json, "json", false, "one JSON document a line")
	return c
}

func newCertsShow(e *env) *cobra.Command {
	json := false
	c := &cobra.Command{
		Use:     "show FILE...",
		Short:   "Show certificates and revocation lists with all that matters for TLS",
		Long:    "Show the certificates and revocation lists in files: use, names, issuer, serial number, begin and\nend. The status is 0 even if one has ended.",
		Example: "  dirstorage certs show ca/zodb.example.org.pem",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			lines, err := e.findCertificates(args)
			if err != nil {
				return err
			}
			for _, l := range lines {
				if err := e.showCertificate(l, json); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&json, "json", false, "one JSON document a line")
	return c
}

// findCertificates reads files and directories.
func (e *env) findCertificates(paths []string) ([]certificateLine, error) {
	var lines []certificateLine
	var of []*x509.Certificate // the certificates of lines; nil: it is a list
	var lists []*x509.RevocationList
	for _, path := range paths {
		found, err := certs.Find(path)
		if err != nil {
			return nil, noneToList(err, path)
		}
		for _, f := range found {
			if f.List != nil {
				lists = append(lists, f.List)
				lines, of = append(lines, e.listLine(f.Path, f.List)), append(of, nil)
				continue
			}
			lines, of = append(lines, e.certificateLine(f.Path, f.Certificate)), append(of, f.Certificate)
		}
		beside, err := listBeside(path)
		if err != nil {
			return nil, err
		}
		lists = append(lists, beside...)
	}
	for i, c := range of {
		for _, l := range lists {
			if c == nil {
				break
			}
			if at, ok := certs.RevokedAt(l, c); ok {
				at = at.UTC()
				lines[i].Revoked = &at
			}
		}
	}
	return lines, nil
}

// noneToList adds advice to the error of a path without certificates.
func noneToList(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint(err, "give the directory of an authority, or files; dirstorage certs authority %s makes an authority there", shellWord(path))
	case !errors.Is(err, certs.ErrNoCertificate):
		return err
	}
	if dir, name, serr := vfs.Split(path); serr == nil {
		if info, serr := dir.Stat(name); serr == nil && info.IsDir() {
			return hint(err, "give the directory of an authority, with its ca.pem; dirstorage certs authority %s makes an authority there", shellWord(path))
		}
	}
	return hint(err, "give files such as ca.pem; openssl x509 -inform der -in FILE -out FILE.pem makes PEM of a DER file")
}

// listBeside reads the revocation list of the authority in the directory of a file, if there is one.
func listBeside(path string) ([]*x509.RevocationList, error) {
	found, err := certs.Find(filepath.Join(filepath.Dir(path), listFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var lists []*x509.RevocationList
	for _, f := range found {
		if f.List != nil {
			lists = append(lists, f.List)
		}
	}
	return lists, err
}

func (e *env) listCertificates(lines []certificateLine, within int, json bool) error {
	slices.SortStableFunc(lines, func(a, b certificateLine) int {
		switch {
		case a.End == nil && b.End == nil:
			return 0
		case a.End == nil:
			return 1
		case b.End == nil:
			return -1
		}
		return a.End.Compare(*b.End)
	})
	limit, near := e.Now().AddDate(0, 0, within), 0
	var t table
	for _, head := range []string{"END", "DAYS", "KIND", "NAMES", "FILE"} {
		t.columns = append(t.columns, &tableColumn{head: head})
	}
	for _, l := range lines {
		if l.End != nil && !l.End.After(limit) && l.Revoked == nil {
			near++
		}
		if json {
			if err := e.printLine(l); err != nil {
				return err
			}
			continue
		}
		end, days := "never", "-"
		if l.End != nil {
			end, days = l.End.Format(time.DateOnly), fmt.Sprint(*l.Days)
		}
		kind := l.Kind
		if l.Revoked != nil {
			kind += ", revoked"
		}
		names := printable([]byte(strings.Join(l.Names, ", ")))
		if names == "" {
			names = printable([]byte(l.Issuer))
		}
		for i, text := range []string{end, days, kind, names, l.Path} {
			t.columns[i].add(text)
		}
	}
	if !json {
		if err := t.print(e); err != nil {
			return err
		}
	}
	if near > 0 {
		soon := ""
		if within > 0 {
			soon = ", or end within " + human.Number(int64(within), "day")
		}
		return hint(fmt.Errorf("certificates that have ended%s: %d of %d", soon, near, len(lines)), "renew them: dirstorage certs renew DIR")
	}
	return nil
}

func (e *env) showCertificate(l certificateLine, json bool) error {
	if json {
		return e.printLine(l)
	}
	fmt.Fprintln(e.Stdout, l.Path)
	w := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  kind\t%s\n", l.Kind)
	if len(l.Names) > 0 {
		fmt.Fprintf(w, "  names\t%s\n", printable([]byte(strings.Join(l.Names, ", "))))
	}
	fmt.Fprintf(w, "  issuer\t%s\n", printable([]byte(l.Issuer)))
	if l.Serial != "" {
		fmt.Fprintf(w, "  serial\t%s\n", l.Serial)
	}
	fmt.Fprintf(w, "  begin\t%s\n", l.Begin.Format(time.RFC3339))
	if l.Revoked != nil {
		fmt.Fprintf(w, "  revoked\t%s\n", l.Revoked.Format(time.RFC3339))
	}
	if l.Entries != nil {
		fmt.Fprintf(w, "  entries\t%d\n", *l.Entries)
	}
	switch {
	case l.End == nil:
		fmt.Fprintln(w, "  end\tnever")
	case l.Ended:
		fmt.Fprintf(w, "  end\t%s (it has ended)\n", l.End.Format(time.RFC3339))
	default:
		fmt.Fprintf(w, "  end\t%s (in %s)\n", l.End.Format(time.RFC3339), human.Number(int64(*l.Days), "day"))
	}
	return w.Flush()
}

// sorted yields a map by its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
