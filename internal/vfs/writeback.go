package vfs

import "io"

// Writeback has the system write a growing file to the disk bit by bit, so that the Sync at its end
// has little left to wait for. It is used by one goroutine at a time.
type Writeback struct {
	File File  // which grows by writes at its end, from its beginning on
	Step int64 // in bytes

	size, started int64
}

var _ io.Writer = (*Writeback)(nil)

// Write implements [io.Writer].
func (w *Writeback) Write(b []byte) (int, error) {
	n, err := w.File.Write(b)
	w.size += int64(n)
	if unsynced := w.size - w.started; err == nil && unsynced >= w.Step {
		w.File.StartSync(w.started, unsynced)
		w.started = w.size
	}
	return n, err
}
