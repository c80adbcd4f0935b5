// Package backup makes, lists, verifies, prunes and merges backups of a storage
// in a repository, and says which of them a restore needs.
//
// # Repository
//
// A repository is an [objstore.Store]. A backup NAME consists of three objects:
//
//	NAME.tar.zst     the archive, see package archive
//	NAME.index.zst   its index
//	NAME.json        the [Manifest]
//
// The manifest is written last and removed first: a backup exists if its manifest
// does. Other objects were left by a crash, and are removed by the next command that
// changes the repository. NAME.verified.json keeps the last result of [Verify].
//
// # Chains
//
// A full backup is the storage at one transaction. An incremental one holds the files
// written by the transactions later than its reference, which is another backup. The way
// back from a backup over the references to a full one is its chain. A reference is found
// by its last transaction, tid and content, not by its name, so a full one that was
// merged from a chain takes the place of its members.
//
// The objects of a chain that are written once (revisions, blobs, transactions)
// add up without overlap: each backup contributes those of the transactions
// after its reference. So each transaction in between can be restored, too: see
// package restore.
package backup
