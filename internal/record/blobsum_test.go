package record_test

import (
	"crypto/md5"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/record"
)

// TestBlobSums: a sum tells its kind, and the hash for it makes one of the same kind. The digests
// are those of xxhsum -H64 and md5sum.
func TestBlobSums(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ content, now, old string }{
		{"", "xxh64:ef46db3751d8e999", "md5:d41d8cd98f00b204e9800998ecf8427e"},
		{"abc", "xxh64:44bc2cf5ad770999", "md5:900150983cd24fb0d6963f7d28e17f72"},
	} {
		sums, size, err := record.BlobSums(strings.NewReader(tc.content))
		if err != nil || size != int64(len(tc.content)) {
			t.Fatal(size, err)
		}
		if got := sums[0].String(); got != tc.now {
			t.Errorf("sum of %q is %s, want %s", tc.content, got, tc.now)
		}
		if got := sums[1].String(); got != tc.old {
			t.Errorf("old sum of %q is %s, want %s", tc.content, got, tc.old)
		}
		if sums[0] != record.SumBlob([]byte(tc.content)) || sums[1] != md5.Sum([]byte(tc.content)) {
			t.Errorf("sums of %q differ: %v", tc.content, sums)
		}
		for _, sum := range sums {
			for _, content := range []string{tc.content, tc.content + "x"} {
				h := sum.Hash()
				_, _ = h.Write([]byte(content))
				if same := h.BlobSum() == sum; same != (content == tc.content) {
					t.Errorf("%q against the sum %s of %q: same is %v", content, sum, tc.content, same)
				}
			}
			if sum.IsZero() {
				t.Errorf("the sum of %q says that there is no blob", tc.content)
			}
		}
	}
	if none := (record.BlobSum{}); !none.IsZero() || none.String() != "" {
		t.Errorf("the sum of no blob is %q", none)
	}
}
