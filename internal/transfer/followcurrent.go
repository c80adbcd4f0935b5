package transfer

import (
	"context"
	"errors"
	"sync"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// changedObjects are the objects whose revisions a follower has to compare with those of its server.
type changedObjects struct {
	mu  sync.Mutex
	set *oidset.Set // guarded by mu; nil: all objects
}

// add adds some, or all where there is no room for them.
func (o *changedObjects) add(oids ...zodb.OID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, oid := range oids {
		if o.set == nil {
			return
		}
		if room, _ := o.set.Add(oid); !room {
			o.set = nil
		}
	}
}

// all adds all objects.
func (o *changedObjects) all() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.set = nil
}

// take takes them; nil: all objects.
func (o *changedObjects) take() *oidset.Set {
	o.mu.Lock()
	defer o.mu.Unlock()
	set := o.set
	o.set = oidset.New(refMemory())
	return set
}

// missed adds the objects that changed while there was no connection.
func (f *follower) missed(ctx context.Context, c *zeoclient.Client) error {
	if f.im.result.LastTID == 0 {
		return nil
	}
	_, oids, known, err := c.GetInvalidations(ctx, f.im.result.LastTID)
	if _, told := errors.AsType[*zeoclient.ServerError](err); told || err == nil && !known {
		f.changed.all()
		return nil
	}
	f.changed.add(oids...)
	return err
}

// compare compares the objects that changed since it did so last; all of them the first time. Those that
// changed after they were copied come again.
func (f *follower) compare(ctx context.Context, c *zeoclient.Client) (err error) {
	set := f.changed.take()
	a := &agreement{im: f.im, c: c, last: f.im.result.LastTID, later: func(oid zodb.OID) { f.changed.add(oid) }}
	if set == nil {
		err = a.compareWhole(ctx)
	} else {
		err = a.compareSome(ctx, set)
	}
	if err != nil {
		f.changed.all()
	}
	return err
}
