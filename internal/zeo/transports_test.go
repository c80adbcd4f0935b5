package zeo

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// transports runs a test of a server with limits twice: clients come over TCP, and over TLS
// with a certificate.
func transports(t *testing.T, l Limits, f func(t *testing.T, ts *testServer, refused *refusals, log *logBuffer), more ...func(*Options)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) {
		ts, refused, log := limited(t, l, more...)
		f(t, ts, refused, log)
	})
	t.Run("TLS", func(t *testing.T) {
		ts, refused, log, mine := withCertificates(t, l, more...)
		ts.tls = mine
		f(t, ts, refused, log)
	})
}

// socket is the connection below TLS, if there is TLS.
func socket(c net.Conn) *net.TCPConn {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	return c.(*net.TCPConn)
}

// usage is this process's goroutines and descriptors.
type usage struct{ goroutines, files int }

func inUse(t *testing.T) usage {
	t.Helper()
	u := usage{goroutines: runtime.NumGoroutine()}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil { // where there is no such directory they are not counted
		for _, e := range list {
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if err == nil && filepath.Base(filepath.Dir(to)) != "bundles" { // of which there are more the more is committed
				u.files++
			}
		}
	}
	return u
}

// notMoreThan waits until there is not more in use than there was. The tests that use it are
// not parallel to others. A few more are let pass: those of the storage and the runtime.
func (u usage) notMoreThan(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		now := inUse(t)
		if now.goroutines <= u.goroutines+4 && now.files <= u.files+4 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v are in use, where there were %+v", now, u)
		}
		time.Sleep(time.Millisecond)
	}
}

// free is the rest of each of the pools.
func (b *budgets) free() [10]int64 {
	return [10]int64{b.frames.Free(), b.values.Free(), b.places.Free(), b.files.Free(), b.spools.Free(), b.reads.Free(), b.answers.Free(), b.queues.Free(), b.steps.Free(), b.iterators.Free()}
}

// processorTime is this process's use of the processors until now, without the share of the
// collector for f.
func processorTime(t *testing.T, f func()) time.Duration {
	t.Helper()
	taken := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.GC()
	before := taken()
	f()
	return taken() - before
}
