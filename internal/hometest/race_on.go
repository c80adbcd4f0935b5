//go:build race

package hometest

// RaceDetector is whether the tests run with it. It takes memory and time of its own.
const RaceDetector = true
