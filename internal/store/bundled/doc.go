// Package bundled keeps a database in sealed bundles: every Put writes one file, which holds all
// that its transactions wrote. See package bundle for the content of such a file, and
// docs/format.md for every byte.
//
//	A/bundles/MIN-MAX.G.tar.zst   a bundle, by the range of its transactions and a generation
//	A/bundles/MIN-MAX.G.N.gone    its gone list, the members that packs removed; the highest N counts
//	A/blobs/…, A/x.*              blobs and marks, ordinary files of package classic
//	B/…                           the same, while A stands still
//
// # Files that count
//
// Absence means nothing. A directory may have any file besides those that count that it had
// before, as a copy has that records no deletions: a bundle that a wider one covers, or one of
// the same range with a higher generation, is superseded; of gone lists the highest
// number counts. Nothing in A is changed in place, and no name is used again for other content.
//
// The current revision of an object is the newest one of which the bundles have an entry, unless
// that is gone: then the object has none, although there may be older revisions. So it does not
// matter in which order the lists of several bundles become durable.
//
// # Concurrency
//
// Readers may be any number, beside one goroutine that puts, packs, thaws and tends. They read a
// [view], a list of bundles that is never changed; each change publishes another
// one. A bundle is closed when the last view of it was given back, so members that were found stay
// readable, although the file may have lost its name.
//
// # Commit points
//
// A bundle counts from its rename on. Its content is durable by then, so under its name it is
// always whole; its name is durable when Put returns. After a crash between these and x.serial it
// is adopted: it counts, and its transactions in the log are passed over.
//
// A removal by a pack counts from the rename of the gone list on.
package bundled
