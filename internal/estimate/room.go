package estimate

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// logRoom is that of the log of a storage that takes a sample: two segments.
	logRoom = 32 << 20
	// classicFiles is about how many files a sample makes in a classic format.
	classicFiles = 4 * classicRecords
	// sparedPart is the part of the free room that a sample may take: other programs need some, too.
	sparedPart = 2
)

// sampleRoom is the most that the sample takes at a time: each format is removed before the next one.
func (s *survey) sampleRoom() size {
	need := size{bytes: logRoom + classicFiles*s.place.BlockBytes, inodes: classicFiles}
	for _, txn := range s.sampler.taken {
		for _, rec := range txn.records {
			need.bytes += int64(len(rec.Data))
		}
	}
	if s.tally.counts.blobs > 0 {
		need.bytes = max(need.bytes, blobProbe)
	}
	return need
}

// unsampled says why no sample is copied; "" if nothing speaks against it.
func (s *survey) unsampled() string {
	need := s.sampleRoom()
	switch {
	case s.o.Scratch == "" && s.o.Unwritable != nil:
		return s.o.Unwritable.Error()
	case s.o.Scratch == "":
		return "nothing can be written beside the target"
	case need.bytes > s.place.FreeBytes/sparedPart:
		return fmt.Sprintf("a sample may take %s, and half of the %s that are free is left alone", human.Bytes(need.bytes), human.Bytes(s.place.FreeBytes))
	case s.place.FreeInodes >= 0 && need.inodes > s.place.FreeInodes/sparedPart:
		return fmt.Sprintf("a sample may take %s, and half of the %s that are free is left alone", human.Number(need.inodes, "inode"), human.Count(s.place.FreeInodes))
	}
	return ""
}

// measureAll copies the sample into each format. Where the disk becomes full meanwhile nothing is measured.
func (s *survey) measureAll(ctx context.Context) (results map[layout.Format]measured, fixed, blobSeconds float64, err error) {
	r := &s.report
	if r.NoSample = s.unsampled(); r.NoSample != "" {
		return nil, 0, 0, nil
	}
	begun := s.o.Clock()
	results = make(map[layout.Format]measured)
	for _, f := range inOrder() {
		if results[f], err = s.sampler.measure(ctx, s.o, f, &s.place); err != nil {
			break
		}
	}
	var empty measured
	if err == nil {
		nothing := sampler{}
		empty, err = nothing.measure(ctx, s.o, layout.Chunky, &s.place)
	}
	if err == nil {
		blobSeconds, err = s.blobTime()
	}
	if vfs.SaysFull(err) {
		r.NoSample = fmt.Sprintf("the disk became full: %v", err)
		return nil, 0, 0, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	var work counts
	for _, txn := range s.sampler.taken {
		work.transactions++
		work.revisions += int64(len(txn.records))
		for _, rec := range txn.records {
			work.dataBytes += int64(len(rec.Data))
		}
	}
	r.Sample = &Sample{Transactions: work.transactions, Records: work.revisions, Bytes: work.dataBytes, Whole: !s.sampler.partial && r.Complete, Seconds: s.o.Clock().Sub(begun).Seconds()}
	return results, empty.seconds, blobSeconds, nil
}

// inOrder are the formats in the order of the report.
func inOrder() []layout.Format { return append([]layout.Format{layout.Bundled}, layout.Formats()...) }
