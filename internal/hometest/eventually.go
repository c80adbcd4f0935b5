package hometest

import (
	"testing"
	"time"
)

// patience is how long a test waits for an expected event. It is the end of a test that hangs, not
// a measure of speed: a busy machine takes seconds for the work of milliseconds.
const patience = 5 * time.Minute

// The shortest and the longest pause between two questions of Eventually.
const (
	firstPause = 2 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// Eventually waits until a condition holds, and ends the test if it does not come to
// that. The caller's goroutine asks for it, at first each few milliseconds, then after a tenth of
// the time that the test has waited: a condition may be dear, such as a page of the server.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); {
		waited := time.Since(began)
		if waited > patience {
			t.Fatalf("not after %s: %s", patience, what)
		}
		time.Sleep(min(max(waited/10, firstPause), lastPause))
	}
}
