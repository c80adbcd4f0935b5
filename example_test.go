package dirstorage_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/zodb"
)

// A program that embeds the storage makes one, commits, reads, and makes HOME/A
// stand still for a copy.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	home := filepath.Join(dir, "home")
	if err := dirstorage.Create(home, dirstorage.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	s, err := dirstorage.Open(ctx, home, dirstorage.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	oids, err := s.NewOIDs(1)
	if err != nil {
		log.Fatal(err)
	}
	txn, err := s.Begin(ctx, zodb.TxnMeta{User: []byte("admin"), Description: []byte("first")}, zodb.BeginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer txn.Abort() // after Finish it does nothing
	// Two pickles: the class, and a state, here None.
	record := []byte("\x80\x03cpersistent\nPersistent\n.\x80\x03N.")
	if err := txn.Store(oids[0], 0, record); err != nil {
		log.Fatal(err)
	}
	if err := txn.Vote(ctx); err != nil {
		log.Fatal(err)
	}
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}

	rev, err := s.Load(ctx, oids[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(rev.Data) == len(record), rev.Serial == tid)

	if err := s.EnterSnapshot(ctx, "my copy"); err != nil {
		log.Fatal(err)
	}
	code, err := os.ReadFile(filepath.Join(home, "misc", "snapshot"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(code)) // now copy config and A
	if err := s.LeaveSnapshot(ctx, "my copy"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// true true
	// user/my copy
}
