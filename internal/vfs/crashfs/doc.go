// Package crashfs is a file system in memory for crash tests. It promises exactly as much as the
// documentation of package vfs: a change that is not durable by that text may be lost in a crash,
// and is lost in some crashes.
//
// A test counts the operations of a scenario, then runs it once for each of
// them, cuts the power before that operation, and looks at a disk as it may be left:
//
//	f := crashfs.New(seed)
//	f.CrashAt(n)
//	scenario(f) // from the n-th operation on all fails with ErrCrashed
//	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(seed)} {
//		check(f.Crashed(mode))
//	}
//
// # How names are modelled
//
// Each directory has its names as they are now and as they are on the disk.
// Between the two lie the pending operations. Each of them waits for the earlier
// ones on the same names, the removal of a directory for all in it, and the
// rename of a directory into another one for the names of that and of those
// above it. A crash keeps a set of the pending operations that has, with each
// operation, all that it waits for. So a name never skips a step. The rename of a
// file is two operations, so after a crash it may have both names, or neither.
//
// SyncDir moves the operations of a directory, with the changes they wait for, to the disk. One
// exception keeps lost directories honest: a rename into a directory that may itself still be lost
// stays pending, but is kept by every crash that keeps the directory.
//
// # How contents are modelled
//
// Each file has its contents as they are now and as they are on the disk, and
// the writes in between. A crash takes for each sector of 512 bytes one of the
// states that it went through, and a size between the old and the new one.
// Times of directories are not modelled: a crash keeps them.
//
// A sync that fails loses the changes it should have made durable: memory goes on holding them, the
// next sync succeeds, and a crash shows that they never got to the disk. Package errfs does that
// with each sync that it lets fail. [FS.Killed] returns the file system as another process finds it
// after the death of this one: memory is unchanged, and only changes that were durable are durable.
package crashfs
