package bundled

import "sync"

// frameCache keeps some frames decoded, for those who read one member after the other: a pack, a
// copy, an iteration. A frame has a dozen members. It takes one up when it is asked for the second time
// within a short while, so reads by chance leave it alone.
type frameCache struct {
	mu      sync.Mutex
	frames  [cachedFrames]cachedFrame // guarded by mu
	asked   [askedFrames]frameKey     // guarded by mu; those that were not there
	next    int                       // guarded by mu; of frames
	nextAsk int                       // guarded by mu
}

const (
	cachedFrames = 16
	askedFrames  = 32
)

// frameKey is a frame of an open bundle, whose content never changes.
type frameKey struct {
	bundle *opened
	offset int64
}

type cachedFrame struct {
	frameKey
	plain []byte // never changed
}

// get returns a frame. Nobody changes it. wanted: it is not there, and worth keeping.
func (c *frameCache) get(b *opened, offset int64) (plain []byte, wanted bool) {
	key := frameKey{b, offset}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.frames {
		if c.frames[i].frameKey == key {
			return c.frames[i].plain, false
		}
	}
	for _, k := range c.asked {
		if k == key {
			return nil, true
		}
	}
	c.asked[c.nextAsk] = key
	c.nextAsk = (c.nextAsk + 1) % askedFrames
	return nil, false
}

// put keeps a copy of a frame.
func (c *frameCache) put(b *opened, offset int64, plain []byte) {
	if len(plain) > keptBuffer {
		return
	}
	kept := append([]byte(nil), plain...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames[c.next] = cachedFrame{frameKey{b, offset}, kept}
	c.next = (c.next + 1) % cachedFrames
}
