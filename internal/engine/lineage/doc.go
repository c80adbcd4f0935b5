// Package lineage finds out whether a HOME is the one that it was at the last close, or has
// been restored, copied or moved since: then transactions that clients have seen may be missing,
// and a history of its own begins. See docs/decisions/0010-histories.md.
package lineage
