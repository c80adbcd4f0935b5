package vfs

import (
	"errors"
	"io/fs"
	"time"
)

// PutOptions says how a file is written that is new.
type PutOptions struct {
	Sync bool // contents are durable, and the time that Stamp gives
	// Stamp is called when everything is written, and before it is synced. It returns
	// the time of modification that the file shall bear; the zero time, and nil, leave
	// it as it is.
	Stamp func() time.Time
	// Private makes the mode 0600 from the beginning. ErrNotSupported if the FS is not one of the
	// operating system.
	Private bool
}

// stamp returns the time to be set; the zero time: none.
func (o PutOptions) stamp() time.Time {
	if o.Stamp == nil {
		return time.Time{}
	}
	return o.Stamp()
}

// putter is an optional interface of an FS that can do this faster than by its methods.
type putter interface {
	put(name string, data []byte, o PutOptions) (created bool, err error)
}

// Put makes a file that must not exist, and writes its content: Create, Write,
// Sync if that is wanted, and Close, in as few system calls as there can be. It
// reports whether the file was made; with an error it may hold anything then.
func Put(f FS, name string, data []byte, sync bool) (created bool, err error) {
	return PutStamped(f, name, data, PutOptions{Sync: sync})
}

// PutStamped is Put for a file that may need another time than the clock gives it.
func PutStamped(f FS, name string, data []byte, o PutOptions) (created bool, err error) {
	if p, ok := f.(putter); ok {
		return p.put(name, data, o)
	}
	if o.Private {
		return false, ErrNotSupported
	}
	file, err := f.Create(name)
	if err != nil {
		return false, err
	}
	_, err = file.Write(data)
	if err == nil {
		if t := o.stamp(); !t.IsZero() {
			err = f.SetModTime(name, t)
		}
	}
	if err == nil && o.Sync {
		err = file.Sync()
	}
	return true, errors.Join(err, file.Close())
}

// PutAside is PutStamped for a file that is going to be renamed over another one. A
// leftover of that name is removed first. On an error there is none.
func PutAside(f FS, aside string, data []byte, o PutOptions) error {
	created, err := PutStamped(f, aside, data, o)
	if !created && errors.Is(err, fs.ErrExist) {
		if err = f.Remove(aside); err == nil {
			created, err = PutStamped(f, aside, data, o)
		}
	}
	if err != nil && created {
		err = errors.Join(err, f.Remove(aside))
	}
	return err
}
