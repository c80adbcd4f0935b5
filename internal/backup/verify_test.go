package backup_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/zodb"
)

// flip changes a byte in the middle of a backup's archive; a second call changes it back.
func flip(t *testing.T, dir string, m *backup.Manifest) {
	t.Helper()
	path := filepath.Join(dir, m.Archive.Name)
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resummed gives a manifest that was changed its sum.
func resummed(b []byte) []byte {
	body, _, _ := bytes.Cut(b, []byte(",\n  \"manifest_sha256\""))
	return fmt.Appendf(bytes.Clone(body), ",\n  \"manifest_sha256\": \"%x\"\n}\n", sha256.Sum256(body))
}

// verified verifies all backups of a repository, and returns its state afterwards with the outcomes.
func verified(t *testing.T, dir string, level backup.Level, seed uint64) (*backup.Repository, []backup.Outcome) {
	t.Helper()
	r, err := backup.Open(t.Context(), store(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Verify(t.Context(), r.Backups, backup.VerifyOptions{Level: level, Percent: 5, Seed: seed, Now: time.Now})
	if err == nil {
		r, err = backup.Open(t.Context(), store(t, dir))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, out
}

// TestABadBackupStaysBadUntilAsMuchIsRead: a verification that reads less than the one that found the
// damage says nothing about it.
func TestABadBackupStaysBadUntilAsMuchIsRead(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 40)
	dir := t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	flip(t, dir, m)
	bad := func(level backup.Level, seed uint64) {
		t.Helper()
		r, out := verified(t, dir, level, seed)
		if out[0].Error == nil {
			t.Fatalf("a verification (%s, seed %d) called a damaged backup good", level, seed)
		}
		if v := r.Verified[m.Name]; v.OK || v.Level != backup.LevelData || strings.Count(v.Error, "damaged:") != 1 {
			t.Fatalf("after a verification (%s, seed %d) %+v is on record", level, seed, v)
		}
	}
	bad(backup.LevelData, 0)
	bad(backup.LevelStructure, 0)
	flip(t, dir, m) // some samples would miss it; this is the case that all of them do
	for seed := range uint64(5) {
		bad(backup.LevelSample, seed)
	}
	// A failure of another kind does not make a lesser verification enough.
	path := filepath.Join(dir, m.Index.Name)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if r, out := verified(t, dir, backup.LevelStructure, 0); out[0].Error == nil || r.Verified[m.Name].Level != backup.LevelData {
		t.Errorf("without its index: %v, %+v", out[0].Error, r.Verified[m.Name])
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if _, out := verified(t, dir, backup.LevelStructure, 0); out[0].Error == nil {
		t.Error("the damage is forgotten")
	}
	r, out := verified(t, dir, backup.LevelData, 0)
	if v := r.Verified[m.Name]; out[0].Error != nil || !v.OK {
		t.Errorf("repaired, and everything was read: %v, %+v", out[0].Error, v)
	}
	if _, out = verified(t, dir, backup.LevelStructure, 0); out[0].Error != nil {
		t.Errorf("after that: %v", out[0].Error)
	}
}

// TestABadMemberMakesItsChainBad: also for verifications that do not read the damage.
func TestABadMemberMakesItsChainBad(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 40)
	dir := t.TempDir()
	full := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	flip(t, dir, full)
	verified(t, dir, backup.LevelData, 0)
	l.Write(t, 3)
	o := options(l.Home, store(t, dir), "")
	if got := run(t, o).Backup; got.Kind != backup.Full {
		t.Errorf("backup %s builds upon %s, which is bad", got.Name, got.Reference.Name)
	}
	flip(t, dir, full)
	verified(t, dir, backup.LevelData, 0)
	l.Write(t, 3)
	last := run(t, o).Backup
	l.Write(t, 3)
	next := run(t, o).Backup
	if last.Kind != backup.Incremental || next.Kind != backup.Incremental {
		t.Fatalf("of good backups, %s and %s follow", last.Kind, next.Kind)
	}
	flip(t, dir, last)
	verified(t, dir, backup.LevelData, 0)
	_, out := verified(t, dir, backup.LevelStructure, 0)
	for _, one := range out {
		if bad := one.Name == last.Name || one.Name == next.Name; bad != (one.Error != nil) {
			t.Errorf("%s: %v", one.Name, one.Error)
		} else if bad && strings.Count(one.Error.Error(), "less was read now") != 1 {
			t.Errorf("%s is said to be bad like this: %v", one.Name, one.Error)
		}
	}
	l.Write(t, 3)
	if got := run(t, o).Backup; got.Kind != backup.Incremental || got.Reference.Name != last.Reference.Name {
		t.Errorf("the next one is %s, upon %+v; the newest good one is %s", got.Kind, got.Reference, last.Reference.Name)
	}
}

// TestAVerificationIsOfTheBytesThatWereRead: two repositories in which backups have the same name are copied over each
// other. The one that was not verified does not count as good, nor as bad.
func TestAVerificationIsOfTheBytesThatWereRead(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 5)
	dir, other := t.TempDir(), t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	if r, _ := verified(t, dir, backup.LevelStructure, 0); !r.Verified[m.Name].OK {
		t.Fatalf("%+v", r.Verified)
	}
	l.Write(t, 5)
	o := options(l.Home, store(t, other), backup.Full)
	n := run(t, o).Backup
	text, err := os.ReadFile(filepath.Join(other, n.Name+".json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, m.Name+".json"), resummed(bytes.ReplaceAll(text, []byte(n.Name), []byte(m.Name))), 0o600)
	}
	for _, suffix := range []string{".tar.zst", ".index.zst"} {
		if err == nil {
			err = os.Rename(filepath.Join(other, n.Name+suffix), filepath.Join(dir, m.Name+suffix))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	replaced := func() *backup.Repository {
		t.Helper()
		r, err := backup.Open(t.Context(), store(t, dir))
		if err != nil || len(r.Backups) != 1 || r.Backups[0].TID != n.TID {
			t.Fatal(r, err)
		}
		return r
	}
	if v, ok := replaced().Verified[m.Name]; ok {
		t.Errorf("another backup of that name was verified, and this one: %+v", v)
	}
	// Of one by an earlier build it is not known.
	note := filepath.Join(dir, m.Name+".verified.json")
	if err := os.WriteFile(note, []byte(`{"when":"2026-11-01T00:00:00Z","level":"data","ok":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := replaced().Verified[m.Name]; !v.OK || v.Archive != nil {
		t.Errorf("%+v", v)
	}
	if r, out := verified(t, dir, backup.LevelData, 0); out[0].Error != nil || *r.Verified[m.Name].Archive != n.Archive.SHA256 {
		t.Errorf("%+v, %+v", out, r.Verified)
	}
}

// TestTwoVerificationsAtOnce: one that began before another one read more, and found damage, does not take that back.
func TestTwoVerificationsAtOnce(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 5)
	dir := t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	flip(t, dir, m)
	slow, err := backup.Open(t.Context(), store(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	verified(t, dir, backup.LevelData, 0)
	out, err := slow.Verify(t.Context(), slow.Backups, backup.VerifyOptions{Level: backup.LevelStructure, Now: time.Now})
	if err != nil || out[0].Error == nil || !strings.Contains(out[0].Error.Error(), "less was read now") {
		t.Errorf("the slow one: %+v, %v", out, err)
	}
	r, err := backup.Open(t.Context(), store(t, dir))
	if err != nil || r.KnownBad(m) == nil || r.Verified[m.Name].Level != backup.LevelData {
		t.Errorf("on record is %+v, %v", r.Verified, err)
	}
	flip(t, dir, m)
	if r, out := verified(t, dir, backup.LevelData, 0); out[0].Error != nil || r.KnownBad(m) != nil {
		t.Errorf("repaired: %+v, %+v", out, r.Verified)
	}
}

// TestPruneKeepsTheNewestGoodBackup, also where newer ones are known as bad, or lack a file.
func TestPruneKeepsTheNewestGoodBackup(t *testing.T) {
	t.Parallel()
	for _, missing := range []bool{false, true} {
		l := loadtest.New(t, 20, engine.CreateOptions{})
		l.Start(t, 1)
		dir := t.TempDir()
		var list []*backup.Manifest
		for _, kind := range []backup.Kind{backup.Full, backup.Full, backup.Incremental, backup.Full} {
			l.Write(t, 3)
			list = append(list, run(t, options(l.Home, store(t, dir), kind)).Backup)
		}
		for _, m := range list[2:] {
			if missing {
				if err := os.Remove(filepath.Join(dir, m.Archive.Name)); err != nil {
					t.Fatal(err)
				}
			} else {
				flip(t, dir, m)
			}
		}
		if !missing {
			verified(t, dir, backup.LevelData, 0)
		}
		for _, o := range []backup.PruneOptions{{}, {Chains: 1}, {Since: list[3].SnapshotAt}, {Since: time.Now()}} {
			o.DryRun = true
			p, err := backup.Prune(t.Context(), store(t, dir), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Removed) != 1 || p.Removed[0].Name != list[0].Name {
				t.Errorf("missing %t, %+v: %d are removed, %+v", missing, o, len(p.Removed), p.Removed)
			}
		}
	}
}

// TestVerifyFindsEachChangedByte of archives and indexes, in which a bit is flipped.
func TestVerifyFindsEachChangedByte(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		home, dir := enginetest.Home(t, engine.CreateOptions{Format: format}), t.TempDir()
		s := enginetest.Open(t, home, engine.Options{})
		for n := range 2 {
			enginetest.Commit(t, s, enginetest.Change{OID: zodb.OID(n), Data: enginetest.Record("root")},
				enginetest.Change{OID: 5, Data: enginetest.BlobRecord(), Blob: "blob"})
			run(t, options(home, store(t, dir), ""))
		}
		files, err := filepath.Glob(filepath.Join(dir, "2*.zst"))
		if err != nil || len(files) != 4 {
			t.Fatal(files, err)
		}
		phase := hometest.Phase(t)
		for _, name := range files {
			whole, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			distance := hometest.OneOf(64, 512, 1024)
			for at := phase % min(distance, len(whole)); at < len(whole); at += distance {
				b := bytes.Clone(whole)
				b[at] ^= 1 << (uint(phase/distance+at) % 8)
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
				r, err := backup.Open(t.Context(), store(t, dir))
				if err != nil {
					t.Fatal(err)
				}
				out, err := r.Verify(t.Context(), r.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
				if err != nil || len(out) != 2 {
					t.Fatal(out, err)
				}
				if !slices.ContainsFunc(out, func(o backup.Outcome) bool { return errors.Is(o.Error, archive.ErrDamaged) }) {
					t.Errorf("%s: byte %d is %q in place of %q", filepath.Base(name), at, b[at], whole[at])
				}
			}
			if err := os.WriteFile(name, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, out := verified(t, dir, backup.LevelData, 0); len(out) != 2 || out[0].Error != nil || out[1].Error != nil {
			t.Errorf("as it was: %+v", out)
		}
	})
}

// TestPruneKeepsAGoodBackupOfTheMomentSince, where the newest one before it is known as bad, or lacks a file.
func TestPruneKeepsAGoodBackupOfTheMomentSince(t *testing.T) {
	t.Parallel()
	for _, missing := range []bool{false, true} {
		home, dir := enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal}), t.TempDir()
		s := enginetest.Open(t, home, engine.Options{})
		var list []*backup.Manifest
		for range 4 {
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
			list = append(list, run(t, options(home, store(t, dir), backup.Full)).Backup)
		}
		if missing {
			if err := os.Remove(filepath.Join(dir, list[2].Archive.Name)); err != nil {
				t.Fatal(err)
			}
		} else {
			flip(t, dir, list[2])
			verified(t, dir, backup.LevelData, 0)
		}
		p, err := backup.Prune(t.Context(), store(t, dir), backup.PruneOptions{Since: list[3].SnapshotAt, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Removed) != 1 || p.Removed[0].Name != list[0].Name {
			t.Errorf("missing %t: %d are removed, %+v", missing, len(p.Removed), p.Removed)
		}
	}
}
