package engine_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestTimesOfAClockThatWasYearsAheadCanBeTakenBack: by the script of docs/operation.md. Files that are put
// after it bear the time of the clock, and are later than those before.
func TestTimesOfAClockThatWasYearsAheadCanBeTakenBack(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "flock", "find", "touch"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v", err)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operation.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)```sh\n(#!/bin/sh\n# times-back.sh .*?)```").FindSubmatch(text)
	if script == nil {
		t.Fatal("docs/operation.md has no times-back.sh")
	}
	file := filepath.Join(t.TempDir(), "times-back.sh")
	if err := os.WriteFile(file, script[1], 0o755); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"bundled", "chunky"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			home := enginetest.Home(t, engine.CreateOptions{Format: format})
			disk, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			// run commits in a process whose clock is ahead, with a snapshot, and returns its log.
			run := func(ahead time.Duration, oid zodb.OID) string {
				t.Helper()
				var log bytes.Buffer
				s := enginetest.Open(t, home, engine.Options{NoControlSocket: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Clock: func() time.Time { return time.Now().Add(ahead) }})
				for range 2 {
					enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: enginetest.Record("any")})
					if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
						t.Fatal(err)
					}
					if err := s.LeaveSnapshot(t.Context(), "a"); err != nil {
						t.Fatal(err)
					}
				}
				if out, err := exec.CommandContext(t.Context(), file, home).CombinedOutput(); err == nil {
					t.Errorf("the script runs beside the storage: %s", out)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return log.String()
			}
			// eachTime calls f with the time of each file of A.
			eachTime := func(f func(time.Time)) {
				t.Helper()
				for name, err := range vfs.Walk(disk, "A") {
					var info vfs.Info
					if err == nil {
						info, err = disk.Stat(name)
					}
					if err != nil {
						t.Fatal(err)
					}
					f(info.ModTime)
				}
			}
			future := func() (n int) {
				t.Helper()
				eachTime(func(at time.Time) {
					if at.After(time.Now().Add(time.Hour)) {
						n++
					}
				})
				return n
			}
			const warning = "new files bear times ahead of the clock"
			run(0, 0)
			run(20*365*24*time.Hour, 1)
			if log := run(0, 2); future() < 3 || !bytes.Contains([]byte(log), []byte(warning)) {
				t.Fatalf("%d files bear times of the future: %s", future(), log)
			}
			if out, err := exec.CommandContext(t.Context(), file, home).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if _, err := disk.Stat("misc/snapshot"); err == nil || future() != 0 {
				t.Errorf("%d files bear times of the future, misc/snapshot: %v, want %v", future(), err, fs.ErrNotExist)
			}
			newest := time.Time{}
			eachTime(func(at time.Time) {
				if at.After(newest) {
					newest = at
				}
			})
			log := run(0, 3)
			if future() != 0 || bytes.Contains([]byte(log), []byte(warning)) {
				t.Errorf("after the script %d files bear times of the future: %s", future(), log)
			}
			if info, err := disk.Stat("A/" + layout.Format(format).Path(layout.XSerial)); err != nil || info.ModTime.Before(newest) {
				t.Errorf("x.serial bears %v, and was put after %v: %v", info.ModTime, newest, err)
			}
			if _, err := checktest.Clean(t.Context(), disk); err != nil {
				t.Error(err)
			}
		})
	}
}
