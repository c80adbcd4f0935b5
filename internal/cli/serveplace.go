package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// examine takes a quick look at the place of a storage, and logs each finding. The error is about a
// promise that a trial has shown not to hold; all else is for the open to judge.
func (s *serving) examine(ctx context.Context, st config.Storage) error {
	if st.ReadOnly || s.conf.ReadOnly {
		return nil
	}
	f, err := vfs.OS(st.Home)
	if err != nil {
		return err
	}
	home, err := readSettings(f)
	if home == nil || err != nil {
		return nil //nolint:nilerr // the open says it
	}
	begun := time.Now()
	report, err := doctor.Run(ctx, doctor.Options{
		FS: f, Home: home, Quick: true, Now: s.e.Now, Steady: func() time.Duration { return time.Since(begun) },
		Mount: s.e.Mount, WithoutJournal: vfs.WithoutJournal,
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("the place of a storage could not be examined", "storage", st.Name, "path", st.Home, "err", err)
		return nil
	}
	for _, finding := range report.Findings {
		if finding.Kind == "no-journal" && home.Settings.Filesystem.Sync {
			continue // the open warns of it, and takes care
		}
		level := slog.LevelInfo
		switch finding.Grade {
		case doctor.OK:
			continue
		case doctor.Warning:
			level = slog.LevelWarn
		case doctor.Fault:
			level = slog.LevelError
		}
		s.log.Log(ctx, level, "examined the place of a storage", "storage", st.Name, "path", st.Home, "kind", finding.Kind, "seen", finding.Seen, "means", finding.Means, "do", finding.Do)
	}
	if err := report.Broken(); err != nil {
		return hint(err, "dirstorage doctor %s says more; --read-only serves it without a write", shellWord(st.Home))
	}
	return nil
}
