package zeo

// sharedFrame is a frame, or several, sent once waiting up to at was. Nobody changes it until it was
// sent.
type sharedFrame struct {
	at     int
	frame  []byte
	memory int64         // charged for it
	file   *filePart     // in place of frame; nil: none
	sent   chan struct{} // closed when it is not used any more; nil: nobody asks
}

// size returns how many bytes are sent.
func (s *sharedFrame) size() int64 {
	if s.file != nil {
		return s.file.size()
	}
	return int64(len(s.frame))
}

func (s *sharedFrame) end() {
	if s.sent != nil {
		close(s.sent)
	}
}

// shareBytes is the length from which on a frame for many connections is shared by their
// outboxes, and not copied into each.
const shareBytes = 4 << 10

// sharedParts: each outbox charges the memory budget for one part in sharedParts of a
// shared frame, because others have it too.
const sharedParts = 16

// putShared adds a whole frame that others are sent too, and that nobody changes.
func (o *outbox) putShared(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return
	}
	before := len(o.waiting)
	if len(frame) < shareBytes {
		o.waiting = append(o.waiting, frame...)
		o.added(before)
		return
	}
	memory := int64(len(frame)) / sharedParts
	o.shared = append(o.shared, sharedFrame{at: before, frame: frame, memory: memory})
	o.count(int64(len(frame)), memory)
}

// putPart adds whole frames without copying them. sent is closed when they are the caller's again:
// after they were written, or because nothing is written any more.
func (o *outbox) putPart(p part, sent chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := sharedFrame{at: len(o.waiting), frame: p.frames, file: p.file, sent: sent}
	s.memory = s.size() // also of a file: what is in the memory of the kernel counts
	if o.failed != nil {
		s.end()
		return
	}
	o.shared = append(o.shared, s)
	o.count(s.memory, s.memory)
}

// memoryOf is the charge to the memory budget for something that waited.
func memoryOf(b []byte, shared []sharedFrame) int64 {
	n := int64(len(b))
	for _, s := range shared {
		n += s.memory
	}
	return n
}
