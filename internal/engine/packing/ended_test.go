package packing

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
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
