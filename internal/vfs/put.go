package vfs

import "errors"

// putter is what an FS may do faster than by its methods.
type putter interface {
	put(name string, data []byte, sync bool) (created bool, err error)
}

// Put makes a file that must not exist, and writes its content: Create, Write,
// Sync if that is wanted, and Close, in as few system calls as there can be. It
// reports whether the file was made; with an error it may hold anything then.
func Put(f FS, name string, data []byte, sync bool) (created bool, err error) {
	if p, ok := f.(putter); ok {
		return p.put(name, data, sync)
	}
	file, err := f.Create(name)
	if err != nil {
		return false, err
	}
	_, err = file.Write(data)
	if err == nil && sync {
		err = file.Sync()
	}
	return true, errors.Join(err, file.Close())
}
