// Package flush turns committed transactions into files: the worker, and what stops and
// follows it.
//
// [Worker] is the one goroutine that writes to the store. What it does next is a table, see
// situation.Job in package state; a flush is in flush.go, which says on what order recovery relies.
// [Snapshots] enters and leaves snapshot mode: the worker enters, and anybody may leave, with
// a lock of its own. [Tally] keeps in misc/counts how much is flushed.
package flush
