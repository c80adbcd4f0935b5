package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrNotRunning is returned by Dial when no storage listens at that HOME.
var ErrNotRunning = errors.New("no storage is running there")

// ErrConnect is matched by errors of Dial about a socket that is there and cannot be reached.
var ErrConnect = errors.New("whether a storage runs there cannot be seen: connect to its control socket")

// RefusedError is the answer of a storage that refused or failed a request.
type RefusedError struct {
	Reason string
	// Causes are errors of the same types and values as at the other end: *fs.PathError,
	// syscall.Errno, *zodb.BrokenError, and sentinels such as vfs.ErrLocked and zodb.ErrDiskFull.
	Causes []error
}

func (e *RefusedError) Error() string { return "the running storage says: " + e.Reason }

// Unwrap returns the causes.
func (e *RefusedError) Unwrap() []error { return e.Causes }

// Client is a conversation with a running storage. Calls may be concurrent and
// are worked off one after the other.
type Client struct {
	home     string
	patience time.Duration // for requests that are answered at once

	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// answerTime is how long a process may take to show that it answers, and to describe
// itself.
const answerTime = 10 * time.Second

// SilentError tells that a process has HOME open and does not answer. It matches
// os.ErrDeadlineExceeded.
type SilentError struct {
	Home string
	For  time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("the process that has %s open did not answer for %v: it may be out of file descriptors or memory, stopped, or stuck; see its log and its limits, and restart it if it stays so", e.Home, e.For)
}

// Is reports whether the error is one of a timeout.
func (e *SilentError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// Dial connects to the storage that runs at home, and sees to it that it answers.
// Errors: ErrNotRunning, *SilentError, that of ctx.
func Dial(ctx context.Context, home string) (*Client, error) { return dial(ctx, home, answerTime) }

func dial(ctx context.Context, home string, patience time.Duration) (*Client, error) {
	address, release, err := shortAddress(filepath.Join(home, "misc"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil, ErrNotRunning
		}
		return nil, err
	}
	defer release()
	var d net.Dialer
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.DialContext(soon, "unix", address)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case soon.Err() != nil || errors.Is(err, syscall.EAGAIN): // as many wait there as fit
		return nil, &SilentError{home, patience}
	default:
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	c := &Client{home: home, patience: patience, conn: conn, in: bufio.NewReader(conn)}
	// A process that listens may never accept. Any answer will do: those from before there was a
	// ping refuse it.
	if _, err := c.callSoon(ctx, request{Op: "ping"}); err != nil && !isRefused(err) {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func isRefused(err error) bool {
	_, refused := errors.AsType[*RefusedError](err)
	return refused
}

// Close ends the conversation, and with it a snapshot that was entered with hold.
// It does nothing if the conversation is over.
func (c *Client) Close() error {
	if err := c.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Enter puts the storage into snapshot mode under a code. With hold, the
// storage leaves it by itself when this conversation ends.
func (c *Client) Enter(ctx context.Context, code string, hold bool) error {
	_, err := c.call(ctx, request{Op: "enter", Code: code, Hold: hold})
	return err
}

// Leave ends the snapshot mode that was entered under that code.
func (c *Client) Leave(ctx context.Context, code string) error {
	_, err := c.call(ctx, request{Op: "leave", Code: code})
	return err
}

// End is Leave for the holder of the sublock: when it returns, nobody else can take A for a
// snapshot any more, and the storage leaves the mode once the sublock was given back. It looks at
// once when this conversation ends.
func (c *Client) End(ctx context.Context, code string) error {
	_, err := c.call(ctx, request{Op: "end", Code: code})
	return err
}

// Flush returns when all that was committed before is in A, or in B during a snapshot.
func (c *Client) Flush(ctx context.Context) error {
	_, err := c.call(ctx, request{Op: "flush"})
	return err
}

// Status returns the storage's description of itself, one JSON object. Errors: also
// *SilentError, after which the conversation is over.
func (c *Client) Status(ctx context.Context) ([]byte, error) {
	return c.callSoon(ctx, request{Op: "status"})
}

// Ask asks for an operation without arguments that a healthy process answers at once, with JSON.
// Errors: zodb.ErrUnsupported if the process does not know it; *SilentError, after which the
// conversation is over.
func (c *Client) Ask(ctx context.Context, op string) ([]byte, error) {
	return c.callSoon(ctx, request{Op: op})
}

// lastWords is how long Maintain waits for the storage to give up its work.
const lastWords = time.Minute

// Maintain asks for an operation of Storage.Maintenance, whose arguments and
// result are JSON. When ctx ends, or the conversation, the storage gives it up.
// Then, and with a *RefusedError, the result reports the work done until then, nil if the storage
// does not say. After the end of ctx the conversation is over.
func (c *Client) Maintain(ctx context.Context, op string, arguments any) ([]byte, error) {
	b, err := json.Marshal(arguments)
	if err != nil {
		return nil, err
	}
	r, err := c.ask(ctx, request{Op: op, Arguments: b}, c.hangUp)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return r.Result, err
}

// hangUp makes the storage give up the request, and still listens for its answer, for a while.
func (c *Client) hangUp() {
	time.AfterFunc(lastWords, func() { c.conn.Close() })
	if err := c.conn.(*net.UnixConn).CloseWrite(); err != nil {
		c.conn.Close()
	}
}

// call sends a request and waits for its answer. When ctx ends first, the conversation is over: the
// storage gives up the request.
func (c *Client) call(ctx context.Context, q request) ([]byte, error) {
	r, err := c.ask(ctx, q, func() { c.conn.Close() })
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return r.Result, err
}

// callSoon is call for requests that a healthy process answers at once.
func (c *Client) callSoon(ctx context.Context, q request) ([]byte, error) {
	soon, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	b, err := c.call(soon, q)
	if ctx.Err() == nil && soon.Err() != nil && err != nil {
		err = &SilentError{c.home, c.patience}
	}
	return b, err
}

// ask sends a request and waits for its answer. When ctx ends first, it calls end,
// which has to end the waiting.
func (c *Client) ask(ctx context.Context, q request, end func()) (r response, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop := context.AfterFunc(ctx, end)
	defer stop()
	line, err := json.Marshal(q)
	if err == nil {
		_, err = c.conn.Write(append(line, '\n'))
	}
	var answer []byte
	if err == nil {
		answer, err = c.in.ReadBytes('\n')
	}
	if err == nil {
		err = json.Unmarshal(answer, &r)
	}
	switch {
	case err != nil:
		return response{}, fmt.Errorf("talk to the running storage: %w", err)
	case !r.OK:
		return r, refused(r)
	}
	return r, nil
}
