// Package packing removes garbage beside commits and loads, and brings back files that
// were put aside. It reads through package read, past the cache; the names of files are
// the store's business, the format of the plan is package pack's.
//
// A pack goes through these states, forward only, which its plan keeps (see plan):
//
//   - marking: the marker goes from the root and from new objects to all that is reached, and
//     the guard marks the objects that transactions touch meanwhile;
//   - condemned: everything unmarked is going to go; the plan is being written, and the
//     guard spares the objects that transactions touch;
//   - planned: the plan is durable in misc; from now on an open carries it out;
//   - sweeping: files are removed, in steps of the worker;
//   - ending: carried out, or given up; the plan is removed, durably;
//   - ended: the guard lets everything pass.
package packing
