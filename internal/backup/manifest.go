package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// schema is the version of the manifests that this release writes and reads.
// Fields are added without changing it.
const schema = 1

// Kind tells full and incremental backups apart.
type Kind string

// The kinds of backups.
const (
	Full        Kind = "full"
	Incremental Kind = "incremental"
)

// Manifest describes one backup; docs/backup.md has the schema of its JSON.
type Manifest struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	// Identity, Class and Format are those of the storage.
	Identity string `json:"identity"`
	Class    string `json:"class"`
	Format   string `json:"format"`
	// HomeVersion is structure/version of the storage; "": it was not noted.
	HomeVersion string `json:"home_version,omitempty"`
	// TID is the last transaction that is in the backup; 0 = the storage was empty.
	// Time is the moment that it stands for. TransactionSHA256 is of its file with
	// the 8 bytes that name the one before, which pack changes, taken as zero; none
	// in class Minimal.
	TID               zodb.TID     `json:"tid"`
	Time              time.Time    `json:"time"`
	TransactionSHA256 *archive.Sum `json:"transaction_sha256,omitempty"`
	MaxOID            zodb.OID     `json:"max_oid"`
	// Packed is the latest pack time of the storage.
	Packed zodb.TID `json:"packed"`
	// Undeleted names the last undelete or salvage of the storage; "": there was none. The files
	// that it brought back belong to transactions before, so no incremental backup has
	// them.
	Undeleted string `json:"undeleted,omitempty"`
	// Reference is the base of an incremental backup.
	Reference *Reference `json:"reference,omitempty"`
	// MergedFrom names the backups that a full one was merged from.
	MergedFrom []string `json:"merged_from,omitempty"`
	// SnapshotAt is shortly before the snapshot: nothing that was committed until then
	// is missing. It was left at SnapshotEnd. The backup was begun and written in
	// between and around.
	Began       time.Time `json:"began"`
	SnapshotAt  time.Time `json:"snapshot_at"`
	SnapshotEnd time.Time `json:"snapshot_end"`
	Ended       time.Time `json:"ended"`
	Counts      Counts    `json:"counts"`
	// Bundles are the files in the backup that only their names tell, and no transaction:
	// bundles, and gone lists of them. An incremental backup has those that its chain
	// does not have.
	Bundles []string `json:"bundles,omitempty"`
	// Bytes is the size of the content of the archive, before it is compressed.
	Bytes   int64 `json:"bytes"`
	Archive File  `json:"archive"`
	Index   File  `json:"index"`
	// ConfigSHA256 is of the files in config, to see whether they changed.
	ConfigSHA256 archive.Sum `json:"config_sha256"`
	// Problems are the first faults of the storage that were found while it was read;
	// ProblemCount is the number of all.
	Problems     []string `json:"problems,omitempty"`
	ProblemCount int64    `json:"problem_count"`

	// original: made by the backup tool of the Python original.
	original bool
}

// Reference names the base of an incremental backup.
type Reference struct {
	Name              string       `json:"name"`
	TID               zodb.TID     `json:"tid"`
	TransactionSHA256 *archive.Sum `json:"transaction_sha256,omitempty"`
}

// Counts are numbers of entries.
type Counts struct {
	Entries int64 `json:"entries"` // all of them, directories included
	// Objects are pointers; in class Minimal objects; in format bundled objects of which the bundles
	// have a revision. 0 in manifests of releases that did not count these.
	Objects      int64 `json:"objects"`
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Blobs        int64 `json:"blobs"`
}

// differ says how the counts of an archive that was read differ from those in its manifest; "": they
// do not.
func (c *Counts) differ(n store.Counts) string {
	for _, k := range []struct {
		of        string
		got, want int64
	}{
		{"objects", n.Objects, c.Objects}, {"revisions", n.Revisions, c.Revisions},
		{"transactions", n.Transactions, c.Transactions}, {"blobs", n.Blobs, c.Blobs},
	} {
		if k.got != k.want && (k.of != "objects" || k.want != 0) {
			return fmt.Sprintf("it holds %d %s, and its manifest says %d", k.got, k.of, k.want)
		}
	}
	return ""
}

// add adds contents, Entries aside.
func (c *Counts) add(n store.Counts) {
	c.Objects += n.Objects
	c.Revisions += n.Revisions
	c.Transactions += n.Transactions
	c.Blobs += n.Blobs
}

// bundles are names of such files.
type bundles map[string]struct{}

func (b bundles) has(path string) bool {
	_, ok := b[path]
	return ok
}

// bundlesOf returns those of a chain, by its last member; none for nil.
func (r *Repository) bundlesOf(m *Manifest) (bundles, error) {
	all := make(bundles)
	if m == nil {
		return all, nil
	}
	chain, err := r.Chain(m)
	for _, b := range chain {
		for _, name := range b.Bundles {
			all[name] = struct{}{}
		}
	}
	return all, err
}

// File is an object of the repository.
type File struct {
	Name   string      `json:"name"`
	Bytes  int64       `json:"bytes"`
	SHA256 archive.Sum `json:"sha256"`
}

// After returns the last transaction of the reference; a full backup has everything, that
// is, all after 0. The second result is false then.
func (m *Manifest) After() (zodb.TID, bool) {
	if m.Reference == nil {
		return 0, false
	}
	return m.Reference.TID, true
}

// Original reports whether the backup tool of the Python original made it.
func (m *Manifest) Original() bool { return m.original }

const (
	manifestSuffix = ".json"
	archiveSuffix  = ".tar.zst"
	indexSuffix    = ".index.zst"
	verifiedSuffix = ".verified.json"
	// maxManifest is the largest manifest in bytes that is read.
	maxManifest = 16 << 20
)

// errLaterFormat is about a format that this release does not know.
var errLaterFormat = errors.New("use the release that wrote it, or a later one")

// parseManifest reads the manifest of the backup with that name.
func parseManifest(b []byte, name string) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", archive.ErrDamaged, err)
	}
	if err := checkManifest(b); err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) (*Manifest, error) {
		return nil, fmt.Errorf("%w: %s", archive.ErrDamaged, fmt.Sprintf(format, args...))
	}
	switch {
	case m.Schema > schema:
		return nil, &layout.NewerError{Kind: "backup", Version: fmt.Sprint(m.Schema), Known: fmt.Sprint(schema)}
	case m.Schema < 1:
		return bad("no schema")
	case m.Name != name:
		return bad("it says that its name is %q", m.Name)
	case m.Archive.Name != name+archiveSuffix || m.Index.Name != name+indexSuffix:
		return bad("it names other files: %q, %q", m.Archive.Name, m.Index.Name)
	case m.Kind == Full && m.Reference != nil, m.Kind == Incremental && m.Reference == nil, m.Kind != Full && m.Kind != Incremental:
		return bad("kind %q and its reference do not go together", m.Kind)
	case m.Reference != nil && m.Reference.TID > m.TID:
		return bad("its reference is later than it")
	case m.Class != "Full" && m.Class != "Minimal", m.Identity == "", m.Format == "":
		return bad("class %q, identity %q, format %q", m.Class, m.Identity, m.Format)
	}
	if newer := settings.CheckNewer(m.HomeVersion); newer != nil {
		return nil, newer
	}
	if _, err := layout.ParseFormat(m.Format); err != nil {
		return nil, fmt.Errorf("the format of its HOME: %w; %w", err, errLaterFormat)
	}
	return &m, nil
}

// render returns the file of a manifest. Its last field is the SHA-256 of all before it.
func (m *Manifest) render() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	body := bytes.TrimSuffix(b, []byte("\n}"))
	return append(body, sumOfManifest(body)...), nil
}

// sumOfManifest returns the end of a manifest.
func sumOfManifest(body []byte) string {
	return fmt.Sprintf(",\n  %q: \"%x\"\n}\n", "manifest_sha256", sha256.Sum256(body))
}

// checkManifest compares a manifest with the sum at its end. One without a sum, of an earlier build, ends with a number.
func checkManifest(b []byte) error {
	if !bytes.HasSuffix(bytes.TrimRight(b, "}\n\r\t "), []byte{'"'}) {
		return nil
	}
	body := b[:max(0, len(b)-len(sumOfManifest(nil)))]
	if string(b[len(body):]) != sumOfManifest(body) {
		return fmt.Errorf("%w: it was changed since it was written: its SHA-256 is another one", archive.ErrDamaged)
	}
	return nil
}

// nameOf makes a name that none of the others has.
func nameOf(at time.Time, kind Kind, taken func(string) bool) string {
	short := "full"
	if kind == Incremental {
		short = "inc"
	}
	base := at.UTC().Format(stampLayout) + "-" + short
	name := base
	for i := 2; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

const stampLayout = "20060102T150405Z"

// stampOf is the time in a name that nameOf made, and empty for other names; such
// times compare as text.
func stampOf(name string) string {
	stamp, _, _ := strings.Cut(name, "-")
	if _, err := time.Parse(stampLayout, stamp); err != nil {
		return ""
	}
	return stamp
}

// splitObject splits the name of an object into that of its backup and its suffix.
func splitObject(object string) (name, suffix string, ok bool) {
	for _, s := range []string{verifiedSuffix, indexSuffix, archiveSuffix, manifestSuffix} {
		if name, ok := strings.CutSuffix(object, s); ok && name != "" {
			return name, s, true
		}
	}
	return "", "", false
}

// transactionSum hashes the file of a transaction without the field that pack
// may change.
func transactionSum(b []byte) *archive.Sum {
	const previous = 24
	if len(b) < previous+8 {
		return nil
	}
	h := sha256.New()
	h.Write(b[:previous])
	h.Write(make([]byte, 8))
	h.Write(b[previous+8:])
	s := archive.Sum(h.Sum(nil))
	return &s
}

func sameSum(a, b *archive.Sum) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// ErrNoBackup is matched when no backup would do.
var ErrNoBackup = errors.New("no such backup")
