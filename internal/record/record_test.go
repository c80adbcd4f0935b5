package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// parseFile reads a file as its database name says and returns what writing it
// again gives.
func parseFile(n layout.Name, b []byte, path string) ([]byte, error) {
	switch n.Kind {
	case layout.KindRevision, layout.KindObject:
		o, err := ParseObjectAs(b, path, n.OID, n.TID, true)
		if err != nil {
			return nil, err
		}
		return o.Append(nil, SumKindOf(b))
	case layout.KindTransaction:
		t, err := ParseTransactionAs(b, path, n.TID, true)
		if err != nil {
			return nil, err
		}
		return t.Append(nil, SumKindOf(b))
	case layout.KindPointer:
		serial, err := ParsePointer(b, path, n.OID)
		if len(b) == oldPointerSize {
			return append([]byte(pointerMagic), AppendPointer(nil, serial)...), err
		}
		return AppendPointer(nil, serial), err
	}
	v, err := ParseX(b, path)
	return AppendX(nil, v), err
}

// TestGoldenFilesAreWrittenAsTheyWere parses and writes again every database
// file of the golden homes, those in journals and put aside by pack included.
func TestGoldenFilesAreWrittenAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, home := range hometest.Names(t) {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			format, err := layout.ParseFormat(hometest.Expected(t, home).Format)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range hometest.Files(t, home) {
				side, rest, _ := strings.Cut(path, "/")
				f := format
				if side == "journal" {
					_, rest, _ = strings.Cut(rest, "/")
					f = layout.Flat
				}
				n, ok := f.Parse(rest)
				if !ok {
					if n, _, ok = f.ParseDeleted(rest); !ok {
						continue
					}
				}
				got, err := parseFile(n, want, path)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %v\n% X\nwas written as\n% X", path, err, want, got)
				}
			}
		})
	}
}

// TestGoldenFilesReadAsTheOriginalReadsThem compares every field with what the
// original said.
func TestGoldenFilesReadAsTheOriginalReadsThem(t *testing.T) {
	t.Parallel()
	for _, home := range []string{"bushy", "chunky", "lawn", "flat", "packed", "packed_twice", "minimal", "backups", "old_pointers"} {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			want, files := hometest.Expected(t, home), hometest.Files(t, home)
			for _, w := range want.Objects {
				b := files[w.File]
				o, err := ParseObject(b, w.File, true)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(o.Data)
				got := hometest.Revision{File: w.File, OID: o.OID, TID: o.Serial, Previous: o.Previous, UndoFrom: o.UndoFrom,
					MD5: hex.EncodeToString(b[objectSum : objectSum+16]), Length: len(o.Data), SHA256: hex.EncodeToString(sum[:]), UndoneCreation: o.Gone()}
				if diff := cmp.Diff(w, got); diff != "" || o.HasBlob() || SumKindOf(b) != MD5 {
					t.Errorf("blob: %t, sum: %q (-want +got):\n%s", o.HasBlob(), SumKindOf(b), diff)
				}
				header, n, err := ParseObjectHeader(b[:ObjectHeaderSize], int64(len(b)), w.File)
				o.Data = nil
				if diff := cmp.Diff(o, header); diff != "" || n != int64(w.Length) || err != nil {
					t.Errorf("header: %d bytes of data, %v (-whole file +header):\n%s", n, err, diff)
				}
			}
			for _, w := range want.Transactions {
				format, err := layout.ParseFormat(want.Format)
				if err != nil {
					t.Fatal(err)
				}
				path := "A/" + format.Path(layout.Transaction(w.TID))
				b := files[path]
				txn, err := ParseTransaction(b, path, true)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(b)
				got := hometest.Transaction{TID: txn.TID, Previous: txn.Previous, User: string(txn.User), Description: string(txn.Description),
					Extension: w.Extension, ExtensionHex: hex.EncodeToString(txn.Extension), OIDs: txn.OIDs,
					MD5: hex.EncodeToString(b[transactionSum : transactionSum+16]), FileSize: len(b), FileSHA256: hex.EncodeToString(sum[:])}
				if diff := cmp.Diff(w, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

// TestDefectsOfGoldenHomesAreFound parses the file that a defect is in.
func TestDefectsOfGoldenHomesAreFound(t *testing.T) {
	t.Parallel()
	for home, reason := range map[string]string{
		"object_bad_magic":     "magic is 00 B8 2A 71, want BD B8 2A 71",
		"object_bad_md5":       "md5 is ",
		"object_truncated":     "length field is ",
		"object_wrong_oid":     "oid is ",
		"pointer_12_bad_magic": "magic is ",
		"tx_bad_magic":         "magic is ",
		"tx_bad_md5":           "md5 is ",
	} {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			name := "corrupt/" + home
			defect := hometest.ExpectedCorrupt(t, name).Defects[0]
			n, ok := layout.Bushy.Parse(strings.TrimPrefix(defect.File, "A/"))
			if !ok {
				t.Fatal(defect.File)
			}
			_, err := parseFile(n, hometest.Files(t, name)[defect.File], defect.File)
			wantCorrupt(t, err, &zodb.CorruptError{Path: defect.File, OID: defect.OID, TID: defect.TID, Reason: reason})
		})
	}
}

// wantCorrupt fails unless err is a CorruptError with the path and the ids of
// want and a reason that begins as its.
func wantCorrupt(t *testing.T, err error, want *zodb.CorruptError) {
	t.Helper()
	got, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok {
		t.Fatalf("error is %v, want a CorruptError: %s", err, want.Reason)
	}
	if !errors.Is(err, zodb.ErrCorrupt) || got.Path != want.Path || got.OID != want.OID || got.TID != want.TID {
		t.Errorf("error is %v, want one about %s, oid %s, tid %s", err, want.Path, want.OID, want.TID)
	}
	if !strings.HasPrefix(got.Reason, want.Reason) {
		t.Errorf("reason is %q, want %q", got.Reason, want.Reason)
	}
}

var (
	sampleObject = Object{OID: 0x1A771, UndoFrom: 3, BlobSum: BlobSum{1, 2, 3}, Previous: 4, Serial: 0x0349DEA41A25853B, Data: []byte("two pickles")}
	sampleTxn    = Transaction{TID: 0x0349DEA41A25853B, Previous: 4, User: []byte("ü"), Description: []byte("why"), Extension: []byte("}q."), OIDs: []zodb.OID{7, 0, 1 << 60}}
)

// byBytes compares byte slices at once; cmp does it element by element, and slowly.
var byBytes = cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) })

func mustAppend(t testing.TB, f func([]byte, SumKind) ([]byte, error), kind SumKind) []byte {
	t.Helper()
	b, err := f(nil, kind)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestObjectReadsAsWritten(t *testing.T) {
	t.Parallel()
	gone := sampleObject
	gone.Data = nil
	for _, tc := range []struct {
		name string
		o    Object
		kind SumKind
	}{
		{"md5", sampleObject, MD5}, {"xxh64", sampleObject, XXH64}, {"no checksum", sampleObject, NoSum},
		{"without data", gone, MD5}, {"zero", Object{}, MD5}, {"zero, xxh64", Object{}, XXH64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			before := []byte("before")
			b, err := tc.o.Append(before, tc.kind)
			if err != nil || !bytes.HasPrefix(b, before) {
				t.Fatalf("%x, %v", b, err)
			}
			b = b[len(before):]
			got, err := ParseObjectAs(b, "p", tc.o.OID, tc.o.Serial, true)
			if err != nil {
				t.Fatal(err)
			}
			if tc.o.Gone() != got.Gone() || SumKindOf(b) != tc.kind {
				t.Errorf("gone: %t, sum: %q", got.Gone(), SumKindOf(b))
			}
			got.Data = append([]byte(nil), got.Data...)
			if diff := cmp.Diff(&tc.o, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// patched returns a copy of b with other bytes at an offset.
func patched(b []byte, at int, bytesThere ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], bytesThere)
	return b
}

func TestDamagedObjectIsRefused(t *testing.T) {
	t.Parallel()
	o := &sampleObject
	good := mustAppend(t, o.Append, MD5)
	wrongAll := patched(patched(good, objectOID, 9), objectSerial, 9)
	for _, tc := range []struct {
		name   string
		b      []byte
		offset int64
		reason string
	}{
		{"empty", nil, 0, "magic is "},
		{"half of the magic", good[:2], 0, "magic is BD B8, want BD B8 2A 71"},
		{"magic", patched(good, 0, 'X'), 0, "magic is 58 B8 2A 71"},
		{"magic before all else", patched(wrongAll, 0, 'X'), 0, "magic is "},
		{"half of the header", good[:71], 0, "file has 71 bytes, its header alone needs 72"},
		{"one byte less", good[:len(good)-1], objectLength, "length field is 83, but the file has 82 bytes"},
		{"one byte more", append(bytes.Clone(good), 0), objectLength, "length field is 83, but the file has 84 bytes"},
		{"oid", patched(good, objectOID+7, 0x72), objectOID, "oid is 000000000001A772, want 000000000001A771"},
		{"oid before md5", wrongAll, objectOID, "oid is "},
		{"data", patched(good, ObjectHeaderSize, 'X'), objectSum, "md5 is "},
		{"previous", patched(good, objectPrevious, 'X'), objectSum, "md5 is "},
		{"md5 before serial", patched(good, objectSerial, 9), objectSum, "md5 is "},
		{"md5", patched(good, objectSum, good[objectSum]+1), objectSum, "md5 is "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseObjectAs(tc.b, "A/o", o.OID, o.Serial, true)
			wantCorrupt(t, err, &zodb.CorruptError{Path: "A/o", OID: o.OID, TID: o.Serial, Reason: tc.reason})
			if e, ok := errors.AsType[*zodb.CorruptError](err); ok && e.Offset != tc.offset {
				t.Errorf("offset is %d, want %d", e.Offset, tc.offset)
			}
		})
	}
	t.Run("serial", func(t *testing.T) {
		t.Parallel()
		_, err := ParseObjectAs(good, "A/o", o.OID, 5, true)
		wantCorrupt(t, err, &zodb.CorruptError{Path: "A/o", OID: o.OID, TID: 5, Reason: "serial is 0349DEA41A25853B, want 0000000000000005"})
	})
	t.Run("any serial", func(t *testing.T) {
		t.Parallel()
		if got, err := ParseObjectAs(good, "A/o", o.OID, 0, true); err != nil || got.Serial != o.Serial {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("checksum not asked for", func(t *testing.T) {
		t.Parallel()
		if _, err := ParseObjectAs(patched(good, ObjectHeaderSize, 'X'), "A/o", o.OID, o.Serial, false); err != nil {
			t.Error(err)
		}
	})
	t.Run("ids of the file where no name promises any", func(t *testing.T) {
		t.Parallel()
		_, err := ParseObject(patched(good, ObjectHeaderSize, 'X'), "lost", true)
		wantCorrupt(t, err, &zodb.CorruptError{Path: "lost", OID: o.OID, TID: o.Serial, Reason: "md5 is "})
	})
	t.Run("header alone", func(t *testing.T) {
		t.Parallel()
		_, _, err := ParseObjectHeader(good[:ObjectHeaderSize], 82, "A/o")
		wantCorrupt(t, err, &zodb.CorruptError{Path: "A/o", Reason: "length field is 83, but the file has 82 bytes"})
		_, _, err = ParseObjectHeader(good[:ObjectHeaderSize-1], 83, "A/o")
		wantCorrupt(t, err, &zodb.CorruptError{Path: "A/o", Reason: "file has 71 bytes, its header"})
	})
}

func TestObjectTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	if err := checkSize(MaxData); err != nil {
		t.Error(err)
	}
	if err := checkSize(MaxData + 1); err == nil || !strings.Contains(err.Error(), "4294967223") {
		t.Errorf("error is %v", err)
	}
	if ObjectHeaderSize+MaxData != math.MaxUint32 {
		t.Errorf("MaxData is %d", int64(MaxData))
	}
}

func TestTransactionReadsAsWritten(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("x"), zodb.MaxMetaLen)
	for _, tc := range []struct {
		name string
		txn  Transaction
		kind SumKind
	}{
		{"md5", sampleTxn, MD5}, {"xxh64", sampleTxn, XXH64}, {"no checksum", sampleTxn, NoSum},
		{"empty", Transaction{TID: 1, User: []byte{}, Description: []byte{}, Extension: []byte{}, OIDs: []zodb.OID{}}, MD5},
		{"longest metadata", Transaction{TID: 1, User: long, Description: long, Extension: long, OIDs: []zodb.OID{5}}, XXH64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b, err := tc.txn.Append([]byte("before"), tc.kind)
			if err != nil {
				t.Fatal(err)
			}
			b = b[len("before"):]
			got, err := ParseTransactionAs(b, "p", tc.txn.TID, true)
			if diff := cmp.Diff(&tc.txn, got, byBytes); diff != "" || err != nil || SumKindOf(b) != tc.kind {
				t.Errorf("sum: %q, %v (-want +got):\n%s", SumKindOf(b), err, diff)
			}
		})
	}
}

func TestTransactionTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	long := make([]byte, zodb.MaxMetaLen+1)
	for _, tc := range []struct {
		name string
		txn  Transaction
	}{
		{"user", Transaction{User: long}}, {"description", Transaction{Description: long}}, {"extension", Transaction{Extension: long}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dst := []byte("before")
			b, err := tc.txn.Append(dst, XXH64)
			if err == nil || !strings.Contains(err.Error(), "a "+tc.name+" of 65536 bytes") || !bytes.Equal(b, dst) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

func TestDamagedTransactionIsRefused(t *testing.T) {
	t.Parallel()
	good := mustAppend(t, sampleTxn.Append, MD5)
	// Where a length is wrong the checksum is left out, so that it is the length that is found.
	bare := mustAppend(t, sampleTxn.Append, NoSum)
	for _, tc := range []struct {
		name   string
		b      []byte
		offset int64
		reason string
	}{
		{"empty", nil, 0, "magic is "},
		{"magic", patched(good, 3, 0), 0, "magic is 47 40 07 00, want 47 40 07 76"},
		{"half of the header", good[:59], 0, "file has 59 bytes, its header alone needs 60"},
		{"one byte less", good[:len(good)-1], transactionLength, "length field is 92, but the file has 91 bytes"},
		{"tid", patched(good, transactionTID, 9), transactionTID, "tid is 0949DEA41A25853B, want 0349DEA41A25853B"},
		{"oid", patched(good, len(good)-1, 9), transactionSum, "md5 is "},
		{"user's length", patched(bare, transactionUser, 0, 3), transactionUser, "fields of 3, 3, 3 and 24 bytes make a file of 93, but it has 92"},
		{"longest lengths", patched(bare, transactionUser, 255, 255, 255, 255, 255, 255, 255, 255, 255, 248), transactionUser, "fields of 65535, 65535, 65535 and 4294967288 bytes"},
		{"part of an oid", patched(bare, transactionOIDs, 0, 0, 0, 25), transactionOIDs, "length of the oid list is 25"},
		{"version", patched(bare, transactionVersion, 0, 1), transactionVersion, "length of version is 1, want 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseTransactionAs(tc.b, "A/t", sampleTxn.TID, true)
			wantCorrupt(t, err, &zodb.CorruptError{Path: "A/t", TID: sampleTxn.TID, Reason: tc.reason})
			if e, ok := errors.AsType[*zodb.CorruptError](err); ok && e.Offset != tc.offset {
				t.Errorf("offset is %d, want %d", e.Offset, tc.offset)
			}
		})
	}
}

// TestRelinkedTransactionKeepsItsChecksum is a promise to the original's pack.
func TestRelinkedTransactionKeepsItsChecksum(t *testing.T) {
	t.Parallel()
	b := mustAppend(t, sampleTxn.Append, MD5)
	binary.BigEndian.PutUint64(b[transactionPrevious:], 99)
	got, err := ParseTransactionAs(b, "A/t", sampleTxn.TID, true)
	if err != nil || got.Previous != 99 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParsedBytesCanNotBeAppendedOver(t *testing.T) {
	t.Parallel()
	b := mustAppend(t, sampleTxn.Append, MD5)
	before := bytes.Clone(b)
	got, err := ParseTransaction(b, "p", true)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(got.User, 'X')
	_ = append(got.Description, 'X')
	_ = append(got.Extension, 'X')
	if !bytes.Equal(b, before) {
		t.Error("the file's bytes changed")
	}
}

func TestPointerHasTwoForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, content, reason string
	}{
		{"as written", "\x03\xf6\xed\x24\x40\x00\x00\x00", ""},
		{"old", "\x0b\xfe\xe8\xec\x03\xf6\xed\x24\x40\x00\x00\x00", ""},
		{"old with another magic", "\x0b\xfe\xe8\xed\x03\xf6\xed\x24\x40\x00\x00\x00", "magic is 0B FE E8 ED, want 0B FE E8 EC"},
		{"empty", "", "pointer has 0 bytes, want 8 or 12"},
		{"a byte more", "\x03\xf6\xed\x24\x40\x00\x00\x00\x00", "pointer has 9 bytes, want 8 or 12"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePointer([]byte(tc.content), "A/c", 7)
			if tc.reason != "" {
				wantCorrupt(t, err, &zodb.CorruptError{Path: "A/c", OID: 7, Reason: tc.reason})
			} else if err != nil || got != 0x03F6ED2440000000 {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestXHasEightBytes(t *testing.T) {
	t.Parallel()
	if got, err := ParseX(AppendX(nil, 1<<63+5), "A/x/oid"); err != nil || got != 1<<63+5 {
		t.Errorf("%d, %v", got, err)
	}
	for _, n := range []int{0, 7, 9} {
		_, err := ParseX(make([]byte, n), "A/x/oid")
		wantCorrupt(t, err, &zodb.CorruptError{Path: "A/x/oid", Reason: "file has "})
	}
}

func TestOtherFilesHaveNoChecksum(t *testing.T) {
	t.Parallel()
	for _, b := range []string{"", ObjectMagic, TransactionMagic, strings.Repeat("x", 100)} {
		if SumKindOf([]byte(b)) != NoSum || SumFault([]byte(b)) != "" {
			t.Errorf("%q has a checksum", b)
		}
	}
}
