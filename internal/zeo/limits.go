package zeo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// budgets are the resources that all connections of a server share. A goroutine takes from them in
// this order, and from none twice with waiting: frames, values, places, files, reads, answers.
// From the others it takes without waiting. So each waiter waits for a goroutine that goes
// on.
type budgets struct {
	frames    *budget.Pool // bytes of messages that do not fit into the buffer of a connection
	values    *budget.Pool // bytes of memory of decoded values, of unusual requests
	places    *budget.Pool // requests that are worked off beside the readers of connections
	files     *budget.Pool // blobs that are sent or received
	spools    *budget.Pool // large transactions: each has two files at most, see parked
	reads     *budget.Pool // requests that are reading from a storage
	answers   *budget.Pool // bytes of answers that are being made
	queues    *budget.Pool // bytes that wait to be read by clients
	steps     *budget.Pool // bytes of memory of open transactions
	iterators *budget.Pool // bytes of memory of iterators
	early     *wire.Early  // bytes that were read too early, with a blob
	large     largeTurn    // of the transaction that takes more steps than it leaves for others

	message   int64 // bytes of the largest message
	values1   int   // bytes that the values of a usual request take
	valuesMax int   // bytes that those of any may take
	read      int64 // bytes of the record for which a read of reads is meant
	firstRead int   // bytes that are expected of a record before any was read: two at once are an eighth of the memory
	spool     int64 // bytes of records that an open transaction keeps in memory
	kept      int   // bytes of the largest buffer that an outbox keeps for later
	sure      int64 // bytes of each pool that are sure for a connection
}

// shares are the parts of one connection.
type shares struct {
	frames, values, places, files, spools, reads, answers, queues, steps, iterators *budget.Share
}

// newBudgets gives clients seven eighths of the memory. The rest is for the storages'
// caches, and for the garbage that is there before it is collected.
func newBudgets(l Limits) *budgets {
	part := func(of int64) *budget.Pool { return budget.NewPool(l.Memory / of) }
	b := &budgets{
		frames: part(4), values: part(32), answers: part(8), queues: part(8), iterators: part(64),
		steps:     budget.NewPool(l.Memory / 16 * 5),
		places:    budget.NewPool(max(l.Memory/64/placeMemory, 8)),
		files:     budget.NewPool(max(min(l.Files/8, l.Memory>>23), 4)),
		spools:    budget.NewPool(max(min(l.Files/32, l.Memory>>20), 8)),
		reads:     budget.NewPool(max(8, min(l.Memory>>23, 128))),
		early:     wire.NewEarly(l.Memory >> 8),
		values1:   16 << 10,
		valuesMax: int(min(l.Memory/64, 16<<20)),
		spool:     SpoolSize(l.Memory),
	}
	b.read = max(l.Memory/8/max(8, min(l.Memory>>23, 128)), 1)
	b.firstRead = int(l.Memory / 16)
	perConnection := l.Memory / 8 / int64(max(l.Connections, 1))
	b.sure = max(2<<10, min(perConnection/16, 64<<10))
	b.kept = int(max(16<<10, min(perConnection, 1<<20)))
	b.valuesMax = int(min(int64(b.valuesMax), b.values.Share(0).Most()))
	b.message = min(l.Message, b.frames.Share(b.sure).Most())
	return b
}

// connectionMemory is how many bytes of memory there have to be for each connection that
// registers: its buffer, the stacks of its goroutines, and the state of TLS. Four times as
// many for one that has not: there need not be many of these at once.
const connectionMemory = 96 << 10

// However little memory there is, there may be so many connections.
const (
	fewConnections  = 16
	fewUnregistered = 100
)

// placeMemory is how many bytes of memory a request takes that waits beside the reader: its
// goroutine, and its content. The first one of each connection is in connectionMemory.
const placeMemory = 8 << 10

// SpoolSize returns how many bytes of records an open transaction may keep in memory, out
// of all that the process may have.
func SpoolSize(memory int64) int64 { return max(64<<10, min(memory>>8, 4<<20)) }

func (b *budgets) shares() shares {
	return shares{
		frames: b.frames.Share(b.sure), values: b.values.Share(0), places: b.places.Share(1), files: b.files.Share(0), spools: b.spools.Share(0), reads: b.reads.Share(0),
		answers: b.answers.Share(b.sure), queues: b.queues.Share(b.sure), steps: b.steps.Share(max(2*b.sure, parkedMemory)), iterators: b.iterators.Share(b.sure / 2),
	}
}

// scarce is the error for a client that asks for more memory than there is. The class is
// one that clients take for a failure of this request.
func (c *conn) scarce(what string) error {
	c.srv.o.Observer.Refused("memory")
	return &pythonError{classStorage, wire.Tuple{what + ": the server has no memory for that, since memory-limit bounds the memory of clients; ask for less, or later"}}
}

// making gives f memory for an answer, and more while there is more. If there is none f
// reports errMore, gives up its memory, and is called again when there is enough:
// meanwhile it holds nothing.
func (c *conn) making(ctx context.Context, what string, f func(b *bill) error) error {
	share := c.has.answers
	for n := int64(firstAnswer); ; n *= 4 {
		n = min(n, share.Most())
		if err := c.takeAnswer(ctx, n); err != nil {
			return err
		}
		b := &bill{share: share, held: n, left: n}
		err := f(b)
		share.Give(b.held)
		if !errors.Is(err, errMore) {
			return err
		}
		if b.held >= share.Most() {
			return c.scarce(fmt.Sprintf("%s is longer than %d bytes", what, b.held))
		}
		n = max(n, b.held)
	}
}

// firstAnswer is the memory in bytes that an answer gets first.
const firstAnswer = 16 << 10

// errMore is an answer for which the memory that it was given is not enough.
var errMore = errors.New("more memory is needed for the answer")

// bill counts the memory of an answer.
type bill struct {
	share      *budget.Share
	held, left int64
}

// charge counts n bytes of data and their overhead.
func (b *bill) charge(n int) error {
	const around = 512
	b.left -= 3*int64(n) + around // itself, its values, and encoded
	for b.left < 0 {
		more := min(b.held, b.share.Most()-b.held)
		if more <= 0 || !b.share.Try(more) {
			return errMore
		}
		b.held, b.left = b.held+more, b.left+more
	}
	return nil
}

// The memory of a step of a transaction, in bytes, beside its record: in the connection,
// the engine and its vote.
const (
	writeMemory = 280
	checkMemory = 192
)

// memory returns the bytes that a step takes until the end of the transaction.
func (st *step) memory() int64 {
	if st.kind == stepCheck {
		return checkMemory
	}
	return writeMemory
}

// frameGate lets the large messages of a connection in.
type frameGate struct {
	c     *conn
	begun time.Time

	arrived int64 // bytes of the message that is coming
}

// slowest is how many bytes of a large message have to come in a second, once others wait
// for the memory that it takes.
const slowest = 64 << 10

// Enter waits for the memory of a message.
func (g *frameGate) Enter(size int64) error {
	c := g.c
	g.begun, g.arrived = c.srv.o.Clock(), 0
	if c.has.frames.Try(size) {
		return nil
	}
	c.out.kick() // its answers do not wait with it
	c.sends.work()
	err := c.has.frames.Take(c.ctx, size)
	c.sends.came(c.srv.o.Clock(), 0)
	return err
}

// Arrived gives the next part of a message time to come.
func (g *frameGate) Arrived(n, _ int64) error {
	c := g.c
	now := c.srv.o.Clock()
	c.sends.came(now, n-g.arrived)
	g.arrived = n
	if took := now.Sub(g.begun); took > stallTime && c.srv.budgets.frames.Waiting() > 0 && n < int64(took.Seconds())*slowest {
		c.srv.o.Observer.Refused("memory")
		return fmt.Errorf("a message of which %d bytes came in %s, while others wait for the memory", n, took.Round(time.Second))
	}
	return c.nc.SetReadDeadline(now.Add(stallTime))
}

// Leave gives the memory back.
func (g *frameGate) Leave(size int64) {
	g.c.has.frames.Give(size)
	// If that fails the connection is closed, which the next read tells.
	_ = g.c.nc.SetReadDeadline(time.Time{})
}

// portion is memory for one answer that is held until it is in the outbox.
type portion struct {
	c *conn
	n int64
}

// try makes it n bytes if there are as many; a larger n than anybody can have counts as
// that.
func (k *portion) try(n int64) bool {
	share := k.c.has.answers
	n = min(n, share.Most())
	if n <= k.n {
		return true
	}
	if !share.Try(n - k.n) {
		return false
	}
	k.n = n
	return true
}

// take is try, and waits. It gives its portion back before.
func (k *portion) take(ctx context.Context, n int64) error {
	k.end()
	n = min(n, k.c.has.answers.Most())
	if err := k.c.takeAnswer(ctx, n); err != nil {
		return err
	}
	k.n = n
	return nil
}

func (k *portion) end() {
	k.c.has.answers.Give(k.n)
	k.n = 0
}

// reading runs f, which reads from the storage, when it is its turn.
func (c *conn) reading(ctx context.Context, f func()) error { return c.readingMany(ctx, 1, f) }

// readingUnknown is reading for a record for which there is no memory yet: all that are read at once have no more than
// an eighth of the memory, if they are as long as the last ones. Who waits here waits for the disk, not for clients.
func (c *conn) readingUnknown(ctx context.Context, f func()) error {
	turns := c.unknownTurns()
	if turns > 1 {
		// One of each connection waits, so that one that asks for many keeps others waiting for one at a time.
		select {
		case c.unknown <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-c.unknown }()
		turns = c.unknownTurns()
	}
	return c.readingMany(ctx, turns, f)
}

// unknownTurns returns how many reads one counts for whose record is not known.
func (c *conn) unknownTurns() int64 {
	turns := 1 + (int64(c.hub.largeOnes.unknown())-1)/c.srv.budgets.read
	return max(1, min(turns, c.has.reads.Most()))
}

func (c *conn) readingMany(ctx context.Context, turns int64, f func()) error {
	if err := c.has.reads.Take(ctx, turns); err != nil {
		return err
	}
	defer c.has.reads.Give(turns)
	f()
	return nil
}

// takeValues waits for the memory of the values in a request of n bytes that are more than
// usual.
func (c *conn) takeValues(n int) error {
	values := int64(min(wire.MemoryFor(n), c.srv.budgets.valuesMax))
	c.out.kick()
	if err := c.has.values.Take(c.ctx, values); err != nil {
		return err
	}
	c.values = values
	return nil
}

func (c *conn) giveValues() {
	c.has.values.Give(c.values)
	c.values = 0
}

// noFile is the error for a client if there is no file for its request.
func (c *conn) noFile(what, files string) error {
	c.srv.o.Observer.Refused("files")
	return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("%s: the server may open no more files for %s at present; try again later, or raise its limit of open files", what, files)}}
}

// fileTime is how long an upload waits for a file: transfers of others end by then, or do
// not end.
const fileTime = 20 * time.Second
