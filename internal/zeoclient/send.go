package zeoclient

import (
	"io"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

const (
	// lazyBytes is how much may wait before it is written without being asked for.
	lazyBytes = 64 << 10
	// crowdBytes is how much may wait for somebody else's write before the
	// next one has to wait too.
	crowdBytes = 1 << 20
)

// sender collects messages while a write is under way, and sends them with the next.
type sender struct {
	w io.Writer

	mu      sync.Mutex
	written sync.Cond // of mu: waiting was taken, or err was set
	waiting []byte    // guarded by mu
	spare   []byte    // guarded by mu: a buffer to use next
	writing bool      // guarded by mu: a goroutine is writing, and will write the waiting messages
	err     error     // guarded by mu: of a write, or why there is no use in it
}

func newSender(w io.Writer) *sender {
	s := &sender{w: w}
	s.written.L = &s.mu
	return s
}

// put appends one message, and sees to it that it is written if flush says so.
// The error of f is returned and changes nothing.
func (s *sender) put(flush bool, f func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.writing && len(s.waiting) > crowdBytes {
		s.written.Wait()
	}
	if s.err != nil {
		return s.err
	}
	b, err := wire.AppendFrame(s.waiting, f)
	if err != nil {
		return err
	}
	s.waiting = b
	if !flush && len(b) < lazyBytes {
		return nil
	}
	return s.flushLocked()
}

// putFrames sends whole frames, which are the caller's again when it returns, behind all messages that
// are waiting.
func (s *sender) putFrames(frames []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && (s.writing || len(s.waiting) > 0) {
		if s.writing {
			s.written.Wait()
		} else if err := s.flushLocked(); err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	s.write(frames)
	return s.flushLocked()
}

// write writes b, while others collect messages.
func (s *sender) write(b []byte) {
	s.writing = true
	s.mu.Unlock()
	_, err := s.w.Write(b)
	s.mu.Lock()
	s.writing = false
	if err != nil && s.err == nil {
		s.err = err
	}
	s.written.Broadcast()
}

// flush writes the waiting messages, unless another goroutine is writing, which will write them
// too.
func (s *sender) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushLocked()
}

func (s *sender) flushLocked() error {
	for !s.writing && len(s.waiting) > 0 && s.err == nil {
		b := s.waiting
		s.waiting, s.spare = s.spare[:0], nil
		s.write(b)
		if cap(b) <= 2*crowdBytes {
			s.spare = b[:0]
		}
	}
	return s.err
}

// fail makes all further calls return err.
func (s *sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.written.Broadcast()
}

// cause returns why nothing can be sent any more; nil if it can.
func (s *sender) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
