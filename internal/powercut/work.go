//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// The database: the root refers to a bucket for each writer, a bucket to the
// objects that its writer changes all the time and to the last that it made.
const (
	writers  = 3
	statics  = 40
	remember = 8
)

func bucket(w int) zodb.OID    { return zodb.OID(1 + w) }
func static(w, i int) zodb.OID { return zodb.OID(100 + w*statics + i) }

// worker is a program that works on a storage until it is killed.
type worker struct {
	s      *engine.Storage
	home   string
	events *eventLog
	done   atomic.Int64 // transactions
}

func options() engine.Options {
	return engine.Options{SegmentSize: 256 << 10, CacheSize: 1 << 20, SpoolSize: 16 << 10, RetryInterval: 5 * time.Millisecond, NoControlSocket: true}
}

// createHome makes a storage in which things happen often.
func createHome(home, format string) error {
	return engine.Create(home, engine.CreateOptions{Format: format, Set: map[string]string{
		"journal.flush_transaction_threshold": "25",
		"journal.flush_file_threshold":        "120",
		"storage.min_pack_time":               "0",
		"storage.delay_delete":                "2",
	}})
}

// work opens the storage and works until it is killed, or until there were so
// many transactions, after which it closes; 0 = no limit.
func work(home string, events *eventLog, limit int64, seed uint64) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	s, err := engine.Open(ctx, home, options())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	k := &worker{s: s, home: home, events: events}
	if err := k.begin(ctx); err != nil {
		return err
	}
	if err := events.put(event{Opened: true}); err != nil {
		return err
	}
	ended := make(chan struct{})
	start := func(n uint64, f func(ctx context.Context, rnd *rand.Rand) error) {
		go func() {
			defer func() { ended <- struct{}{} }()
			if err := f(ctx, rand.New(rand.NewPCG(seed, n))); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}()
	}
	for w := range writers {
		start(uint64(w), func(ctx context.Context, rnd *rand.Rand) error { return k.write(ctx, w, rnd) })
	}
	start(100, k.snapshots)
	background := 1
	if limit == 0 { // else the storage gets a long past, of which the first pack has much to do
		start(101, k.maintain)
		background++
	}
	for limit == 0 || k.done.Load() < limit {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel(nil)
	for range writers + background {
		<-ended
	}
	return errors.Join(s.WaitNormal(context.Background()), s.Close())
}

// begin makes the objects that are always there.
func (k *worker) begin(ctx context.Context) error {
	if ok, err := k.s.Exists(ctx, 0); ok || err != nil {
		return err
	}
	var buckets []zodb.OID
	var changes []change
	for w := range writers {
		buckets = append(buckets, bucket(w))
		var refs []zodb.OID
		for i := range statics {
			refs = append(refs, static(w, i))
			changes = append(changes, change{oid: static(w, i), data: pickletest.Record("")})
		}
		changes = append(changes, change{oid: bucket(w), data: pickletest.Record("", refs...), live: refs})
	}
	_, err := k.commit(ctx, append(changes, change{oid: 0, data: pickletest.Record("", buckets...), live: buckets})...)
	return err
}

// change is the change of an object by a transaction.
type change struct {
	oid    zodb.OID
	serial zodb.TID
	data   []byte
	blob   []byte // nil: none
	live   []zodb.OID
}

func (c change) object() object {
	o := object{OID: c.oid, Data: hash(c.data), Live: c.live}
	if c.blob != nil {
		o.Blob = hash(c.blob)
	}
	return o
}

// commit stores changes and says so when that was acknowledged.
func (k *worker) commit(ctx context.Context, changes ...change) (zodb.TID, error) {
	var a ack
	for _, c := range changes {
		a.Objects = append(a.Objects, c.object())
	}
	return k.transaction(ctx, a, func(t zodb.Txn) error {
		for _, c := range changes {
			var err error
			if c.blob == nil {
				err = t.Store(c.oid, c.serial, c.data)
			} else {
				err = t.StoreBlob(c.oid, c.serial, c.data, zodb.BlobSource{Reader: bytes.NewReader(c.blob)})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *worker) transaction(ctx context.Context, a ack, fill func(t zodb.Txn) error) (zodb.TID, error) {
	t, err := k.s.Begin(ctx, zodb.TxnMeta{User: []byte("writer"), Description: []byte("work")}, zodb.BeginOptions{})
	if err != nil {
		return 0, err
	}
	err = fill(t)
	if err == nil {
		err = t.Vote(ctx)
	}
	if err != nil {
		return 0, errors.Join(err, t.Abort())
	}
	if a.TID, err = t.Finish(ctx, nil); err != nil {
		return 0, err
	}
	k.done.Add(1)
	return a.TID, k.events.put(event{Ack: &a})
}

// snapshots enters and leaves snapshot mode.
func (k *worker) snapshots(ctx context.Context, rnd *rand.Rand) error {
	pause := pick(rnd, 60, 400, 3000)
	for n := 0; sleep(ctx, rnd, pause); n++ {
		code := fmt.Sprint("code", n)
		asked := time.Now()
		if err := k.s.EnterSnapshot(ctx, code); err != nil {
			return fmt.Errorf("enter snapshot: %w", err)
		}
		files, err := listA(k.home)
		if err != nil {
			return err
		}
		if err := k.events.put(event{Snapshot: &snapshot{asked.UnixNano(), files}}); err != nil {
			return err
		}
		sleep(ctx, rnd, 100)
		after, err := listA(k.home)
		if err != nil {
			return err
		}
		for name, was := range files {
			if after[name] != was {
				return k.events.put(event{Wrong: fmt.Sprintf("A/%s changed in snapshot mode: %v, then %v", name, was, after[name])})
			}
		}
		if len(after) != len(files) {
			return k.events.put(event{Wrong: fmt.Sprintf("A had %d files in snapshot mode, then %d", len(files), len(after))})
		}
		if err := k.s.LeaveSnapshot(ctx, code); err != nil {
			return fmt.Errorf("leave snapshot: %w", err)
		}
	}
	return nil
}

// maintain packs, brings back and flushes.
func (k *worker) maintain(ctx context.Context, rnd *rand.Rand) error {
	pause, flushes := pick(rnd, 10, 60, 200), pick(rnd, 1, 6)
	for sleep(ctx, rnd, pause) {
		var err error
		switch rnd.IntN(3 + flushes) {
		case 0, 1:
			now := time.Now()
			if err := k.events.put(event{Pack: &packed{zodb.TIDFromTime(now.Add(time.Second))}}); err != nil {
				return err
			}
			_, err = k.s.Pack(ctx, zodb.PackOptions{Time: now, NoGC: rnd.IntN(2) == 0, References: rnd.IntN(3) == 0})
		case 2:
			if err := k.events.put(event{Undelete: true}); err != nil {
				return err
			}
			_, err = k.s.Undelete(ctx, 0)
		default:
			err = k.s.Flush(ctx)
		}
		if err != nil {
			return fmt.Errorf("maintenance: %w", err)
		}
		if err := k.events.put(event{Ended: true}); err != nil {
			return err
		}
	}
	return nil
}

// pick makes the children differ from each other.
func pick(rnd *rand.Rand, of ...int) int { return of[rnd.IntN(len(of))] }

// sleep reports whether ctx is not over.
func sleep(ctx context.Context, rnd *rand.Rand, milliseconds int) bool {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rnd.IntN(milliseconds)) * time.Millisecond):
	}
	return ctx.Err() == nil
}

// listA lists the files of A that belong to the database.
func listA(home string) (map[string]stamp, error) {
	files := make(map[string]stamp)
	return files, walkA(home, func(name string, s stamp) {
		if !strings.HasSuffix(name, "-deleted") {
			files[name] = s
		}
	})
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
