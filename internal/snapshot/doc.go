// Package snapshot brings a storage into snapshot mode for a tool that reads config and A, no
// matter which process has the storage open, and keeps it there:
//
//	held, err := snapshot.Enter(ctx, snapshot.Options{Home: home})
//	// copy config and A
//	err = held.Release(ctx)
//
// The rules are those of docs/operation.md: the mode is entered by one of the
// methods of config/snapshot.conf; then misc/sublock is locked, and only then
// misc/snapshot is looked for. While the lock is held and the file is there, A
// stands still. The answers of the methods do not count beside that.
package snapshot
