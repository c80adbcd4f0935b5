package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// TestWhyEnded: the cause of a context says more than its error, and less than an
// error of another kind.
func TestWhyEnded(t *testing.T) {
	t.Parallel()
	why := errors.New("somebody closed it")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, tt := range []struct {
		name string
		err  error
		want []error
		not  []error
	}{
		{"the end of the context", context.Canceled, []error{why}, []error{context.Canceled}},
		{"wrapped", fmt.Errorf("mark: %w", context.Canceled), []error{why}, []error{context.Canceled}},
		{"another error", syscall.EIO, []error{syscall.EIO}, []error{why}},
		{"both", errors.Join(context.Canceled, syscall.EIO), []error{why, syscall.EIO}, nil},
		{"both, deep down", fmt.Errorf("a: %w", fmt.Errorf("b: %w, %w", context.Canceled, syscall.EIO)), []error{why, syscall.EIO}, nil},
		{"the cause and more", errors.Join(why, context.Canceled, syscall.EIO), []error{why, syscall.EIO}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := whyEnded(ended, tt.err)
			for _, err := range tt.want {
				if !errors.Is(got, err) {
					t.Errorf("%v: no word of %v", got, err)
				}
			}
			for _, err := range tt.not {
				if errors.Is(got, err) {
					t.Errorf("%v: speaks of %v", got, err)
				}
			}
		})
	}
	if got := whyEnded(t.Context(), context.Canceled); !errors.Is(got, context.Canceled) {
		t.Errorf("a context that goes on: %v", got)
	}
}

// TestPurgeNamesItsError: an error while files that were put aside are removed is
// that of the pack.
func TestPurgeNamesItsError(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "1"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	begun := time.Now()
	var passed atomic.Int64 // seconds
	o := Options{fs: f, Clock: func() time.Time { return begun.Add(time.Duration(passed.Load()) * time.Second) }}
	s := open(t, home, o)
	for i := range 5 {
		passed.Add(1)
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint("root", i))})
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	doPack(t, s, PackOptions{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	passed.Add(10)
	s = open(t, home, o)
	commit(t, s, change{oid: 0, data: rec("root again")})
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "remove" && strings.HasSuffix(op.Name, "-deleted") {
			return syscall.EIO
		}
		return nil
	})
	_, err = s.Pack(t.Context(), PackOptions{})
	f.Decide(nil)
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "-deleted") {
		t.Errorf("pack: %v", err)
	}
}
