package doctor

// Grade says how bad a finding is.
type Grade string

// The grades, from the best one.
const (
	OK      Grade = "ok"
	Note    Grade = "note"    // worth knowing, nothing has to be done
	Warning Grade = "warning" // it works, and something may go wrong
	Fault   Grade = "fault"   // a promise does not hold, or HOME cannot be used
)

// worse orders grades.
func (g Grade) worse(than Grade) bool { return g.rank() > than.rank() }

func (g Grade) rank() int {
	switch g {
	case Note:
		return 1
	case Warning:
		return 2
	case Fault:
		return 3
	}
	return 0
}

// kind is the fixed part of a finding.
type kind struct {
	check string
	grade Grade
	means string
	do    string
}

// broken are the kinds after which serve does not start: a trial has shown that a promise does not hold.
var broken = map[string]bool{
	"rename-not-atomic": true, "rename-failed": true, "fsync-failed": true, "lock-not-exclusive": true,
	"names-changed": true, "directory-fsync-failed": true,
}

const (
	useVolume = "keep HOME on a local disk with ext4, XFS or btrfs; for a container, on a volume of such a disk"
	freeSpace = "free space: first remove old backups and other files, or enlarge the disk; then pack, which needs room itself; docs/operation.md, “A full disk”"
	packNow   = "free space: pack while there is room for it, remove old backups, or enlarge the disk; docs/operation.md, “A full disk”"
)

// kinds are all findings that are not “ok”. docs/doctor.md has the same table.
var kinds = map[string]kind{
	"version-newer": {"version", Fault, "a newer release wrote it; this program opens neither it nor a part of it, and changes nothing",
		"use the release that wrote it, or a later one; docs/upgrade.md has the way back to an older one"},
	"settings-unreadable": {"version", Fault, "no command can open HOME", "mend config/settings; each backup has a copy of it"},
	"home-unreadable":     {"home", Fault, "HOME cannot be opened as it is", "dirstorage check lists damage; dirstorage recover rolls the log forward; do not remove anything before"},
	"home-silent":         {"home", Fault, "clients wait for a process that hangs or is stopped, and no command can ask it", "see its log and its limits; restart it if it stays so"},
	"sync-off":            {"home", Warning, "filesystem.sync = 0 in config/settings: a crash of the machine may cost the database", "set it to 1, and restart the server"},
	"directory-sync-off":  {"home", Note, "posix.dirsync = 0 in config/settings: names of new files may be lost in a crash of the machine", "set it to 1, unless the file system cannot sync directories"},

	"network-file-system": {"mount", Warning, "locks and fsync are as good as the server at the other end; a lock can be lost with the connection, and times are those of its clock. " +
		"Whether an NFS server exports it with async, so that it acknowledges data which it has not written, cannot be seen from here",
		"use a local disk or a block device (iSCSI, RBD); for NFS: version 4, mounted hard, exported with sync"},
	"nfs-local-locks":      {"mount", Fault, "locks hold on this machine alone: a server on another machine could open the same HOME and destroy it", "mount it without nolock and local_lock"},
	"nfs-soft":             {"mount", Warning, "after a short outage of the NFS server writes fail, and the storage becomes read-only", "mount it hard"},
	"nfs-async":            {"mount", Warning, "fsync may return before the data are on the disk of the NFS server", "mount and export it with sync"},
	"barriers-off":         {"mount", Warning, "the cache of the disk is not flushed: a power cut may lose acknowledged transactions, unless that cache has a battery", "mount it with barriers (without nobarrier and barrier=0)"},
	"data-writeback":       {"mount", Note, "after a power cut, files that were not synced may hold foreign data; the storage syncs contents before names, so checksums and recovery find such files", "data=ordered, the default, is the better choice"},
	"no-journal":           {"mount", Warning, "the state after a power cut depends on the repair; the storage takes more care there, and two dangers remain (docs/operation.md, “Without a journal”)", "use a file system with a journal"},
	"memory-file-system":   {"mount", Fault, "everything is in memory, and gone with the next restart of the machine", useVolume},
	"overlay-file-system":  {"mount", Warning, "this is a layer of a container: the data go when the container is removed", useVolume},
	"overlay-volatile":     {"mount", Fault, "the overlay is mounted volatile: fsync does nothing, and a power cut loses acknowledged transactions", useVolume},
	"fuse-file-system":     {"mount", Warning, "a program stands between the storage and the disk; the promises are as good as that program", useVolume},
	"weak-file-system":     {"mount", Warning, "this kind of file system has neither owners nor hard links, or coarse times, and may lose files in a crash", useVolume},
	"file-system-untested": {"mount", Note, "the power-cut tests of this project ran on ext4, XFS and btrfs", "nothing; a copy of the backups on another kind of disk is wise"},
	"read-only":            {"mount", Fault, "nothing can be written: serve needs --read-only, and backups go elsewhere", "mount it read-write; if it was, dmesg names the error of the disk"},
	"spread":               {"mount", Fault, "no rename leads from one mount to another, so the storage cannot be opened for writing", "keep A, B, journal and misc on the mount of HOME"},

	"not-writable": {"owner", Fault, "this user cannot write to it, so nothing else could be tried", "run it as the owner of HOME (sudo -u USER dirstorage doctor …), or mend owner and mode"},
	"not-tried":    {"trials", Warning, "the other trials were not made", "remove the cause, and run doctor again"},

	"rename-failed":     {"rename", Fault, "files cannot be replaced: no commit can be flushed", useVolume},
	"rename-not-atomic": {"rename", Fault, "a replaced file is missing, old or doubled for a moment: a crash then loses pointers and marks", useVolume},

	"fsync-failed":           {"fsync", Fault, "the disk does not take data, or does not promise to keep them: the storage would be read-only after its first commit", "dmesg names the error of the disk; replace it, or move HOME"},
	"fsync-slow":             {"fsync", Warning, "each commit waits for one such sync; those that wait at the same time share it", "a disk with a quicker sync (an SSD with power-loss protection); other programs on this disk may be the cause"},
	"fsync-moderate":         {"fsync", Note, "each commit waits for one such sync; those that wait at the same time share it", "nothing, unless one client commits in a row: then a disk with a quicker sync"},
	"fsync-instant":          {"fsync", Note, "no disk is that quick: a battery-backed cache, or a layer (eatmydata, a virtual disk with cache=unsafe) that ignores fsync", "make sure that it is the former"},
	"directory-fsync-failed": {"fsync", Fault, "names of new files are not durable", "move HOME; or, if the file system cannot do it at all, set posix.dirsync = 0 and accept that"},

	"lock-failed":        {"lock", Fault, "without locks two servers could open one HOME and destroy it", useVolume},
	"lock-not-exclusive": {"lock", Fault, "a lock that is held can be taken again: two servers could open one HOME and destroy it", useVolume},
	"lock-not-tried":     {"lock", Note, "no other process could be started to try the lock; within this process it holds", "nothing"},

	"exchange-missing": {"exchange", Note, "restore --delta replaces a HOME by two renames: for a moment there is none, and an interrupted one has to be run again", "nothing"},
	"links-missing":    {"links", Warning, "a moving blob, or a file that a pack puts aside, has one name only, and on some file systems a power cut at that moment may lose it; cp -al, restore --delta and shared blob directories copy", useVolume},

	"names-changed": {"names", Fault, "a file is listed under another name than it was given: the storage does not find its own files", useVolume},
	"names-short":   {"names", Fault, "the names of files that a pack puts aside do not fit", useVolume},
	"names-case":    {"names", Note, "upper and lower case are the same here. Names of one database differ in more than that, and nobody has tested it", "nothing; better a file system that tells them apart"},
	"names-unicode": {"names", Note, "accented names are changed here. Names of a database are ASCII; the path of HOME may look different in listings", "give HOME a path of ASCII letters"},

	"times-refused": {"times", Fault, "time stamps cannot be set, so increments by time stamp (tar --newer-mtime, find -newer, rsync) would miss files", useVolume},
	"times-coarse":  {"times", Warning, "time stamps are coarser than a second: increments by time stamp (rsync, find -newer) may miss files", "use backup inc, which goes by transactions; or another file system"},
	"times-clock":   {"times", Warning, "the file system has another clock than this machine. The files of A bear this machine's: an increment by time stamp that takes its moment from a new file there (touch) may miss some", "set both clocks by NTP; take moments from SNAPSHOT_TIMESTAMP or misc/snapshot, or increments from backup inc"},

	"clock-behind":         {"clock", Warning, "new transactions get tids just behind the last one, and their times are wrong until the clock has caught up", "set the clock (NTP); if it is right, the last transaction came from a machine with a wrong one"},
	"clock-jumped":         {"clock", Warning, "somebody set the clock, in steps, while this ran; time stamps and tids follow it", "let NTP slew the clock (chronyd, systemd-timesyncd)"},
	"clock-unsynchronised": {"clock", Note, "the kernel does not know of a time server: times of transactions drift", "run chronyd or systemd-timesyncd, on the host of a container"},

	"space-none":    {"space", Fault, "commits are refused until there is space; nothing that was acknowledged is lost", freeSpace},
	"space-low":     {"space", Warning, "this is less than low-space, or than a tenth of the disk", packNow},
	"space-pack":    {"space", Warning, "a pack has to write the remaining members of a bundle once more before the space of the old one comes back", freeSpace},
	"space-copy":    {"space", Note, "convert, and a restore beside HOME, need as much as HOME, and restore --format twice that", "use another disk for these"},
	"space-unknown": {"space", Note, "the file system does not say how much is free: a full disk comes without a warning", "nothing"},
	"inodes-low":    {"inodes", Warning, "a file system without inodes is full, however many bytes are free; the classic formats take two and more for an object", "a file system with more inodes (mkfs -N), or the format bundled (dirstorage convert)"},
	"inodes-copy":   {"inodes", Note, "convert into a classic format, and a restore beside HOME, need about this many files", "use another disk, or the format bundled"},
	"reserve-none":  {"space", Note, "serve makes this file when there is room, so that a pack can run on a full disk", "nothing; if the server runs: " + freeSpace},

	"descriptors-few":         {"descriptors", Warning, "half of the descriptors are for connections, a quarter for bundles, an eighth for blobs: clients will be refused", "raise the limit: LimitNOFILE= of systemd, ulimit -n, --ulimit nofile= of a container"},
	"descriptors-connections": {"descriptors", Note, "half of the descriptors are for connections, so the server accepts fewer than max-connections", "raise the limit: LimitNOFILE= of systemd, ulimit -n, --ulimit nofile= of a container"},
	"memory-small":            {"memory", Warning, "the server works from 64 MiB on", "give the process, its control group or container more memory"},

	"owner-foreign":   {"owner", Warning, "the server could not open or replace these files", "as root: chown -R --reference=HOME HOME"},
	"owner-server":    {"owner", Warning, "the running server has another user than the owner of HOME: files that commands make may not be its own", "run the server as the owner of HOME, or give HOME to the user of the server (chown -R)"},
	"owner-other":     {"owner", Note, "HOME belongs to another user; commands of this user may not be able to write there", "run commands as the owner of HOME, or as root"},
	"mode-open":       {"owner", Note, "every user of this machine can read the database", "chmod o-rwx HOME, if that is not meant"},
	"leftover":        {"leftovers", Note, "an interrupted command left it; it means nothing to the database", "the next run of that command goes on with it or removes it; otherwise it can be removed while nothing runs"},
	"leftover-pack":   {"leftovers", Note, "a pack was interrupted; the next start goes on with it", "nothing; before the Python original opens HOME: dirstorage recover"},
	"leftover-bundle": {"leftovers", Warning, "a crash left bundles without all of their content; the log put their transactions again", "dirstorage check; if it is clean, misc/damaged can be removed"},
	"snapshot-left":   {"leftovers", Note, "A has been kept still, and flushes go to B", "dirstorage snapshot leave, if no backup runs"},
}
