package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// tindexFile is the index of the backups of the Python original: a line for each
// sequence number, with the time of the snapshot in seconds and the last tid.
const tindexFile = "tindex"

// originalName is PREFIX-SEQ.tgz or PREFIX-OLD-to-SEQ.tgz.
var originalName = regexp.MustCompile(`^(.+?)-(?:(\d+)-to-)?(\d+)\.tgz$`)

type tindexLine struct {
	time time.Time
	tid  zodb.TID
}

// addOriginals adds the backups that the original's tool made.
func (r *Repository) addOriginals(ctx context.Context) error {
	if _, ok := r.objects[tindexFile]; !ok {
		return nil
	}
	b, err := readSmall(ctx, r.Store, tindexFile)
	if err != nil {
		return err
	}
	lines, err := parseTindex(b)
	if err != nil {
		r.Damaged[tindexFile] = err
		return ctx.Err()
	}
	fulls := make(map[string]*Manifest)
	for _, full := range []bool{true, false} { // an incremental one takes its identity from the full one
		for object, size := range r.objects {
			f := originalName.FindStringSubmatch(object)
			if f == nil || (f[2] == "") != full {
				continue
			}
			m, err := r.originalManifest(ctx, object, size, f, lines, fulls)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				r.Damaged[strings.TrimSuffix(object, ".tgz")] = err
				continue
			}
			r.Backups = append(r.Backups, m)
		}
	}
	return nil
}

func (r *Repository) originalManifest(ctx context.Context, object string, size int64, f []string, lines map[string]tindexLine, fulls map[string]*Manifest) (*Manifest, error) {
	line, ok := lines[f[3]]
	if !ok {
		return nil, fmt.Errorf("%w: %s has no number %s", archive.ErrDamaged, tindexFile, f[3])
	}
	m := &Manifest{
		Name: strings.TrimSuffix(object, ".tgz"), Kind: Full, Class: settings.ClassFull,
		TID: line.tid, Time: line.tid.Time(), SnapshotAt: line.time, SnapshotEnd: line.time, Ended: line.time,
		Archive: File{Name: object, Bytes: size}, original: true,
	}
	if f[2] == "" {
		m.Packed = line.tid // the archive knows better, but it is not read for that
		fulls[f[1]] = m
		return m, r.originalConfig(ctx, m)
	}
	old, ok := lines[f[2]]
	full := fulls[f[1]]
	if !ok || full == nil {
		return nil, fmt.Errorf("%w: neither %s nor a full backup names its reference", archive.ErrDamaged, tindexFile)
	}
	m.Kind, m.Identity, m.Format = Incremental, full.Identity, full.Format
	m.Reference = &Reference{Name: f[1] + "-" + f[2], TID: old.tid}
	return m, nil
}

// originalConfig reads identity and format, which are at the beginning of an archive.
func (r *Repository) originalConfig(ctx context.Context, m *Manifest) error {
	for i, err := range r.Items(ctx, m, Range{}) {
		if err != nil {
			return err
		}
		switch i.Name {
		case "config/identity":
			if m.Identity, err = settings.ParseIdentity(i.Data); err != nil {
				return err
			}
		case "config/settings":
			set, _, err := settings.Parse(i.Data, i.Name)
			if err != nil {
				return err
			}
			m.Format = string(set.Structure.Format)
		}
		if m.Identity != "" && m.Format != "" {
			return nil
		}
	}
	return fmt.Errorf("%w: it has no config", archive.ErrDamaged)
}

func parseTindex(b []byte) (map[string]tindexLine, error) {
	lines := make(map[string]tindexLine)
	in := bufio.NewScanner(bytes.NewReader(b))
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("%w: a line of %d words: %q", archive.ErrDamaged, len(words), in.Text())
		}
		_, err := strconv.ParseUint(words[0], 10, 31)
		seconds, err2 := strconv.ParseInt(words[1], 10, 64)
		tid, err3 := zodb.ParseTID(words[2])
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, fmt.Errorf("%w: %w", archive.ErrDamaged, err)
		}
		lines[words[0]] = tindexLine{time.Unix(seconds, 0), tid}
	}
	return lines, in.Err()
}

// originalItems yields the entries of a .tgz, which has no index.
func originalItems(ctx context.Context, in io.Reader, yield func(*Item) bool) error {
	a, err := archive.NewGzipReader(in)
	if err != nil {
		return err
	}
	defer a.Close()
	for {
		e, err := a.Next(ctx)
		if errors.Is(err, io.EOF) {
			return a.Drain()
		}
		if err != nil {
			return err
		}
		i := &Item{Entry: *e}
		switch {
		case e.Dir:
		case e.Size <= smallItem:
			i.Data = make([]byte, e.Size)
			if _, err := io.ReadFull(a, i.Data); err != nil {
				return fmt.Errorf("%w: %s: %w", archive.ErrDamaged, e.Name, err)
			}
		default:
			i.rest = a
		}
		if !yield(i) {
			return errStopped
		}
	}
}

// ErrOriginal is matched where a command can do nothing with backups that the
// tool of the Python original made.
var ErrOriginal = fmt.Errorf("a backup of the Python original: %w", fs.ErrInvalid)
