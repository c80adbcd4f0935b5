package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Level says how much [Verify] looks at.
type Level string

// The levels. Each includes those before it, except that a sample is not needed where all
// data are read.
const (
	LevelStructure Level = "structure" // manifests, chains, sizes, every line of the indexes
	LevelSample    Level = "sample"    // a part of the data
	LevelData      Level = "data"      // every byte
	LevelRestore   Level = "restore"   // a restore, and a check of its result
)

// covers reports whether a verification at this level reads everything that one at another level has
// read. Two samples are of different parts.
func (l Level) covers(other Level) bool {
	switch other {
	case LevelStructure:
		return true
	case LevelSample, LevelData:
		return l == LevelData || l == LevelRestore
	}
	return l == LevelRestore
}

// Verified is the outcome of the last verification of a backup, as NAME.verified.json has it. A bad
// outcome stays until one that reads as much is good. One of other bytes than the manifest tells of counts as none.
type Verified struct {
	When    time.Time `json:"when"`
	Level   Level     `json:"level"`
	Percent float64   `json:"percent,omitempty"` // of the bytes, that a sample had at least
	OK      bool      `json:"ok"`
	Error   string    `json:"error,omitempty"`
	// Archive is the sum of the archive, as its manifest had it; nil: it was not noted, so it is not known which
	// bytes were read.
	Archive *archive.Sum `json:"archive_sha256,omitempty"`
}

// isOf reports whether it is about a backup, and not about another one that had its name.
func (v Verified) isOf(m *Manifest) bool {
	return v.Archive == nil || *v.Archive == m.Archive.SHA256
}

// VerifyOptions of [Verify]. Now is mandatory.
type VerifyOptions struct {
	Level   Level
	Percent float64 // of the bytes of each archive, for LevelSample; parts of it are read whole
	Seed    uint64  // of the choice of the sample
	// Trial makes a trial restore, for LevelRestore. Its error is about the backup, or an *UntriedError.
	Trial func(context.Context, *Plan) error
	Now   func() time.Time
	// Progress, if not nil, is told the bytes of archives that were read.
	Progress func(Progress)
	Warn     func(string)
}

// Outcome is the result of [Verify] for one backup.
type Outcome struct {
	Name  string `json:"name"`
	Error error  `json:"-"`
	Bytes int64  `json:"bytes"` // of content that was read
}

// Verify looks at backups, each on its own, and records the result. A backup is good if it and all
// that its chain needs are, now and on record: a bad outcome counts until a verification that reads as
// much is good. The error is about the verification itself.
func (r *Repository) Verify(ctx context.Context, list []*Manifest, o VerifyOptions) (out []Outcome, err error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	seen := make(map[string]error)                       // members of chains are looked at once
	var later []note                                     // that something else keeps from being recorded
	defer func() { r.recordLater(ctx, later, o.Warn) }() // also of those before an error
	p := &verification{r: r, o: o}
	for _, m := range list {
		chain, err := r.Chain(m)
		before := p.bytes
		var known error // from an earlier verification
		if err == nil {
			for _, b := range chain {
				found, ok := seen[b.Name]
				if !ok {
					found = p.one(ctx, b)
					seen[b.Name] = found
				}
				if found != nil && b != m {
					found = fmt.Errorf("backup %s, which this one builds upon: %w", b.Name, found)
				}
				err = errors.Join(err, found)
				if rerr := r.readVerified(ctx, b); rerr != nil { // anew: another verification may have read more meanwhile
					return out, rerr
				}
				if v, ok := r.Verified[b.Name]; ok && !v.OK && !o.Level.covers(v.Level) && known == nil {
					known = v.bad(b, m)
				}
			}
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err == nil && o.Level == LevelRestore {
			err = o.Trial(ctx, &Plan{Chain: chain, To: m.TID})
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
		}
		if err != nil {
			if gone := r.Removed(ctx, m); gone != nil {
				o.Warn(gone.Error())
				continue
			}
		}
		if unjudged(err) {
			return out, err
		}
		if err == nil && known != nil { // nothing new: the record stays
			out = append(out, Outcome{Name: m.Name, Error: known, Bytes: p.bytes - before})
			continue
		}
		out = append(out, Outcome{Name: m.Name, Error: err, Bytes: p.bytes - before})
		if m.original || errors.Is(err, fs.ErrPermission) { // another user may find it good
			continue
		}
		if n := r.note(m, o, err); !r.record(ctx, n, o.Warn) {
			later = append(later, n)
		}
	}
	return out, nil
}

// UntriedError is for a Trial that says nothing about the backup, such as for want of room. It matches Err.
type UntriedError struct{ Err error }

func (e *UntriedError) Error() string { return "no restore could be tried: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UntriedError) Unwrap() error { return e.Err }

// unjudged reports whether an error ends a verification, because it says nothing about the backup.
func unjudged(err error) bool {
	_, untried := errors.AsType[*UntriedError](err)
	return untried || vfs.Passes(err)
}

// bad is the error of a backup m that needs b, which was found bad.
func (v Verified) bad(b, m *Manifest) error {
	option := "--data"
	if !LevelData.covers(v.Level) {
		option = "--restore"
	}
	err := fmt.Errorf("it was bad on %s (%s), and less was read now: %s; backup verify %s tells whether it still is",
		v.When.UTC().Format(time.RFC3339), v.Level, v.Error, option)
	if b != m {
		err = fmt.Errorf("backup %s, which this one builds upon: %w", b.Name, err)
	}
	return err
}

type verification struct {
	r     *Repository
	o     VerifyOptions
	bytes int64
	files int64
}

func (v *verification) one(ctx context.Context, m *Manifest) error {
	if err := v.r.missing(m); err != nil {
		return err
	}
	if m.original {
		return v.read(ctx, m, Range{}) // all that can be looked at is the whole
	}
	var frames []archive.Frame
	var starts []archive.Frame
	for line, err := range v.r.ReadIndex(ctx, m) {
		if err != nil {
			return err
		}
		if line.Frame != nil {
			frames = append(frames, *line.Frame)
			if line.Frame.Start {
				starts = append(starts, *line.Frame)
			}
		}
	}
	end := int64(0)
	for _, f := range frames {
		if f.Offset != end {
			return fmt.Errorf("%w: the index of %s has a gap between frames", archive.ErrDamaged, m.Name)
		}
		end += f.Size
	}
	if end != m.Archive.Bytes {
		return fmt.Errorf("%w: the frames of %s are %d bytes, and the archive is %d", archive.ErrDamaged, m.Name, end, m.Archive.Bytes)
	}
	switch v.o.Level {
	case LevelData, LevelRestore:
		return v.read(ctx, m, Range{})
	case LevelSample:
		return v.sample(ctx, m, starts)
	}
	return nil
}

func (v *verification) sample(ctx context.Context, m *Manifest, starts []archive.Frame) error {
	rnd := rand.New(rand.NewPCG(v.o.Seed, uint64(m.TID)))
	for _, i := range sampled(rnd, starts, m.Archive.Bytes, v.o.Percent) {
		part := Range{From: starts[i]}
		if i+1 < len(starts) {
			part.Until = starts[i+1].At
		}
		if err := v.read(ctx, m, part); err != nil {
			return err
		}
	}
	return nil
}

// sampled chooses parts of an archive at random, until they have the percentage of its bytes. Parts
// are read whole, so they mostly have more.
func sampled(rnd *rand.Rand, starts []archive.Frame, bytes int64, percent float64) (chosen []int) {
	missing := float64(bytes) * percent / 100
	for _, i := range rnd.Perm(len(starts)) {
		if missing <= 0 {
			break
		}
		end := bytes
		if i+1 < len(starts) {
			end = starts[i+1].Offset
		}
		missing -= float64(end - starts[i].Offset)
		chosen = append(chosen, i)
	}
	return chosen
}

func (v *verification) read(ctx context.Context, m *Manifest, part Range) error {
	for i, err := range v.r.Items(ctx, m, part) {
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, i.Content())
		if err != nil {
			return fmt.Errorf("%s: %w", v.r.Store.Path(m.Archive.Name), err)
		}
		v.bytes += n
		v.files++
		if v.o.Progress != nil {
			v.o.Progress(Progress{Files: v.files, Bytes: v.bytes})
		}
	}
	return nil
}
