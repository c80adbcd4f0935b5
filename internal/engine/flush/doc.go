// Package flush turns committed transactions into files: the worker, and the modes that
// stop and follow it.
//
// [Worker] is the one goroutine that writes to the store. A table determines its next job, see
// situation.Job in package state. A flush is in flush.go, with the order that recovery relies on.
// [Snapshots] enters and leaves snapshot mode: the worker enters, and anybody may leave, under
// a separate lock. [Tally] keeps the flushed counts in misc/counts.
package flush
