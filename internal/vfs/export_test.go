package vfs

// HoldBackAnyway is HoldBack whatever the file system.
func HoldBackAnyway(f FS, prefix string) { f.(*osFS).holdBack(prefix) }

// MaxHeld is how many files are kept at most.
const MaxHeld = maxHeld
