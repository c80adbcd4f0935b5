package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestWritersAreNeverStoppedForAWholeBatch has a disk on which a file takes a
// millisecond, and writers that want more: each waits a little, and none for long.
// Nothing but that takes time here, however busy the machine is.
func TestWritersAreNeverStoppedForAWholeBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, neverStopped)
}

// slowNames is a disk on which each new name in A takes a millisecond.
type slowNames struct{ vfs.FS }

func (f slowNames) Create(name string) (vfs.File, error) {
	if name[0] == 'A' {
		time.Sleep(time.Millisecond)
	}
	return f.FS.Create(name)
}

func (f slowNames) Rename(from, to string) error {
	if to[0] == 'A' {
		time.Sleep(time.Millisecond)
	}
	return f.FS.Rename(from, to)
}

func neverStopped(t *testing.T) {
	disk := crashfs.New(1)
	disk.SetClock(time.Now)
	set := map[string]string{"filesystem.sync": "0", "journal.flush_transaction_threshold": "50", "journal.flush_file_threshold": "500"}
	if err := CreateOn(disk, layout.Bushy, set); err != nil {
		t.Fatal(err)
	}
	o := &observed{}
	s := open(t, "", Options{Observer: o, NoControlSocket: true, fs: slowNames{disk}})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	end := time.Now().Add(6 * time.Second)
	for w := range 4 {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				begun := time.Now()
				var list []change
				for k := range 5 {
					list = append(list, change{oid: zodb.OID(1 + w*1_000_000 + n*5 + k), data: rec(fmt.Sprint(n))})
				}
				if _, err := tryCommit(s, zodb.TxnMeta{}, list...); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil { // the last flush is observed
		t.Fatal(err)
	}
	slices.Sort(took)
	o.mu.Lock()
	defer o.mu.Unlock()
	longest := took[len(took)-1]
	t.Logf("%d commits, half within %v, the longest %v; the longest flush %v", len(took), took[len(took)/2], longest, o.longestFlush)
	if o.longestFlush < time.Second {
		t.Errorf("the longest flush took %v: too short to stop anybody", o.longestFlush)
	}
	if longest > o.longestFlush/2 {
		t.Errorf("a commit waited for %v, the longest flush took %v", longest, o.longestFlush)
	}
	if len(took) < 50 {
		t.Errorf("only %d commits", len(took))
	}
}
