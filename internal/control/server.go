package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// socketName is the name of the socket relative to HOME.
const socketName = "misc/control"

// maxRequest is the longest request line in bytes.
const maxRequest = 64 << 10

// Storage is the part of a storage that its server needs. All methods may be
// called concurrently.
type Storage interface {
	EnterSnapshot(ctx context.Context, code string) error
	LeaveSnapshot(ctx context.Context, code string) error
	// EndSnapshot is LeaveSnapshot for an owner that holds the sublock.
	EndSnapshot(ctx context.Context, code string) error
	Flush(ctx context.Context) error
	// AbandonSnapshot leaves the snapshot as soon as the sublock is free, if code is
	// still in force, or has been ended.
	AbandonSnapshot(code string)
	// StatusJSON describes the storage as one JSON object.
	StatusJSON() ([]byte, error)
	// Maintenance does an operation that this package does not know, which takes
	// long. With an error the result, if any, reports the work done until then.
	Maintenance(ctx context.Context, op string, arguments []byte) (result []byte, err error)
}

type request struct {
	Op   string `json:"op"`
	Code string `json:"code,omitempty"`
	Hold bool   `json:"hold,omitempty"`
	// Arguments of an operation of Storage.Maintenance.
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

type response struct {
	OK     bool            `json:"ok,omitempty"`
	Error  string          `json:"error,omitempty"`
	Causes []cause         `json:"causes,omitempty"`
	Locked bool            `json:"locked,omitempty"` // for tools of earlier releases: a lock is held
	Full   bool            `json:"full,omitempty"`   // for them: there is no room on the disk
	Result json.RawMessage `json:"result,omitempty"`
}

// Server answers tools. It is closed by Close, which waits for all of its goroutines.
type Server struct {
	storage  Storage
	log      *slog.Logger
	listener net.Listener
	ctx      context.Context
	stop     context.CancelFunc
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// Serve listens on the socket of the HOME that f is the root of. The caller
// holds misc/lock, so that a socket that is there already is a dead one.
func Serve(f vfs.FS, s Storage, log *slog.Logger) (*Server, error) {
	if err := Remove(f); err != nil {
		return nil, fmt.Errorf("remove the old control socket: %w", err)
	}
	address, release, err := shortAddress(f.Path("misc"))
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.Listen("unix", address)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	// The address may go through a directory that is open only now: the name is
	// removed by Close.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	// Of a tool that root runs, so that the owner of HOME can connect.
	if err := vfs.SameOwner(f, socketName, "misc"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return serveOn(l, s, log), nil
}

func serveOn(l net.Listener, s Storage, log *slog.Logger) *Server {
	ctx, stop := context.WithCancel(context.Background())
	srv := &Server{storage: s, log: log, listener: listen.Steady(l, log), ctx: ctx, stop: stop, conns: make(map[net.Conn]struct{})}
	srv.wait.Go(func() { listen.Each(srv.listener, log, srv.welcome) })
	return srv
}

// Remove removes the control socket of the HOME that f is the root of, if there is
// one, and nothing else than a socket. The caller holds misc/lock.
func Remove(f vfs.FS) error {
	info, err := f.Stat(socketName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is not a socket; it was not touched: move it away", f.Path(socketName))
	}
	if err == nil {
		err = f.Remove(socketName)
	}
	return err
}

// Close ends all conversations and waits for them. The socket file is left to the caller, which
// knows whether HOME is still the same directory.
func (s *Server) Close() error {
	s.stop()
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
	return err
}

// welcome starts a conversation.
func (s *Server) welcome(c net.Conn) {
	s.mu.Lock()
	closed := s.ctx.Err() != nil
	if !closed {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		c.Close()
		return
	}
	s.wait.Go(func() { s.converse(c) })
}

func (s *Server) converse(c net.Conn) {
	held, ended := "", ""
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		c.Close()
		if ended != "" && s.ctx.Err() == nil {
			s.storage.AbandonSnapshot(ended)
		}
		if held != "" && s.ctx.Err() == nil {
			s.log.Warn("the tool that entered snapshot mode is gone", "code", held)
			s.storage.AbandonSnapshot(held)
		}
	}()
	// A tool that goes away while its request is worked on cancels the request. So
	// does one that only stops writing, and that one still gets the answer.
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	lines := make(chan []byte)
	s.wait.Go(func() {
		defer cancel()
		defer close(lines)
		sc := bufio.NewScanner(c)
		sc.Buffer(make([]byte, 0, 4096), maxRequest)
		for sc.Scan() {
			select {
			case lines <- append([]byte(nil), sc.Bytes()...):
			case <-s.ctx.Done():
				return
			}
		}
	})
	defer c.Close()
	encoder := json.NewEncoder(c)
	for line := range lines {
		var q request
		var r response
		if err := json.Unmarshal(line, &q); err != nil {
			r.Error = "bad request: " + err.Error()
		} else {
			r = s.answer(ctx, q)
		}
		if r.OK && q.Op == "enter" && q.Hold {
			held = q.Code
		}
		if r.OK && (q.Op == "leave" || q.Op == "end") && q.Code == held {
			held = ""
		}
		if r.OK && q.Op == "end" {
			ended = q.Code
		}
		if err := encoder.Encode(r); err != nil {
			if r.OK && q.Op == "enter" && !q.Hold { // nobody knows that it was entered
				s.storage.AbandonSnapshot(q.Code)
			}
			return
		}
	}
}

func (s *Server) answer(ctx context.Context, q request) response {
	var err error
	var result []byte
	switch q.Op {
	case "enter":
		err = s.storage.EnterSnapshot(ctx, q.Code)
	case "leave":
		err = s.storage.LeaveSnapshot(ctx, q.Code)
	case "end":
		err = s.storage.EndSnapshot(ctx, q.Code)
	case "flush":
		err = s.storage.Flush(ctx)
	case "ping": // that this process answers
	case "status":
		result, err = s.storage.StatusJSON()
	default:
		result, err = s.storage.Maintenance(ctx, q.Op, q.Arguments)
	}
	if err != nil && s.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = zodb.ErrClosed // not by the tool
	}
	if err != nil {
		return response{Error: err.Error(), Causes: causesOf(err), Locked: errors.Is(err, vfs.ErrLocked), Full: errors.Is(err, zodb.ErrDiskFull), Result: result}
	}
	return response{OK: true, Result: result}
}
