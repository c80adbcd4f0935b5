// Package errfs is a file system for tests that fails where it is told to: it
// asks a function before each operation of another one, and returns its error.
package errfs
