//go:build !race

package dirstorage

const raceDetector = false
