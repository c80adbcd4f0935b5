package filestorage

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

func gunzip(t testing.TB, name string) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(goldenBytes(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestMediumFileIsReadAndCopied compares each transaction and record of a file of 57,000 records
// with ZODB's reading, and the copy with the file.
func TestMediumFileIsReadAndCopied(t *testing.T) {
	if testing.Short() {
		t.Skip("66 MB")
	}
	t.Parallel()
	data := gunzip(t, "medium.fs.gz")
	var want struct {
		SHA256 string           `json:"sha256"`
		Counts map[string]int64 `json:"counts"`
	}
	if err := json.Unmarshal(goldenBytes(t, "medium.fs.json"), &want); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(gunzip(t, "medium.transactions.tsv.gz")), "\n"), "\n")
	dst := new(memory)
	w := newWriter(dst)
	n := 0
	for txn, err := range open(t, data).Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		sum, count := sha256.New(), 0
		for rec, err := range txn.Records() {
			if err != nil {
				t.Fatal(err)
			}
			sum.Write(rec.OID.Bytes())
			sum.Write(rec.TID.Bytes())
			sum.Write(rec.Data)
			count++
		}
		got := fmt.Sprintf("%016x\t%s\t%s\t%d\t%x", uint64(txn.TID), txn.User,
			strings.ReplaceAll(string(txn.Description), "\n", `\n`), count, sum.Sum(nil))
		if n >= len(lines) || got != lines[n] {
			t.Fatalf("transaction %d is %q", n, got)
		}
		n++
		if err := w.Append(&txn.Transaction, plain(txn.Records())); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || n != len(lines) {
		t.Fatalf("%d transactions, want %d, %v", n, len(lines), err)
	}
	sum := sha256.Sum256(dst.data)
	if got := hex.EncodeToString(sum[:]); got != want.SHA256 {
		t.Errorf("copy has sha256 %s, want %s", got, want.SHA256)
	}
	totals, err := open(t, data).Verify(t.Context())
	if err != nil || totals != (Totals{want.Counts["transactions"], want.Counts["records"], want.Counts["oids"]}) {
		t.Errorf("verify: %+v, %v", totals, err)
	}
}

func BenchmarkReader(b *testing.B) {
	data := gunzip(b, "medium.fs.gz")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for txn, err := range open(b, data).Transactions(b.Context(), Position{}) {
			if err != nil {
				b.Fatal(err)
			}
			for _, err := range txn.Records() {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
