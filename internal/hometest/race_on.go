//go:build race

package hometest

const raceDetector = true
