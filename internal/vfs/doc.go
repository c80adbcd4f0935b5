// Package vfs is the only door that the project has to the disk. The guarantees of a file system
// that we rely on are written down here. crashfs gives exactly these and no more, so that the crash
// tests hold on every file system that keeps to them.
//
// Our assumptions about a crash of the machine:
//
//   - Contents and size are durable after [File.Sync] of the file. Before that they
//     may be lost, or be there in part: each sector of 512 bytes by itself, in any
//     order; the size may be smaller, or be there with zeros in place of the data
//     written. Space that [File.Allocate] added reads as zeros.
//   - A name is durable after [FS.SyncDir] of the directory that holds it: that it
//     was made, linked or removed. Before that it may be as if that had not
//     happened; so a removed file may come back, and a file whose contents were
//     synced may have no name. Changes of one name are kept in the order in
//     which they were made; different names are independent. A directory is not
//     removed before files that were removed or renamed out of it.
//   - A rename of a file is two changes of names: the new name leads to the file, at
//     once with the file that it replaces, and the old one goes. Each of them is durable after
//     SyncDir of its directory. Before that a crash may keep either: on btrfs both
//     names were seen, on ext4 without a journal neither. So a file that has only one name,
//     and cannot be made again, gets a second by [FS.Link] and loses the first when
//     that is durable. A rename of a directory is atomic, and durable after SyncDir of
//     the directory of the new name; SyncDir of that of the old one alone proves nothing.
//   - A directory whose name is lost takes with it the files made or linked in it,
//     synced or not. A directory that was renamed into it has its old name then.
//   - A time of modification is durable after a File.Sync that made a new size
//     durable, since both are in the inode; a Sync that found no new size may
//     leave it out, as fdatasync(2) says. It is durable after [File.SyncTimes].
//   - [FS.SyncAll] makes everything durable that was done before.
//
// Our assumptions about the death of the process: no change is lost, none becomes durable by it,
// and its locks end.
//
// Everything else may be lost, torn or reordered. An fsync that failed proves
// nothing, and neither does a second one after it.
package vfs
