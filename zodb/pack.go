package zodb

import (
	"time"
)

// PackOptions are the options of a pack. The zero value packs to min_pack_time
// before now and removes unreachable objects.
type PackOptions struct {
	// Time is the pack time: revisions that were current then are kept, and all later ones. Zero
	// means now. It is never later than min_pack_time before now, nor than the last transaction;
	// with min_pack_time 0 it may be just after that one.
	Time time.Time `json:"time,omitzero"`
	// NoGC keeps objects that nothing refers to, unless they were deleted before the
	// pack time: an external collector does that.
	NoGC bool `json:"no_gc,omitempty"`
	// DryRun removes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// SkipBroken goes on if there are objects that cannot be read. All that they
	// could refer to is kept, which means every object.
	SkipBroken bool `json:"skip_broken,omitempty"`
	// IgnoreSpace has the reserve of a full disk taken although the pack frees nothing at once.
	IgnoreSpace bool `json:"ignore_space,omitempty"`
	// References writes misc/refs, the index of the references to each object, as a by-product. It
	// means nothing with NoGC or DryRun, because then the references are not all read. If it fails,
	// the pack goes on without.
	References bool `json:"references,omitempty"`
}

// PackResult counts the work of a pack or, with DryRun, the work that it would do.
type PackResult struct {
	Threshold TID `json:"threshold"` // to when was packed; 0: there was nothing to pack
	// Stamp is in the names of files that were put aside; 0: nothing is put aside.
	Stamp int64 `json:"stamp,omitempty"`
	// Kept objects and revisions are those that were looked at because they stay.
	KeptObjects   int64 `json:"kept_objects"`
	KeptRevisions int64 `json:"kept_revisions"`
	// KeptNewest of the objects stay for one reason: the two newest transactions wrote them. These
	// are older than the time to pack to that was asked for, and nothing else refers to the objects.
	KeptNewest int64 `json:"kept_newest,omitempty"`
	// Of these the next ones are gone now. Transactions are not known of a dry run.
	Objects      int64 `json:"objects"`
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"` // of files
	// Dangling objects are those that something refers to and that do not exist. A
	// transaction that was refused for that while the pack marked counts as something.
	Dangling int64 `json:"dangling"`
	// Broken objects were skipped; the first hundred are listed.
	Broken     int64        `json:"broken"`
	BrokenList []PackBroken `json:"broken_list,omitempty"`
	// Purged files were put aside by earlier packs, and are gone for good.
	Purged int64 `json:"purged"`
	// FreedBytes is the space on the disk that the file system has got from this pack by its end: from
	// files that it removed, from those that earlier packs had put aside, and, where space is short,
	// from bundles that were written again. That of small files is estimated.
	FreedBytes int64 `json:"freed_bytes"`
	// LaterBytes is the space of this pack's removals that comes back later: that of files with the
	// first pack or reclaim after LaterFrom, and that inside bundles when these are written again. Of a
	// dry run it is all that delay_delete would keep.
	LaterBytes int64 `json:"later_bytes,omitempty"`
	// LaterFrom is when delay_delete has passed; zero: it is in the background from now on.
	LaterFrom time.Time `json:"later_from,omitzero"`
	// Classes are the unreachable objects by class, largest first; of a dry run only.
	Classes []PackClass `json:"classes,omitempty"`
	// OldRevisions and OldBytes are of objects that stay; of a dry run only.
	OldRevisions int64 `json:"old_revisions,omitempty"`
	OldBytes     int64 `json:"old_bytes,omitempty"`
	// Removed is the space of the removals of earlier packs; of a dry run only.
	Removed *Removed `json:"removed,omitempty"`
}

// PackClass counts the objects of one class that a pack would remove.
type PackClass struct {
	Class     string `json:"class"`
	Objects   int64  `json:"objects"`
	Revisions int64  `json:"revisions"`
	Bytes     int64  `json:"bytes"`
}

// PackBroken is an object that a pack could not read.
type PackBroken struct {
	OID    OID    `json:"oid"`
	Reason string `json:"reason"`
}

// PackProgress is how far a pack has come.
type PackProgress struct {
	// Phase is its current step: “waiting for transactions”, “listing”, “marking”,
	// “planning”, “removing objects”, “removing transactions”, “removing deleted
	// files”; empty: there is no pack.
	Phase string    `json:"phase"`
	Since time.Time `json:"since"` // when this phase began
	Begun time.Time `json:"begun"` // when the pack began
	Done  int64     `json:"done"`  // in this phase
	Total int64     `json:"total"` // 0: not known
	// Rate is the number of items a second, since this phase began.
	Rate float64 `json:"rate"`
	// LeftSeconds is how long this phase will take at that rate; 0: not known.
	LeftSeconds float64 `json:"left_seconds,omitempty"`
	// Waiting names the condition that it waits for: the end of snapshot mode, with the code and
	// the time of its beginning, or something that is lacking at the moment: room on the disk,
	// descriptors, memory. Empty: it does not wait.
	Waiting string `json:"waiting,omitempty"`
}

// UndeleteResult counts the files brought back.
type UndeleteResult struct {
	Objects      int64 `json:"objects"` // their pointers
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Blobs        int64 `json:"blobs"`
	// Skipped files were not brought back, because there are others of that name.
	Skipped int64 `json:"skipped"`
	// NoBlob revisions were not brought back, because the files of their blobs are missing, as in a
	// HOME that was restored from a backup, or after a purge that was interrupted. They are gone for good.
	NoBlob int64 `json:"no_blob"`
}
