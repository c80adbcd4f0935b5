package zeo

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestEndOfWhoIdlesInTheMiddle: the turn ends in the middle of a blob, or of a message of which
// nothing more comes or a byte now and then. Although the client sends more of it afterwards,
// everything was given back, and it can go on.
func TestEndOfWhoIdlesInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{false, true} {
		for _, middle := range []string{"blob", "message", "bytes"} {
			t.Run(fmt.Sprint(middle, ", TLS ", overTLS), func(t *testing.T) {
				t.Parallel()
				it := newIdleTestOver(t, idleLimit, overTLS)
				large := it.a.frame(true, "storea", zodb.OID(1), zodb.TID(0), largeRecord(400_000), mine)
				b, vote := it.wait()
				c, _ := it.budgets.large.whose()
				send := func(n int) { // and see it come
					part, before := large[:n], c.sends.bytes.Load()
					large = large[n:]
					it.a.quiet(part)
					eventually(t, "a part of the message is there", func() bool { return c.sends.bytes.Load() > before })
				}
				switch middle {
				case "blob":
					it.a.oneWay("storeBlobStart")
					it.a.oneWay("storeBlobChunk", make([]byte, 1000))
					it.a.call("ping")
				case "message":
					send(200_000)
				case "bytes":
					send(200_000)
					for range idlePatient {
						it.pass(idleLimit / 2)
						send(1)
					}
				}
				stop := make(chan struct{})
				var passing sync.WaitGroup
				passing.Go(func() { // again and again, because sent bytes may still be coming
					for {
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Millisecond):
							it.ahead.Add(int64(idleLimit))
						}
					}
				})
				_, err := b.wait(vote)
				close(stop)
				passing.Wait()
				if err != nil {
					t.Fatal(err)
				}
				b.call("tpc_finish", mine)
				switch middle {
				case "blob":
					it.a.oneWay("storeBlobChunk", make([]byte, 1000))
					it.a.oneWay("storeBlobEnd", zodb.OID(1<<41), zodb.TID(0), record("b"), mine)
				default:
					it.a.quiet(large)
				}
				it.ended("")
				eventually(t, "everything was given back", func() bool { return it.budgets.free() == it.free })
			})
		}
	}
}
