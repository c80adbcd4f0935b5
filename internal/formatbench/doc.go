// Package formatbench measures the formats against each other on a file system
// of the reader's choice. Its numbers, and the default format that follows from
// them, are in docs/formats.md. It holds a benchmark and no other code:
//
//	go test ./internal/formatbench -run '^$' -bench Formats -benchtime 1x -count 3 -timeout 1h -dir /mnt/disk
//
// For each format it puts objects into a fresh tree the way that the flusher
// does, reads some of them back, first from the disk and then from the page
// cache, and looks at every file once, as a backup tool does. Reads are only
// cold where the benchmark may drop the caches of the system, that is as root
// on Linux; otherwise those metrics are left out.
package formatbench
