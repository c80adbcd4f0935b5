package hometest

import (
	"hash/fnv"
	"testing"
)

// InTurn skips a dear test in short runs, but for each n-th day, as [Phase] counts them. On which one its turn
// is depends on its name, so that a short run has about the same to do each day.
func InTurn(t testing.TB, n int) {
	t.Helper()
	if testing.Short() && !isTurn(t.Name(), n, Phase(t)) {
		t.Skipf("a short run has it each %d. day", n)
	}
}

func isTurn(name string, n, phase int) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // it never fails
	return (int(h.Sum32()>>1)+phase)%n == 0
}
