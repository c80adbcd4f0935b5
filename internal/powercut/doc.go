//go:build linux

// Powercut cuts the power of a storage that is at work, on real file systems,
// and looks whether everything that was acknowledged is there afterwards.
// tools/powercut builds and runs it; docs/operation.md says what was measured.
//
// The disk is an image in memory that this process serves as one file through
// FUSE. A loop device makes a block device of that file, with a volatile cache:
// what the device writes goes into the list of what may be lost, and an fsync of
// the file, which is what the device makes of a flush, empties that list. A cut
// takes what was flushed and a random part of the list (see [cut]), while
// everything that goes on writing meanwhile writes into nothing. No program and
// no file system knows of it.
//
// The programs that are cut are children of this one, of the same binary: they
// write what was acknowledged into a file that is not on that disk. What was in
// that file before the cut is what has to be found.
package main
