package backup_test

import (
	"context"
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
