package cli

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// checkMeter shows how far a check has come, between its findings.
type checkMeter struct {
	mu    sync.Mutex
	m     *meter // guarded by mu
	total int64  // files that there are about; 0 = not known
}

// newCheckMeter begins to show. All: the whole storage is checked.
func newCheckMeter(e *env, home vfs.FS, all bool) *checkMeter {
	c := &checkMeter{m: newMeter(e)}
	if all && e.Terminal {
		c.total = countedFiles(home)
	}
	return c
}

// countedFiles is how many files the storage has counted, without blobs; 0 if it has not.
func countedFiles(home vfs.FS) int64 {
	var n zodb.Counts
	b, err := home.ReadFile("misc/counts")
	if err != nil || json.Unmarshal(b, &n) != nil || !n.Exact {
		return 0
	}
	return n.Objects + n.Revisions + n.Transactions
}

func (c *checkMeter) update(p check.Progress) { c.show("", p) }

func (c *checkMeter) show(before string, p check.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.update(p.Files, c.total, func(spent time.Duration) string {
		return before + fmt.Sprintf("%s, %s, %s", human.Number(p.Files, "file"), human.Bytes(p.Bytes), human.Rate(p.Files, spent))
	})
}

// of returns update with a word for the checked tree in front of the line.
func (c *checkMeter) of(word string) func(check.Progress) {
	return func(p check.Progress) { c.show(word+", ", p) }
}

// around takes the line away before something else is printed.
func (c *checkMeter) around(print func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.end()
	print()
}
