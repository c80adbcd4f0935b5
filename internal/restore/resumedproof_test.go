package restore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
)

// TestAResumedRestoreUnpacksAgainWhatWasReadWrong: a restore reads a large file wrong, because of a
// disk that fails or of a repository that is damaged, and is interrupted. The next one reads
// everything as it was written, or another copy of the repository. It does not keep the file.
func TestAResumedRestoreUnpacksAgainWhatWasReadWrong(t *testing.T) {
	t.Parallel()
	dir, m := largeBundles(t)
	whole := objstore.NewDir(directory(t, dir))
	change := func(b []byte) []byte { b[len(b)/4] ^= 2; return b } // of the first bundle
	for _, accept := range []bool{false, true} {
		target := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		r := openRepository(t, damaged{whole, m.Archive.Name, change})
		p, err := r.Exactly(m)
		if err != nil {
			t.Fatal(err)
		}
		o := restoreOptions(t, r, p, target, "home")
		o.AcceptDamage = accept
		o.Checkpoint = 1 << 20
		o.Progress = func(p backup.Progress) {
			if p.Bytes > 2<<20 { // within the second bundle
				cancel()
			}
		}
		if _, err := restore.Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("a restore that was stopped: %v", err)
		}
		o.Repository, o.Progress = openRepository(t, whole), nil
		done, err := restore.Run(t.Context(), o)
		if err != nil || !done.Resumed || done.Check.Damage != 0 || done.Bytes < m.Bytes*9/10 {
			t.Errorf("%+v of %d bytes, %v", done, m.Bytes, err)
		}
	}
}
