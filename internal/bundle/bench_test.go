package bundle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// pickles makes records like those of a site of documents: a class, a dictionary with keys that
// come again and again, texts of common words, unique ids, dates, references. Mean about 690 bytes.
type pickles struct {
	rnd   *rand.Rand
	words []string
}

func newPickles() *pickles {
	p := &pickles{rnd: rand.New(rand.NewPCG(7, 8))}
	for range 8000 {
		w := make([]byte, 2+p.rnd.IntN(9))
		for i := range w {
			w[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(25, int(p.rnd.ExpFloat64()*6))]
		}
		p.words = append(p.words, string(w))
	}
	return p
}

var classes = []string{
	"cplone.app.contenttypes.content\nDocument\n", "cplone.app.contenttypes.content\nFile\n", "cBTrees.OOBTree\nOOBucket\n", "cBTrees.IOBTree\nIOBucket\n",
	"cpersistent.mapping\nPersistentMapping\n", "cplone.folder.ordered\nOrderedBTreeFolderBase\n", "cProducts.ZCatalog.Catalog\nCatalog\n",
}

func (p *pickles) append(b []byte) []byte {
	b = append(b, 0x80, 0x03)
	b = append(b, classes[min(len(classes)-1, int(p.rnd.ExpFloat64()*2))]...)
	b = append(b, "q\x01.\x80\x03}q\x02("...)
	for range 1 + int(p.rnd.ExpFloat64()*5) {
		switch p.rnd.IntN(5) {
		case 0:
			b = append(b, "X\x05\x00\x00\x00titleq\x03X"...)
			b = p.text(b, 1+p.rnd.IntN(8))
		case 1:
			b = append(b, "X\x0b\x00\x00\x00descriptionq\x04X"...)
			b = p.text(b, int(p.rnd.ExpFloat64()*40))
		case 2:
			b = append(b, "X\x04\x00\x00\x00_uidq\x05X\x20\x00\x00\x00"...)
			b = fmt.Appendf(b, "%016x%016x", p.rnd.Uint64(), p.rnd.Uint64())
		case 3:
			b = append(b, "X\x12\x00\x00\x00modification_dateq\x06cDateTime.DateTime\nDateTime\nq\x07)\x81q\x08GA"...)
			b = binary.BigEndian.AppendUint64(b, 0x41D8000000000000+p.rnd.Uint64N(1<<40))
		default:
			b = append(b, "X\x0a\x00\x00\x00__parent__q\x09C\x08"...)
			b = binary.BigEndian.AppendUint64(b, p.rnd.Uint64N(1_000_000))
			b = append(b, "q\x0acplone.app.contenttypes.content\nFolder\nq\x0b\x86q\x0cQ"...)
		}
	}
	return append(b, "u."...)
}

func (p *pickles) text(b []byte, n int) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	for range n {
		b = append(b, p.words[min(len(p.words)-1, int(p.rnd.ExpFloat64()*900))]...)
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// processor is the time of the processor that this process took, in nanoseconds.
func processor() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkFrames is about the size of frames: bytes for a record, and time of the
// processor for writing one and for reading one whose frame is not known.
func BenchmarkFrames(b *testing.B) {
	const records, inTransaction = 50_000, 50
	for _, size := range []int{4 << 10, 8 << 10, 10 << 10, 12 << 10, 16 << 10, 32 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			p := newPickles()
			var out bytes.Buffer
			var data int64
			w, err := NewWriter(&out, Options{Min: firstTID, FrameSize: size})
			if err != nil {
				b.Fatal(err)
			}
			var bodies [][]byte
			for k := range records {
				o := record.Object{OID: zodb.OID(k), Serial: firstTID + zodb.TID(k/inTransaction), Data: p.append(nil)}
				body, err := o.Append(nil, record.MD5)
				if err != nil {
					b.Fatal(err)
				}
				data += int64(len(o.Data))
				bodies = append(bodies, body)
			}
			begun := processor()
			for k, body := range bodies {
				tid := firstTID + zodb.TID(k/inTransaction)
				if err := w.Revision(zodb.OID(k), tid, 0, body); err != nil {
					b.Fatal(err)
				}
				if k%inTransaction == inTransaction-1 {
					tx, err := (&record.Transaction{TID: tid, OIDs: make([]zodb.OID, inTransaction)}).Append(nil, record.MD5)
					if err == nil {
						err = w.Transaction(tid, 0, tx)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			if _, err := w.Close(); err != nil {
				b.Fatal(err)
			}
			writing := processor() - begun
			r, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), "x")
			if err != nil {
				b.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			packed, frame := make([]byte, 0, 2*size), make([]byte, 0, 2*size)
			begun = processor()
			for b.Loop() {
				k := rnd.IntN(records)
				e, _, err := r.Latest(zodb.OID(k), zodb.MaxTID)
				if err != nil {
					b.Fatal(err)
				}
				f, err := r.Frame(e.Frame)
				if err == nil {
					packed, err = r.ReadPacked(f, packed)
				}
				if err == nil {
					frame, err = r.Decode(f, packed, frame)
				}
				if err == nil {
					_, err = r.Member(frame, e.Place, e.Name())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processor()-begun)/float64(b.N), "cpu-ns/read")
			b.ReportMetric(float64(writing)/records, "cpu-ns/write")
			b.ReportMetric(float64(out.Len())/records, "B/record")
			b.ReportMetric(float64(data)/records, "B/data")
		})
	}
}
