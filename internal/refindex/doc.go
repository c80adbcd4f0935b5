// Package refindex is an index of references the other way round: who refers to
// an object. It is one file, a by-product of whoever reads all current revisions
// anyway, such as a pack:
//
//	w, err := refindex.New(fs, "misc", s.LastTransaction(), 64<<20)
//	if err != nil {
//		return err
//	}
//	defer w.Abort() // does nothing after Finish
//	…                            // from any number of goroutines
//	err = w.Add(from, to)        // for each reference of a current revision
//	w.Skip()                     // for each object whose references cannot be seen
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
// revision was read. What was changed by later ones may be in the index as it was
// or as it is; so who wants to know how things are now reads, of each object that
// the index names and of each that was changed since, the current revision. In
// exchange every object that no later transaction wrote must have been added, if
// it still exists when the index is finished: also those that nothing refers to,
// because they may refer to something.
//
// Nothing depends on the file: without it the objects themselves tell, only slower.
// It has a checksum for each part, and is replaced as a whole or not at all.
//
// While it is written there are two more files beside it, refs.tmp and refs.new.
// The first is locked, so that there is one writer at a time; what a writer that
// was killed left there is replaced by the next one.
package refindex
