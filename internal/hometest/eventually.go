package hometest

import (
	"testing"
	"time"
)

// patience is how long a test waits for an expected event. It is the end of a test that hangs, not
// a measure of speed: a busy machine takes seconds for the work of milliseconds.
const patience = 5 * time.Minute

// Eventually waits until a condition holds, and ends the test if it does not come to
// that. The condition is asked each few milliseconds by the caller's goroutine.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", patience, what)
		}
	}
}
