//go:build linux

// Powercut cuts the power of a storage that is at work, on real file systems,
// and looks whether everything acknowledged is there afterwards. tools/powercut builds and runs it;
// docs/operation.md has the results.
//
// The disk is an image in memory that this process serves as one file through
// FUSE. A loop device makes a block device of that file, with a volatile cache. A write of the
// device goes into the list of writes that may be lost. A flush of the device is an fsync of the
// file, and empties that list. A cut keeps the flushed data and a random part of the list (see
// [cut]); later writes go nowhere. No program and no file system knows of it.
//
// The programs that are cut are children of this one, of the same binary: they write acknowledged
// transactions into a file that is not on that disk. Everything in that file before the cut has to
// be found after it.
package main
