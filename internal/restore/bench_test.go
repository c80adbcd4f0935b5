package restore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// BenchmarkBackup measures full and incremental backups, verification and
// restore of a storage of 20,000 and one of 200,000 objects of some 700 bytes,
// of which 2,000 are changed between: 1 % of the larger one. Run it with
// -benchtime 1x.
func BenchmarkBackup(b *testing.B) {
	for _, objects := range []int{20_000, 200_000} {
		b.Run(fmt.Sprint(objects), func(b *testing.B) {
			for b.Loop() {
				measureBackups(b, objects)
			}
		})
	}
}

func measureBackups(b *testing.B, objects int) {
	home := filepath.Join(b.TempDir(), "home")
	err := engine.Create(home, engine.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := engine.Open(b.Context(), home, engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	serials := make([]zodb.TID, objects)
	change := func(n int, text string) {
		for at := 0; at < n; at += 50 {
			txn, err := s.Begin(b.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
			for i := at; i < at+50 && err == nil; i++ {
				oid := i * (objects / n)
				err = txn.Store(zodb.OID(oid), serials[oid], []byte("cm\nC\n.(T\x84\x02\x00\x00"+fmt.Sprintf("%-644s", text+fmt.Sprint(i))+"t."))
			}
			if err == nil {
				err = txn.Vote(b.Context())
			}
			var tid zodb.TID
			if err == nil {
				tid, err = txn.Finish(b.Context(), nil)
			}
			if err != nil {
				b.Fatal(err)
			}
			for i := at; i < at+50; i++ {
				serials[i*(objects/n)] = tid
			}
		}
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	change(objects, "first ")
	store := objstore.NewDir(directory(b, b.TempDir()))
	make := func(kind backup.Kind) {
		begun := time.Now()
		r, err := backup.Run(context.Background(), backup.Options{Store: store, Kind: kind, Now: time.Now, Snapshot: snapshotOf(home)})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds()*1000, string(kind)+"-ms")
		b.ReportMetric(float64(r.BytesRead)/1e6, string(kind)+"-MB-read")
		b.ReportMetric(float64(r.Backup.Archive.Bytes+r.Backup.Index.Bytes)/1e6, string(kind)+"-MB-written")
	}
	make(backup.Full)
	change(2000, "second ")
	make(backup.Incremental)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	repo := openRepository(b, store)
	begun := time.Now()
	outcomes, err := repo.Verify(b.Context(), repo.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
	if err != nil || outcomes[1].Error != nil {
		b.Fatal(outcomes, err)
	}
	b.ReportMetric(time.Since(begun).Seconds()*1000, "verify-ms")
	b.ReportMetric(float64(outcomes[0].Bytes+outcomes[1].Bytes)/1e6, "verify-MB-read")
	p, err := repo.Newest(repo.Identities()[0])
	if err != nil {
		b.Fatal(err)
	}
	begun = time.Now()
	if _, err := restore.Run(b.Context(), restoreOptions(b, repo, p, b.TempDir(), "home")); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begun).Seconds()*1000, "restore-ms")
}
