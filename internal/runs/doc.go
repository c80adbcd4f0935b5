// Package runs keeps the records of jobs: of check, backup, pack, reclaim and verify, the last run, the
// last good one, and the one under way. Damage that any of them found in a storage is remembered, in the
// record of check, until a later check of everything finds none.
//
// A record is a file of JSON in HOME/misc/runs, or, of jobs that know no HOME, in runs in the
// repository. It is not a part of the database: it is in no backup, its absence means nothing, and
// no job depends on it. It is replaced as a whole, by one process at a time. The job under way holds
// flock(2) on a file of its own, which the kernel gives back whatever ends the process; a record of a
// beginning without that lock is one of a run that was interrupted.
//
// The file reserve keeps room on the disk: a record of damage for which there is no other takes it. The
// next run, or the start of a server, makes it again.
//
//	run, err := runs.Begin(runs.Options{FS: home, Dir: runs.InHome, Job: runs.Backup, …})
//	…
//	err = run.End(runs.Result{Failed: "no space left on device"})
package runs
