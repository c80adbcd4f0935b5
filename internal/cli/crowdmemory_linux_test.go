package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// memoryParts is the memory of a server in a group, in bytes. The kernel can take back mapped
// pages, and most of its own; anonymous pages stay, as there is no swap.
type memoryParts struct {
	anonymous int64 // heap, stacks, the runtime's own
	mapped    int64 // pages of files, of which nearly all are the program
	kernel    int64 // names and inodes that it keeps, page tables, and the like
	group     int64 // all of that, and pages of files that are not mapped
}

func (p memoryParts) String() string {
	return fmt.Sprintf("anonymous %d MiB, mapped files %d MiB, kernel %d MiB, group %d MiB", p.anonymous>>20, p.mapped>>20, p.kernel>>20, p.group>>20)
}

// memory looks at the present memory of the server; ok is false once it has ended.
func (s *crowdServer) memory() (p memoryParts, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return p, false
	}
	figure := func(b []byte, pattern string) int64 {
		m := regexp.MustCompile(pattern).FindSubmatch(b)
		if m == nil {
			return 0
		}
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n
	}
	p.anonymous = figure(status, `RssAnon:\s+(\d+) kB`) << 10
	p.mapped = figure(status, `RssFile:\s+(\d+) kB`) << 10
	of := func(name string) []byte {
		b, _ := os.ReadFile(filepath.Join(s.group.dir, name)) // version 1 and 2 have different ones
		return b
	}
	p.kernel = figure(of("memory.kmem.usage_in_bytes"), `(\d+)`) + figure(of("memory.stat"), `(?m)^kernel (\d+)`)
	p.group = figure(of("memory.usage_in_bytes"), `(\d+)`) + figure(of("memory.current"), `(\d+)`)
	return p, p.anonymous > 0
}

// watchMemory looks at the memory until ctx ends, and then sends the parts of the moment at
// which most of it was anonymous.
func (s *crowdServer) watchMemory(ctx context.Context) <-chan memoryParts {
	result := make(chan memoryParts, 1)
	go func() {
		var most memoryParts
		for ctx.Err() == nil {
			if p, ok := s.memory(); ok && p.anonymous > most.anonymous {
				most = p
			}
			_ = pause(ctx, 20*time.Millisecond)
		}
		result <- most
	}()
	return result
}
