package backup_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/loadtest"
)

// TestABadOutcomeIsRecordedBehindABackup that runs while the verification does. A good one is a remark, and waits
// for nobody.
func TestABadOutcomeIsRecordedBehindABackup(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 3)
	dir := t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	locked := func() io.Closer {
		lock, err := store(t, dir).Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
	verify := func(ctx context.Context, warn func(string)) backup.Outcome {
		r, err := backup.Open(ctx, store(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.Verify(ctx, r.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now, Warn: warn})
		if err != nil || len(out) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		return out[0]
	}
	known := func() (bad, any bool) {
		r, err := backup.Open(t.Context(), store(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		_, any = r.Verified[m.Name]
		return r.KnownBad(m) != nil, any
	}

	lock, said := locked(), ""
	if out := verify(t.Context(), func(text string) { said += text }); out.Error != nil || !strings.Contains(said, "could not be recorded: something else changes the backups") {
		t.Errorf("a good one: %v, %q", out.Error, said)
	}
	if _, any := known(); any {
		t.Error("the lock was not held")
	}

	flip(t, dir, m)
	ctx, cancel := context.WithCancel(t.Context())
	said = ""
	if out := verify(ctx, func(text string) { said += text + "\n"; cancel() }); out.Error == nil || !strings.Contains(said, "is recorded when that has ended\n") || !strings.Contains(said, "could not be recorded") {
		t.Errorf("one that is cancelled: %v, %q", out.Error, said)
	}

	said = ""
	out := verify(t.Context(), func(text string) {
		said += text
		if bad, any := known(); bad || any {
			t.Error("it is known while the lock is held")
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	})
	if bad, _ := known(); out.Error == nil || !bad || !strings.Contains(said, "is recorded when that has ended") || strings.Contains(said, "could not") {
		t.Errorf("%v, on record %t, %q", out.Error, bad, said)
	}
}

// TestABadOutcomeKeepsTheLevelOfAnotherOne recorded just before: its reading of more is not refuted.
func TestABadOutcomeKeepsTheLevelOfAnotherOne(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 3)
	dir := t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	flip(t, dir, m)
	index := *m
	index.Archive = m.Index
	flip(t, dir, &index)
	slow, err := backup.Open(t.Context(), store(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time {
		verified(t, dir, backup.LevelData, 0)
		return time.Now()
	}
	out, err := slow.Verify(t.Context(), slow.Backups, backup.VerifyOptions{Level: backup.LevelStructure, Now: now})
	if err != nil || len(out) != 1 || out[0].Error == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	flip(t, dir, &index)
	if r, out := verified(t, dir, backup.LevelStructure, 0); out[0].Error == nil || r.KnownBad(m) == nil || r.Verified[m.Name].Level != backup.LevelData {
		t.Errorf("with its index repaired: %+v, on record is %+v", out, r.Verified)
	}
}

// TestABadOutcomeIsToldWhenTheVerificationEndsEarly, while something else keeps it from being recorded.
func TestABadOutcomeIsToldWhenTheVerificationEndsEarly(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	dir := t.TempDir()
	var list []*backup.Manifest
	for range 2 {
		l.Write(t, 3)
		list = append(list, run(t, options(l.Home, store(t, dir), backup.Full)).Backup)
	}
	flip(t, dir, list[0])
	lock, err := store(t, dir).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	r, err := backup.Open(t.Context(), store(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := ""
	out, err := r.Verify(ctx, r.Backups, backup.VerifyOptions{
		Level: backup.LevelRestore, Now: time.Now, Warn: func(text string) { said += text + "\n" },
		Trial: func(context.Context, *backup.Plan) error { cancel(); return nil },
	})
	if !errors.Is(err, context.Canceled) || len(out) != 1 || !strings.Contains(said, "backup "+list[0].Name+" is bad") {
		t.Errorf("%+v, %v, %q", out, err, said)
	}
}

// TestABadOutcomeIsRecordedAfterAGoodOneOfTheFuture: the clock was ahead when the backup was verified before.
func TestABadOutcomeIsRecordedAfterAGoodOneOfTheFuture(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 20, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 3)
	dir := t.TempDir()
	m := run(t, options(l.Home, store(t, dir), backup.Full)).Backup
	for _, ahead := range []time.Duration{24 * time.Hour, 0} {
		r, err := backup.Open(t.Context(), store(t, dir))
		if err == nil {
			_, err = r.Verify(t.Context(), r.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: func() time.Time { return time.Now().Add(ahead) }})
		}
		if err == nil {
			r, err = backup.Open(t.Context(), store(t, dir))
		}
		if err != nil {
			t.Fatal(err)
		}
		if bad := r.KnownBad(m); (bad == nil) != (ahead > 0) {
			t.Errorf("with a clock %v ahead: %v", ahead, bad)
		}
		if ahead > 0 {
			flip(t, dir, m)
		}
	}
}
