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
