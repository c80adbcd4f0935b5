// Package refindex is an index of references the other way round: from each object to the objects
// that refer to it. It is one file, a by-product of work that reads all current revisions anyway,
// such as a pack:
//
//	w, err := refindex.New(fs, "misc", s.LastTransaction(), 64<<20)
//	if err != nil {
//		return err
//	}
//	defer w.Abort() // does nothing after Finish
//	…                            // from any number of goroutines
//	err = w.Add(from, to)        // for each reference of a current revision
//	w.Skip(damaged)              // for each object whose references cannot be seen
//	…
//	stats, err := w.Finish(ctx, vfs.SyncOptions{File: true, Dir: true})
//
// and it is asked:
//
//	r, err := refindex.Open(fs, "misc/refs")
//	…
//	for from, err := range r.Referrers(oid) {
//
// The index holds strong references within one database, and it holds them up to
// one transaction. That must be the last transaction at a moment before the first
// revision was read. Entries of objects that later transactions changed may be stale or new. So for
// the present state, read the current revision of each object that the index names, and of each
// changed since. In exchange every object that no later transaction wrote must have been added, if
// it still exists when the index is finished: also those that nothing refers to, because they may
// refer to something.
//
// Nothing depends on the file: without it the objects themselves tell, only slower.
// It has a checksum for each part, and is replaced as a whole or not at all.
//
// While it is written there are two more files beside it, refs.tmp and refs.new.
// The first is locked, so that there is one writer at a time; the next writer replaces the files of
// one that was killed.
package refindex
