// Package estimate tells, before an import, how large the result will be in each format, how long
// the import will take, and lists oddities of the source.
//
// The source is read whole, by the same code as an import reads it. Files and directories of the
// classic formats are counted exactly, because each name follows from an oid and a tid; their space
// follows from the blocks of the target's file system, which are measured there. The size of bundles
// and all times come from a sample: parts of the source, taken at even distances, are copied into a
// storage of each format in a scratch directory on the target's file system.
//
//	src := transfer.FileSource(r, blobs)
//	report, err := estimate.Of(ctx, src, estimate.Options{Directory: "/srv", Scratch: scratch, Format: "bundled"})
package estimate
