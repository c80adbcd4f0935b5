package engine_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestDiskUseIsWhatTheFilesTakeUp compares it with the sum of all blocks.
func TestDiskUseIsWhatTheFilesTakeUp(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{}, "storage.delay_delete=864000")
	o := engine.NewOIDs(t, s, 2)
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", o[0], o[1])}, enginetest.Change{OID: o[0], Data: pickletest.Record("a")}, enginetest.Change{OID: o[1], Data: pickletest.Record("x"), Blob: strings.Repeat("blob", 10000)})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", o[0])})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if use, err := s.DiskUse(t.Context()); err != nil || len(use.Aside) != 0 {
		t.Errorf("before the pack: %+v, %v", use, err)
	}
	r := engine.DoPack(t, s, zodb.PackOptions{})
	if r.Stamp == 0 || r.Blobs != 1 {
		t.Fatalf("%+v", r)
	}
	use, err := s.DiskUse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var files, total int64
	home := s.Home()
	err = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == home {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files++
			total += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil || use.Files != files || use.Bytes != total {
		t.Errorf("%d files, %d bytes, want %d and %d, %v", use.Files, use.Bytes, files, total, err)
	}
	sum := int64(0)
	for _, p := range use.Parts {
		sum += p.Bytes
	}
	if sum > use.Bytes || sum == 0 {
		t.Errorf("the parts: %+v", use.Parts)
	}
	until := time.Unix(r.Stamp, 0).Add(s.Dir().Settings.Storage.DelayDelete).UTC()
	if len(use.Aside) != 1 || use.Aside[0].Stamp != r.Stamp || use.Aside[0].Until != until || use.Aside[0].Files < 3 || use.Aside[0].Bytes < 40000 {
		t.Errorf("aside: %+v, want stamp %d, until %s", use.Aside, r.Stamp, until)
	}
}

func TestDryRunIsNotLoggedAsAPack(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := engine.PackStorage(t, engine.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	engine.DoPack(t, s, zodb.PackOptions{DryRun: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "msg=packed") || !strings.Contains(text, "dry run of a pack: nothing was removed") {
		t.Error(text)
	}
}
