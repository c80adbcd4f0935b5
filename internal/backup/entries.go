package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/formats"
)

// Item is one entry of an archive with its content.
type Item struct {
	archive.Entry
	// Data is the whole content of a small entry, which was compared with its
	// SHA-256. Of a large one it is nil; Content gives it.
	Data []byte
	rest io.Reader
}

// Content returns a reader of the content, to be used before the next item is
// asked for. It ends with an error that matches archive.ErrDamaged if the
// content is not that of the SHA-256.
func (i *Item) Content() io.Reader {
	if i.rest != nil {
		return i.rest
	}
	return bytes.NewReader(i.Data)
}

// smallItem is the size up to which the content is handed over in memory.
const smallItem = 1 << 20

// Range is a part of an archive: the entries from the beginning of a frame up
// to, not including, a place in the tar.
type Range struct {
	From  archive.Frame
	Until int64 // 0 = the end
	// Whole has the archive compared with the manifest wherever the range begins: what is before it
	// is read as well. That sum proves each byte, so the content of a large entry is not compared
	// by itself. Until the last item, and on any error, none of it is proven.
	Whole bool
	// Before, if the range is Whole, is the sum of what is before it, when that was unpacked: with
	// another one there is no item, and the error matches ErrOtherBefore.
	Before archive.Sum
	// Sums, if not nil, and if the range is Whole, gets the sums of the beginnings of the archive.
	Sums *Sums
}

// ErrOtherBefore is matched by the error about a range before which the archive is not as it was
// when that was unpacked: now or then it was read wrong, or changed.
var ErrOtherBefore = errors.New("the archive was read with another content before")

// Items yields the entries of the archive of a backup, in a range, with their content, each
// compared with the index (but see Range.Whole). If all of the archive was read, it is compared
// with the manifest, too. Errors name the archive, and match archive.ErrDamaged if it differs from
// the written one.
func (r *Repository) Items(ctx context.Context, m *Manifest, part Range) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		err := r.items(ctx, m, part, func(i *Item) bool { return yield(i, nil) })
		if part.Whole && errors.Is(err, archive.ErrDamaged) {
			err = r.which(ctx, m, err)
		}
		if err != nil && !errors.Is(err, errStopped) {
			if ctx.Err() == nil {
				err = fmt.Errorf("%s: %w", r.Store.Path(m.Archive.Name), err)
			}
			yield(nil, err)
		}
	}
}

// skip reads bytes of an archive that are not wanted.
func skip(ctx context.Context, r io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := io.CopyN(io.Discard, r, min(n, 64<<20))
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends %d bytes before the first entry that is wanted", archive.ErrDamaged, n-k)
		}
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// which names the entry that is damaged, if one is, in place of an error about the archive.
func (r *Repository) which(ctx context.Context, m *Manifest, err error) error {
	found := r.items(ctx, m, Range{}, func(*Item) bool { return true })
	if errors.Is(found, archive.ErrDamaged) {
		return found
	}
	return err
}

// errStopped: the receiver of the items wants no more.
var errStopped = errors.New("stopped")

func (r *Repository) items(ctx context.Context, m *Manifest, part Range, yield func(*Item) bool) (err error) {
	o, err := r.Store.Get(ctx, m.Archive.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	before := part.From.Offset // what is read and not unpacked
	if !part.Whole {
		before = 0
	}
	begin := part.From.Offset - before
	in := newHashReader(io.NewSectionReader(o, begin, o.Size()-begin))
	if m.original {
		return originalItems(ctx, in, yield)
	}
	if part.Sums == nil {
		part.Sums = NewSums(nil)
	}
	if part.Whole && before > 0 {
		part.Sums.want(before)
	}
	whole := begin == 0 && part.Until == 0
	if part.Until == 0 {
		part.Until = math.MaxInt64
	}
	summed := io.Reader(in)
	if part.Whole {
		summed = &summingReader{in, part.Sums}
	}
	ahead := newAheadReader(summed)
	defer ahead.Close() // before the object is closed
	if err := skip(ctx, ahead, before); err != nil {
		return err
	}
	if before > 0 && part.Sums.Of(before) != part.Before {
		return fmt.Errorf("%w: up to byte %d", ErrOtherBefore, before)
	}
	a, err := archive.NewReader(ahead)
	if err != nil {
		return err
	}
	defer a.Close()
	counter := formats.Copies(layout.Format(m.Format)).Counter()
	next, stop := iter.Pull2(r.ReadIndex(ctx, m))
	defer stop()
	for {
		want, err := nextEntry(next, part.From.At)
		if err != nil {
			return err
		}
		if want != nil && want.At >= part.Until {
			return nil
		}
		got, err := a.Next(ctx)
		switch {
		case errors.Is(err, io.EOF) && want == nil:
			if err = a.Drain(); err == nil && whole && in.sum() != m.Archive.SHA256 {
				err = fmt.Errorf("%w: its SHA-256 is %s, want %s", archive.ErrDamaged, in.sum(), m.Archive.SHA256)
			}
			differ := m.Counts.differ(counter.Counts())
			if err == nil && whole && before == 0 && differ != "" {
				err = fmt.Errorf("%w: %s", archive.ErrDamaged, differ)
			}
			return err
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: it ends before %s", archive.ErrDamaged, want.Name)
		case err != nil:
			return err
		case want == nil || got.Name != want.Name || got.Size != want.Size || got.Dir != want.Dir:
			return blame(next, fmt.Errorf("%w: %s differs from the index", archive.ErrDamaged, got.Name))
		}
		want.ModTime = got.ModTime
		item := &Item{Entry: *want}
		checked := &sumChecker{hash: newHashReader(a), want: want}
		var count io.Writer
		if !want.Dir {
			count = counter.File(want.Name, want.Size)
		}
		if want.Size <= smallItem && !want.Dir {
			item.Data = make([]byte, want.Size)
			if _, err := io.ReadFull(a, item.Data); err != nil {
				return fmt.Errorf("%w: %s: %w", archive.ErrDamaged, want.Name, err)
			}
			if sha256.Sum256(item.Data) != want.Sum {
				return blame(next, sumError(want))
			}
			if count != nil {
				_, _ = count.Write(item.Data) // never fails
			}
		} else if !want.Dir {
			item.rest = checked
			if part.Whole {
				item.rest = a
			}
			if count != nil {
				item.rest = io.TeeReader(item.rest, count)
			}
		}
		if !yield(item) {
			return errStopped
		}
		if item.rest != nil {
			if _, err := io.Copy(io.Discard, item.rest); err != nil {
				return blame(next, err)
			}
		}
	}
}

func sumError(e *archive.Entry) error {
	return fmt.Errorf("%w: the content of %s does not have the SHA-256 %s", archive.ErrDamaged, e.Name, e.Sum)
}

// blame returns an error about the index in place of one about the archive, if the index
// differs from the written one.
func blame(next func() (archive.Line, error, bool), err error) error {
	for {
		_, ierr, ok := next()
		if ierr != nil {
			return ierr
		}
		if !ok {
			return err
		}
	}
}

// nextEntry returns the next entry of an index from a place in the tar on; nil
// after the last.
func nextEntry(next func() (archive.Line, error, bool), from int64) (*archive.Entry, error) {
	for {
		line, err, ok := next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, nil
		}
		if line.Entry != nil && line.Entry.At >= from {
			return line.Entry, nil
		}
	}
}

// sumChecker reads a content and compares its hash at the end.
type sumChecker struct {
	hash *hashReader
	want *archive.Entry
}

func (s *sumChecker) Read(b []byte) (int, error) {
	n, err := s.hash.Read(b)
	if errors.Is(err, io.EOF) && s.hash.sum() != s.want.Sum {
		err = sumError(s.want)
	}
	return n, err
}

// Frames returns the frames of an archive that begin with an entry, in order.
// They take 32 bytes for each 4 MiB or so of the backup.
func (r *Repository) Frames(ctx context.Context, m *Manifest) ([]archive.Frame, error) {
	var frames []archive.Frame
	for line, err := range r.ReadIndex(ctx, m) {
		if err != nil {
			return nil, err
		}
		if line.Frame != nil && line.Frame.Start {
			frames = append(frames, *line.Frame)
		}
	}
	return frames, nil
}
