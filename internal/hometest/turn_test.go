package hometest

import (
	"fmt"
	"testing"
)

// TestEachTestHasItsTurn once in as many days as there are turns, and not all of them on the same.
func TestEachTestHasItsTurn(t *testing.T) {
	t.Parallel()
	const turns = 4
	var each [turns]int
	for i := range 100 {
		days := 0
		for phase := range turns {
			if isTurn(fmt.Sprint("Test", i), turns, 20_000+phase) {
				days++
				each[phase]++
			}
		}
		if days != 1 {
			t.Errorf("test %d has %d turns", i, days)
		}
	}
	for phase, n := range each {
		if n < 10 || n > 50 {
			t.Errorf("on day %d it is the turn of %d of 100", phase, n)
		}
	}
}
