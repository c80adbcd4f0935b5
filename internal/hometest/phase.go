package hometest

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// phaseVariable names the phase of a sample, in the place of the day's.
const phaseVariable = "DIRSTORAGE_PHASE"

// begun is in the day whose sample all tests of the process take, also behind midnight.
var begun = time.Now()

// Phase moves the operations that a test tries of a long list, by one each day (UTC), so that daily
// runs try all of them in as many days as the distance of the sample. $DIRSTORAGE_PHASE sets it.
// A test that fails prints the setting that repeats it.
func Phase(t testing.TB) int {
	t.Helper()
	phase, err := phaseAt(begun, os.Getenv(phaseVariable))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%d repeats this sample", phaseVariable, phase)
		}
	})
	return phase
}

// phaseAt is the phase at a time, or the one that is given.
func phaseAt(now time.Time, given string) (int, error) {
	if given == "" {
		return int(now.Unix() / (24 * 60 * 60)), nil
	}
	phase, err := strconv.ParseUint(given, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("$%s: %w; set it to a number of days, 0 or more", phaseVariable, err)
	}
	return int(phase), nil
}

// Today is each distance-th of the cases, as [OneOf] has it, moved by [Phase]; one at least, if there are any.
func Today[T any](t testing.TB, distance int, cases []T) (chosen []T) {
	t.Helper()
	distance = max(1, min(distance, len(cases)))
	for i := Phase(t) % distance; i < len(cases); i += distance {
		chosen = append(chosen, cases[i])
	}
	return chosen
}
