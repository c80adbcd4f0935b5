package zeo

// drain ends the connection as soon as no transaction was voted for, and the client has the answer to each
// finish and to each sendBlob. Python's clients keep the beginning of a blob that was cut off, and put the whole
// behind it when they ask again.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	if err := c.drained(); err != nil {
		c.end(err)
	}
}

// busy reports whether a shutdown waits for the connection. mu must be held.
func (c *conn) busy() bool {
	return c.finishes > 0 || c.downloads > 0 || c.txn != nil && !c.txn.stage.State().Open()
}

// drained is called when something has ended for which a shutdown waits, and its answer is in the
// outbox: if it was the last, the client ends the connection. ErrClosed ends one by which it cannot be asked to.
func (c *conn) drained() error {
	c.mu.Lock()
	wait := !c.draining || c.busy()
	if !wait && c.deaf.Swap(true) {
		wait = true // for the client, already
	}
	c.mu.Unlock()
	if wait {
		return nil
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		if err := c.out.flushAll(); err != nil {
			return err
		}
		return ErrClosed
	}
	// The system drops what the client has not read when it sends anything to a closed connection. So the client
	// closes it, when it has read all; until then its requests are read, and dropped. See linger.
	if err := c.out.seal(); err != nil {
		return err
	}
	if half.CloseWrite() != nil {
		return ErrClosed // the client has closed it
	}
	return nil
}

// download is sendBlob, and counted until its answer. One that comes while the connection drains is not
// begun, and has no answer: the connection ends soon.
func (c *conn) download(r *request, a *arguments) error {
	c.mu.Lock()
	draining := c.draining
	if !draining {
		c.downloads++
		c.downloaded = true
	}
	c.mu.Unlock()
	if draining {
		return nil
	}
	r.ended = func() error {
		total, _ := c.out.counts()
		c.mu.Lock()
		c.downloads--
		c.downloadTo = max(c.downloadTo, total)
		c.mu.Unlock()
		return c.drained()
	}
	return c.sendBlob(r, a)
}

// tellCut logs that the connection has ended in the middle of a blob, or before the client had the end of one. The end
// of the stream counts as a byte of the socket.
func (c *conn) tellCut() {
	left := c.out.leftAtTheEnd()
	c.mu.Lock()
	n := c.downloads
	if left-int64(max(c.unsentEnd-1, 0)) < c.downloadTo {
		n++
	}
	c.mu.Unlock()
	if n > 0 {
		c.log().Warn("the connection ended while it got blobs: before the client asks for them again, remove the files *.blob.dl in its blob cache (docs/zeo.md, “Blobs”)", "blobs", n)
	}
}
