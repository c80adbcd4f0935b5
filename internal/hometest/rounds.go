package hometest

import (
	"os"
	"strconv"
	"testing"
)

// Rounds is the number of random rounds of a test; $DIRSTORAGE_ROUNDS
// multiplies it for a long run.
func Rounds(t testing.TB, n int) int {
	t.Helper()
	text := os.Getenv("DIRSTORAGE_ROUNDS")
	if text == "" {
		return n
	}
	factor, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n * factor
}

// OneOf is the distance of the cases that a test tries of a long list, such as the operations before
// which it cuts the power: in a whole run, with the race detector, and in a short run. The detector
// makes each case several times as slow, and cases that run one after the other tell it nothing new.
// [Phase] moves the cases, so that all are tried in as many days.
func OneOf(whole, race, short int) int {
	switch {
	case testing.Short():
		return short
	case RaceDetector:
		return race
	}
	return whole
}
