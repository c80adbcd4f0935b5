// Package vfs is the only door that the project has to the disk. What a file
// system does for us is written down here; crashfs does exactly this, and no
// more, so that the crash tests hold on every file system that keeps to it.
//
// What we assume:
//
//   - Contents are durable after [File.Sync] of the file. Before that they may be
//     lost, or be there in part: each sector of 512 bytes by itself, in any
//     order; the size may be smaller, or larger with zeros in between.
//   - A name is durable after [FS.SyncDir] of the directory that holds it: that it
//     was made, linked, renamed or removed. Before that it may be as if that had
//     not happened; so a removed file may come back, and a file whose contents
//     were synced may have no name. What was done to one name is kept in the
//     order in which it was done; different names are independent.
//   - A rename is atomic, also between two directories: after a crash the file has
//     the old name or the new one, never both and never neither. It is durable
//     when both directories were synced.
//   - A directory that is lost takes with it what was in it.
//   - [FS.SyncAll] makes everything durable that was done before.
//   - A lock ends with the process.
//
// Everything else may be lost, torn or reordered. An fsync that failed proves
// nothing, and neither does a second one after it.
package vfs
