// Package pack decides which revisions a pack keeps and which it removes, and keeps this
// plan in a file. It removes nothing itself: that is the business of the engine.
//
// The parts: [Policy] says how far back the history of an object is kept.
// [Marker] finds out which objects can be reached, and which revisions of them go.
// [Writer] and [Read] are the plan, which is whole on the disk before the first
// file is touched, so that a pack that was interrupted can go on.
//
// Memory: a Marker has three bit sets over the oids, and a work list of at most
// 8 MiB; the engine has four more bit sets. For 10 million objects that were
// numbered one after the other these are some 17 MB.
package pack
