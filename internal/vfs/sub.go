package vfs

import (
	"iter"
	"path"
	"time"
)

// Sub returns the directory dir of f as a file system of its own. It need not exist.
func Sub(f FS, dir string) FS { return &sub{f, dir} }

type sub struct {
	f   FS
	dir string
}

func (s *sub) in(name string) string { return path.Join(s.dir, name) }

func (s *sub) Open(name string) (File, error)       { return s.f.Open(s.in(name)) }
func (s *sub) OpenWrite(name string) (File, error)  { return s.f.OpenWrite(s.in(name)) }
func (s *sub) Create(name string) (File, error)     { return s.f.Create(s.in(name)) }
func (s *sub) ReadFile(name string) ([]byte, error) { return s.f.ReadFile(s.in(name)) }
func (s *sub) put(name string, data []byte, o PutOptions) (bool, error) {
	return PutStamped(s.f, s.in(name), data, o)
}
func (s *sub) identify(name string) (Identity, error)    { return Identify(s.f, s.in(name)) }
func (s *sub) sameOwner(name, like string) error         { return SameOwner(s.f, s.in(name), s.in(like)) }
func (s *sub) Mkdir(name string) error                   { return s.f.Mkdir(s.in(name)) }
func (s *sub) Remove(name string) error                  { return s.f.Remove(s.in(name)) }
func (s *sub) Rename(oldName, newName string) error      { return s.f.Rename(s.in(oldName), s.in(newName)) }
func (s *sub) Exchange(a, b string) error                { return s.f.Exchange(s.in(a), s.in(b)) }
func (s *sub) Link(oldName, newName string) error        { return s.f.Link(s.in(oldName), s.in(newName)) }
func (s *sub) Stat(name string) (Info, error)            { return s.f.Stat(s.in(name)) }
func (s *sub) List(dir string) iter.Seq2[Entry, error]   { return s.f.List(s.in(dir)) }
func (s *sub) SetModTime(name string, t time.Time) error { return s.f.SetModTime(s.in(name), t) }
func (s *sub) SetReadOnly(name string) error             { return s.f.SetReadOnly(s.in(name)) }
func (s *sub) SyncDir(name string) error                 { return s.f.SyncDir(s.in(name)) }
func (s *sub) SyncAll() error                            { return s.f.SyncAll() }
func (s *sub) Lock(name string) (Lock, error)            { return s.f.Lock(s.in(name)) }
func (s *sub) LockDir(name string) (Lock, error)         { return s.f.LockDir(s.in(name)) }
func (s *sub) Space() (Space, error)                     { return s.f.Space() }
func (s *sub) Path(name string) string                   { return s.f.Path(s.in(name)) }
