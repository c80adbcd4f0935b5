package pickletest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestRecord: a record refers to the given objects, however long its data is.
func TestRecord(t *testing.T) {
	t.Parallel()
	want := []zodb.OID{1, 7, 1 << 40}
	for _, n := range []int{0, 1, 256, 70_000} {
		data := strings.Repeat("Q", n)
		got, err := pickle.AppendStrongRefs(nil, pickletest.Record(data, want...))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %v, %v", n, got, err)
		}
		if got, err := pickle.AppendStrongRefs(nil, pickletest.Record([]byte(data))); err != nil || len(got) != 0 {
			t.Errorf("%d bytes without references: %v, %v", n, got, err)
		}
	}
}
