package check

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// future is how much later than the clock a tid may be; the original has the
// same tolerance.
const future = time.Minute

// open reads config, the journal and the x files.
func (c *checker) open() error {
	const name = "config/settings"
	data, err := c.o.FS.ReadFile(name)
	if err != nil {
		return fmt.Errorf("not a storage: %w", err)
	}
	set, _, err := settings.Parse(data, name)
	if err != nil {
		return err
	}
	open := openView
	if c.o.open != nil {
		open = c.o.open
	}
	if c.v, err = open(c.o.FS, set, c.o.SnapshotOnly); err != nil {
		return err
	}
	for _, f := range c.v.opened() {
		c.out.add(f)
		if f.Kind == BundleMissing {
			c.missingTx.add(f.TID) // that the transaction is missing follows from it
		}
	}
	c.readKeepClass(set)
	c.minimal = set.Storage.ClassName == settings.ClassMinimal
	c.format = set.Structure.Format.String()
	c.readIdentity()
	if !c.o.SnapshotOnly {
		// The journal is judged by x.serial without it.
		c.base, _, c.baseKnown = c.readX(layout.XSerial, true)
		c.packed, _, _ = c.readX(layout.XPacked, true)
		if err := c.readJournal(); err != nil {
			return err
		}
	}
	c.readXs()
	return nil
}

// readIdentity looks at config/identity.
func (c *checker) readIdentity() {
	const name = "config/identity"
	f := Finding{Kind: ConfigDamaged, Severity: Damage, Path: name}
	b, err := c.o.FS.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		f.Kind = ConfigMissing
	} else if err == nil {
		c.identity, err = settings.ParseIdentity(b)
	}
	if err != nil {
		f.Detail = err.Error()
		c.out.add(f)
	}
}

// readXs reads the x files as they will be after recovery.
func (c *checker) readXs() {
	c.serial, c.serialPath, c.serialKnown = c.readX(layout.XSerial, false)
	oid, path, known := c.readX(layout.XOID, false)
	c.maxOID, c.maxOIDPath, c.maxOIDKnown = zodb.OID(oid), path, known
	packed, path, known := c.readX(layout.XPacked, false)
	c.packed = packed
	if !known {
		c.packed = zodb.MaxTID // then nothing can be asked for that a pack may have removed
	}
	if !c.maxOIDKnown {
		c.maxOID = zodb.OID(1<<64 - 1)
	}
	if c.o.Now == nil {
		return
	}
	limit := zodb.TIDFromTime(c.o.Now().Add(future))
	if c.serial > limit {
		c.out.add(Finding{Kind: XFuture, Severity: Warning, TID: c.serial, Path: c.serialPath, Detail: c.serial.Time().String()})
	}
	if packed > limit {
		c.out.add(Finding{Kind: XFuture, Severity: Warning, TID: packed, Path: path, Detail: packed.Time().String()})
	}
}

// readX reads one of the x files. If it can't be used, that is reported
// unless quiet. A missing x.packed stands for “never”.
func (c *checker) readX(n layout.Name, quiet bool) (v zodb.TID, where string, known bool) {
	var w worker
	data, where, err := c.v.read(&w, n)
	f := Finding{Severity: Damage, Path: where}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if n.Kind == layout.KindXPacked {
			return 0, where, true
		}
		f.Kind = XMissing
	case err != nil:
		f.Kind, f.Detail = Unreadable, err.Error()
	case len(data) != 8:
		f.Kind, f.Detail = XLength, fmt.Sprintf("%d bytes, not 8", len(data))
	default:
		return zodb.TIDFromBytes(data), where, true
	}
	if !quiet {
		c.out.add(f)
	}
	return 0, where, false
}
