//go:build !race

package cli

// raceDetector tells that it takes memory and time of its own.
const raceDetector = false
