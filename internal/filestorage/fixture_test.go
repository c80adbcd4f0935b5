package filestorage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// expected is ZODB's own reading of a golden file: NAME.json beside it.
type expected struct {
	FileSize     int64                   `json:"file_size"`
	GoodSize     int64                   `json:"good_size"` // only where the end is torn
	Counts       map[string]int64        `json:"counts"`
	Transactions []expectedTxn           `json:"transactions"`
	BlobFiles    []struct{ File string } `json:"blob_files"`
}

type expectedTxn struct {
	TID         zodb.TID         `json:"tid"`
	Pos         int64            `json:"pos"`
	Length      int64            `json:"length_field"`
	Status      string           `json:"status"`
	User        string           `json:"user"`
	Description string           `json:"description"`
	Extension   string           `json:"extension_hex"`
	Records     []expectedRecord `json:"records"`
}

type expectedRecord struct {
	OID     zodb.OID  `json:"oid"`
	Pos     int64     `json:"pos"`
	Prev    int64     `json:"prev_pos"`
	Back    *int64    `json:"backpointer"`
	Own     int64     `json:"data_length_field"`
	DataTxn *zodb.TID `json:"data_txn"`
	Length  *int64    `json:"length"`
	SHA256  *string   `json:"sha256"`
	Gone    bool      `json:"undone_creation"`
}

// describe puts a transaction into the words of the JSON files.
func describe(t testing.TB, txn *Txn) expectedTxn {
	t.Helper()
	e := expectedTxn{
		TID: txn.TID, Pos: txn.Pos, Length: txn.Len - lengthLen, Status: string(txn.Status),
		User: string(txn.User), Description: string(txn.Description), Extension: hex.EncodeToString(txn.Extension),
		Records: []expectedRecord{},
	}
	for rec, err := range txn.Records() {
		if err != nil {
			t.Fatal(err)
		}
		r := expectedRecord{OID: rec.OID, Pos: rec.Pos, Prev: rec.Prev, Own: rec.Own, Gone: !rec.Exists}
		if rec.Own == 0 {
			r.Back = &rec.Back
		}
		if rec.DataTID != 0 {
			r.DataTxn = &rec.DataTID
		}
		if rec.Exists {
			length, sum := int64(len(rec.Data)), sha256.Sum256(rec.Data)
			digest := hex.EncodeToString(sum[:])
			r.Length, r.SHA256 = &length, &digest
		}
		e.Records = append(e.Records, r)
	}
	return e
}

// golden names the golden files.
var golden = []string{"undo.fs", "before_pack.fs", "packed.fs", "crashed.fs", "blobs"}

// goldenFile returns a golden Data.fs and its expected contents.
func goldenFile(t testing.TB, name string) ([]byte, expected) {
	t.Helper()
	var e expected
	if err := json.Unmarshal(goldenBytes(t, name+".json"), &e); err != nil {
		t.Fatal(err)
	}
	if name == "blobs" {
		return goldenBlobs(t)["blobs/Data.fs"], e
	}
	return goldenBytes(t, name), e
}

// goldenBlobs returns the files of the golden storage with blobs.
func goldenBlobs(t testing.TB) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for tr := tar.NewReader(bytes.NewReader(goldenBytes(t, "blobs.tar"))); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// goldenDirs are where golden files are looked for: the project's own, then the
// larger collection that may lie beside the project.
var goldenDirs = []string{"../../testdata/filestorage", "../../../shared/fixtures/filestorage"}

// goldenBytes reads a golden file. The test is skipped where it is not at hand.
func goldenBytes(t testing.TB, name string) []byte {
	t.Helper()
	for _, dir := range goldenDirs {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			return b
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Skipf("no golden file %s", name)
	return nil
}
