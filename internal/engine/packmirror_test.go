package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// mirror is a backup of A by time stamps: of a snapshot it takes the files that are not older than the request for the
// one before, and removes those that are not there any more.
type mirror struct {
	content map[string]string
	since   time.Time
}

// take goes on with a mirror, which has to have all of A then.
func (z *mirror) take(ctx context.Context, s *Storage) error {
	asked := s.o.Clock()
	if err := s.WaitNormal(ctx); err != nil {
		return err
	}
	if err := s.EnterSnapshot(ctx, "mirror"); err != nil {
		return err
	}
	next := make(map[string]string)
	for name, err := range vfs.Walk(s.home.FS, "A") {
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, "-deleted") {
			continue
		}
		info, err := s.home.FS.Stat(name)
		if err != nil {
			return err
		}
		b, err := s.home.FS.ReadFile(name)
		if err != nil {
			return err
		}
		next[name] = string(b)
		if was, there := z.content[name]; info.ModTime.Before(z.since) && (!there || was != string(b)) {
			return fmt.Errorf("%s, of %v, is not in a mirror of what changed since %v, or differs", name, info.ModTime, z.since)
		}
	}
	z.content, z.since = next, asked
	return s.LeaveSnapshot(ctx, "mirror")
}
