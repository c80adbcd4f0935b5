package engine

import "sync"

// answers are the operations of the control socket that the process answers which has the storage open.
type answers struct {
	mu  sync.Mutex
	ops map[string]func(arguments []byte) ([]byte, error) // guarded by mu
}

func (a *answers) find(op string) func([]byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ops[op]
}

// Answer has the control socket answer an operation with the JSON that f returns. f gets the
// arguments, JSON, too, or nothing where there are none. f is called concurrently, must be quick, and may be called until Close returns. Tools are told
// zodb.ErrUnsupported where nobody answers.
func (s *Storage) Answer(op string, f func(arguments []byte) ([]byte, error)) {
	a := &s.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ops == nil {
		a.ops = make(map[string]func([]byte) ([]byte, error))
	}
	a.ops[op] = f
}
