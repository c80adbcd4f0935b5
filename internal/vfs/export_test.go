package vfs

// HoldBackAnyway is HoldBack on any file system.
func HoldBackAnyway(f FS, prefix string) { f.(*osFS).holdBack(prefix) }

// MaxHeld is how many files are kept at most.
const MaxHeld = maxHeld

// NoDescriptors makes held-back files go without descriptors, for that reason; nil: not any more.
func NoDescriptors(f FS, cause error) {
	h := f.(*osFS).held.Load()
	h.open = openKept
	if cause != nil {
		h.open = func(string) (int, error) { return 0, cause }
	}
}
