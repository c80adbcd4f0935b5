package zeo

import (
	"slices"
	"strings"
)

// MergeableClasses returns the default of Options.MergeUndo: BTrees, with their
// sets, buckets and lengths, and classes, each as module.name, or module.* for all of
// a module and of those in it. Python's client merges two changes of an object if its
// class has _p_resolveConflict, which nobody here can find out. One that has not, or
// that cannot merge the two, ends the transaction with a ConflictError.
func MergeableClasses(classes []string) func(class string) bool {
	return func(class string) bool {
		return strings.HasPrefix(class, "BTrees.") || slices.ContainsFunc(classes, func(pattern string) bool {
			prefix, all := strings.CutSuffix(pattern, "*")
			return all && strings.HasPrefix(class, prefix) || class == pattern
		})
	}
}
