package estimate

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/layout"
)

const (
	// memoryBase is that of the program with its usual buffers.
	memoryBase = 56 << 20
	// memoryMember is that of a revision or a transaction of a bundle that is being written, or of an
	// object of a transaction that is not at its end.
	memoryMember  = 128
	memoryObject  = 300
	memoryCache   = 64 << 20 // of records, and as much for the index over the log, see engine.Options
	memoryIndexed = 300      // of a revision in the log
)

// memory is about the most that an import takes. Each command keeps to its limit, if there is one.
func (s *survey) memory(f layout.Format) int64 {
	c := &s.report.Source
	largest := memoryObject * c.Largest
	// A loader leaves everything out of the ordinary to the log.
	if f == layout.Bundled && s.found.undone+s.found.deleted == 0 {
		return memoryBase + largest + memoryMember*min(c.Revisions+c.Transactions, bundleMembers)
	}
	return memoryBase + largest + min(c.RecordBytes, memoryCache) + min(memoryIndexed*c.Revisions, memoryCache)
}

// logBytes is how much of the content may be in the log while an import runs.
const logBytes = 96 << 20

// formats measures the sample and makes the estimates.
func (s *survey) formats(ctx context.Context) error {
	r := &s.report
	free := size{r.Target.FreeBytes, r.Target.FreeInodes}
	results, fixed, blobSeconds, err := s.measureAll(ctx)
	if err != nil {
		return err
	}
	for _, f := range inOrder() {
		e := s.format(f, results[f], fixed, blobSeconds)
		e.Fits = e.NeedBytes <= free.bytes && (free.inodes < 0 || e.NeedInodes <= free.inodes)
		r.Formats = append(r.Formats, e)
		if f == s.o.Format {
			r.Fits = e.Fits
		}
	}
	return nil
}

const (
	// usualRest and usualRatio take the place of measured values.
	usualRestFiles = 14
	usualRatio     = 0.6
)

func (s *survey) format(f layout.Format, m measured, fixed, blobSeconds float64) Format {
	rest := m.rest
	if rest.inodes == 0 {
		rest = size{usualRestFiles * s.place.BlockBytes, usualRestFiles}
	}
	var all, part size
	if f == layout.Bundled {
		ratio := usualRatio
		if w := m.work.weight(); w > 0 {
			ratio = float64(max(m.bundles-s.place.BlockBytes/2, 0)) / float64(w)
		}
		all = s.tally.bundled(ratio)
		if s.present != nil {
			part = s.sizes[f]
			part.bytes = int64(float64(s.present.weight())*ratio) + s.present.blobDisk
		}
	} else {
		all, part = s.tally.classic(f), s.sizes[f]
	}
	all = all.scaled(1 / s.fraction)
	e := Format{Format: f.String(), Bytes: all.bytes + rest.bytes, Inodes: all.inodes + rest.inodes}
	need := all.minus(part)
	if s.present == nil || s.present.transactions == 0 {
		need = need.plus(rest)
	}
	e.MemoryBytes = s.memory(f)
	log := min(int64(float64(s.tally.dataBytes)/s.fraction), logBytes)
	e.NeedBytes, e.NeedInodes = max(need.bytes, 0)+log, max(need.inodes, 0)
	if s.report.Sample != nil {
		seconds := s.report.Source.ReadSeconds/s.fraction + fixed + blobSeconds
		if w := m.work.effort(f); w > 0 {
			missing := s.tally.effort(f)
			if s.present != nil {
				missing -= s.present.effort(f)
			}
			seconds += max(m.seconds-fixed, 0) * missing / s.fraction / w
		}
		e.Seconds = &seconds
	}
	return e
}

// effort is in proportion to the time of writing records.
func (c *counts) effort(f layout.Format) float64 {
	if f == layout.Bundled {
		return float64(c.weight())
	}
	const fileBytes = 64 << 10 // are written in the time that a file takes
	return float64(c.transactions+c.revisions+c.objects) + float64(c.dataBytes)/fileBytes
}

// blobProbe is how much is written to tell the speed of blobs.
const blobProbe = 16 << 20

// blobTime is how long the blobs will take.
func (s *survey) blobTime() (float64, error) {
	t := s.tally
	if t.counts.blobs == 0 {
		return 0, nil
	}
	seconds, err := timeOfFile(s.o.Scratch, blobProbe, s.o.Clock)
	if err != nil {
		return 0, err
	}
	small, err := timeOfFile(s.o.Scratch, 1, s.o.Clock)
	if err != nil {
		return 0, err
	}
	missing, files := t.blobBytes, t.counts.blobs
	if s.present != nil {
		missing, files = missing-s.present.blobBytes, files-s.present.counts.blobs
	}
	return (seconds*float64(missing)/blobProbe + small*float64(files)) / s.fraction, nil
}
