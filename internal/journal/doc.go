// Package journal is the write-ahead log of a storage: the transactions that are committed and not
// yet files in A or B. It also reads the files that the Python original leaves in the same
// directory, see [ReadOriginal].
//
//	log, found, err := journal.Open(journal.Options{FS: home, Dir: "journal", Identity: id, Sync: true, DirSync: true})
//	// flush found.Transactions, and Release each of them
//	p := &journal.Pending{Meta: meta, Records: entries, Data: dataOf}
//	err = log.Append(p)                                        // vote
//	err = log.Commit([]journal.CommitRecord{{Txn: p, TID: tid, Previous: last}}) // finish
//	data, err := log.Read(&p.Records[0])                       // load
//	err = log.Release(tid)                                     // it is in A
//	err = log.Clean()                                          // everything is in A
//
// # Files
//
// A segment is the file log-N, N being its number in 16 upper-case hexadecimal
// digits. Numbers grow by one, and there are no holes. A segment that is no
// longer needed becomes a spare, spare-N, and later another segment: overwriting existing blocks
// costs about half as much as filling new ones. So zeros are written ahead of the end of a new
// segment, too; recovery takes them for the end of the frames. All numbers are big-endian. Offsets
// and lengths are in bytes.
//
// Header of a segment, at offset 0:
//
//	 0   8  magic, “DSlog\r\n\x1a”
//	 8   4  format version, 1
//	12   4  flags: 1 = the segment before was durable up to its end
//	16   8  number of the segment
//	24  16  identity of the storage
//	40   8  number of the oldest segment that is still needed
//	48   8  end of the segment before; 0 = there was none
//	56   4  zero
//	60   4  CRC32C of bytes 0..60
//
// Frames follow, each at a multiple of 8. The CRC of a frame's head starts
// with the identity, the segment's number and the frame's offset, so a frame
// is valid in its own place only: not as a remnant in a segment that is used
// again, not in a file that was moved, and not within somebody's data.
//
//	 0   4  CRC32C of identity, segment number, offset (8 bytes each but the first, 16), and bytes 4..16
//	 4   4  length of the payload, without padding
//	 8   4  CRC32C of the payload
//	12   1  type
//	13   3  zero
//	16      payload, then zeros up to a multiple of 8
//
// Type 1, data: one revision of one object.
//
//	 0   8  handle of the transaction
//	 8   8  oid
//	16   8  serial of the revision before; 0 = none
//	24   8  serial of the revision that an undo copied; 0 = none
//	32   1  flags: 1 = the object does not exist from here on, 2 = it has a blob
//	33   1  zero
//	34   2  length of the name of the blob's file
//	36   4  zero
//	40  16  MD5 of the blob
//	56   8  size of the blob
//	64      name of the blob's file relative to HOME, then the data
//
// Type 2, meta: the end of a vote's data.
//
//	 0   8  handle
//	 8   8  offset of the transaction's first frame
//	16   8  number of its data frames, which lie between there and here
//	24  16  durable position, see below
//	40   2  length of user, then of description, then of extension
//	46   1  flags: 1 = a copy of a transaction that was packed
//	47   1  zero
//	48      user, description, extension
//
// Type 3, commit:
//
//	 0   8  handle
//	 8   8  tid
//	16   8  tid of the transaction before
//	24   8  highest oid handed out
//	32  16  position of the meta frame
//	48  16  durable position
//
// Type 4, mark: written when segments are given up, and when the log is closed.
//
//	0   8  number of the oldest segment that is still needed
//	8  16  durable position
//
// A position is the number of a segment and an offset in it. The durable position in a frame says
// how much the writer knew to be durable when it wrote the frame: every byte before that position.
//
// A handle names a transaction that has no tid yet. It is used once. All data
// frames of a transaction and its meta frame are contiguous in one segment,
// which is made larger if it has to be; the commit frame may be in a later one.
//
// # Commit point
//
// A transaction is committed when its commit frame is durable: when the
// fdatasync in [Log.Commit] returns, one for a whole batch. Everything that it
// needs is durable with it or before it: its data are in the same segment, and
// so covered by the same fdatasync, or in an older one, which was made durable
// before the next one got its name; and names are durable before a segment is
// written to. Append takes the space of the commit frame, so Commit needs none.
//
// An error that leaves the log in an unknown state poisons it: it writes nothing any more, and
// every call returns the first cause. Such errors are a failed fsync, and a write in Commit or a
// rename that fails for a lasting reason. An error that passes ([vfs.Passes]) does not: a write of
// commit frames that found no room is taken back, durably, and the transactions are refused; a
// segment that could not be started is dropped; a directory that could not be opened for its fsync
// is synced before anything is written to the segment that has its name there. A write that fails
// in Append harms nobody: the end of the log does not move, and the next Append writes over it.
//
// With Options.Sync off nothing is ever made durable, and no frame or header
// says that it is.
//
// # Giving back
//
// Segments are given up oldest first, when all transactions with data in them
// are released or aborted. That the older ones are not needed is made durable
// (a mark, or the header of the next segment) before the first of them is
// removed or renamed. So recovery knows which segments must be there, and of
// those that a crash brought back, that they mean nothing.
//
// # Recovery
//
// [Open] reads the newest segment first, for the mark, then all from the marked one
// on. A transaction is committed if it has a commit frame; the commit frames give the order. Where
// a frame does not fit, this decides:
//
//   - If it is proven that the place was durable, it is damage, and Open fails
//     with a *zodb.CorruptError and changes nothing. Proof is the flag in the
//     header of the next segment, or the durable position of any valid frame
//     of the same segment, also of one that lies behind the bad place.
//   - Else it is the torn end of the log, of which nothing was acknowledged: the
//     log is cut there, and nothing behind the cut is taken, valid or not,
//     because a disk may write parts of an unsynced batch in any order. The
//     last batch before a crash has no frame behind it that could prove it durable,
//     so damage to that one batch is taken for a torn end; the log says in
//     [Cut] how many commit frames it found behind the cut.
//
// A segment that should be there and is not is damage. So is a header that
// does not fit: headers are made durable before a segment gets its name. If the
// newest header says that the log was written with Sync off, segments before the
// last gap count as given up ([Recovered].Freed names the last transaction whose
// data went with them). And with Sync off Open takes a newest segment with neither
// a valid header nor a valid frame for one that is not there. An error while
// reading is never taken for a bad frame.
//
// Then Open makes durable the bytes that it has read, since they may have been in the page cache
// only. Bytes that no frame proves durable are written once more, unchanged, because after a failed
// fsync the next one proves nothing. Else it writes nothing. The first [Log.Append] starts a new
// segment, whose header says where the one before ends. So nothing is ever written behind a torn
// end, and the next recovery does not look at it. Until that segment has its name, the same log is
// there: however often it is opened, it does not grow, and transactions that were released
// meanwhile are released again.
//
// # Locks
//
// Lock order: syncMu, mu, segMu, segment.use. syncMu is held over every fsync
// and every change of the current segment, so that two goroutines never share
// the outcome of one fsync (the operating system reports a failure only once).
// mu guards the state and the end of the log and is held while frames are
// written, not while they are synced. segMu guards the table of segments for
// readers; use keeps a file open while somebody reads from it.
package journal
