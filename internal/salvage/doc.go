// Package salvage gives files that lost their names their right place again.
//
// When fsck finds files that no directory names, it puts them into lost+found
// under their inode numbers. Object files, transaction files and blobs can be identified by their
// contents: the first two carry their ids in the header, and the checksum of a blob is in the header of
// its revision. Pointers and the x files are eight bytes that do not name their object; they are
// made anew, from the newest revision that there is.
//
// A place that is occupied is never touched, and nothing is taken out of the directory of lost
// files: placed files are copies. So a mistake costs nothing, and salvage may be repeated. A record that
// was unpacked from a bundle gets the kind of checksum that the Python original reads.
//
// In the format bundled the files are bundles, whose footers say their names. One that is damaged is
// read frame by frame and written again: as it was if only its index is lost, else in the next
// generation without the lost members.
//
// The storage must not be running, and must have been recovered (journal and B
// empty): files of transactions that were never committed look just like others. Where x.serial is
// lost it can't be; then the log says up to which transaction A is whole.
package salvage
