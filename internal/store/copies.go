package store

import (
	"errors"
	"io"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Copies knows the files of A for tools that copy them, lay copies over each other, or take a copy
// back to an earlier transaction. No store is open for that: the files may be entries of an
// archive. Its methods may be called concurrently.
//
// Copies that follow each other are laid over each other so: a later file takes the place of
// an earlier one of the same path, and nothing is removed.
type Copies interface {
	// Describe describes a file by its path relative to HOME, or by its name alone if that is
	// a database name.
	Describe(path string) Description
	// Counter begins to count the contents of files, such as those of one archive.
	Counter() Counter
	// Inspect looks at the whole content of a file, and returns its fault. blob reports
	// whether a blob belongs to the revision in it; of a file that holds many things it says
	// nothing. place is its name in the error.
	Inspect(path, place string, content io.ReaderAt, size int64) (blob bool, err error)
	// Over returns the content of a file in a copy that is laid over one which ends with a
	// transaction. It may change content. Where Description.Linked is false it returns content
	// unchanged.
	Over(path string, content []byte, last zodb.TID) []byte
	// Layers begins to lay copies over each other, the newest first.
	Layers() Layers
	// Current reads a file that says which revision of an object is the current one
	// (Description.Points), and nothing else.
	Current(path, place string, content []byte) (zodb.TID, error)
	// Last returns x.serial of one side of a HOME. No other file is looked at.
	Last(home vfs.FS, side Side) (zodb.TID, error)
	// Cut begins to take a copy back to an earlier transaction.
	Cut(o CutOptions) (Cut, error)
}

// Description is the meaning of the path of a file.
type Description struct {
	// Name is the name of the content: KindObject for a file that names the current
	// revision of an object. The zero Name: the file does not belong to the database, or
	// holds many things.
	Name layout.Name
	// Side is where it lies; "": in neither A nor B.
	Side Side
	// Replaced: a later copy may have another content under that path. Else it is written once.
	Replaced bool
	// Points: it says which revision is the current one.
	Points bool
	// Linked: it names another transaction. See Copies.Over.
	Linked bool
	// Named: its name alone tells whether a copy has it, and no transaction. It is written
	// once, and its name is never used again. A copy of the changes has all such files that the
	// copies below it do not have.
	Named bool
	// Packed: its content is compressed.
	Packed bool
	// Whole: [Copies.Inspect] reads all of it into memory, even if it is large.
	Whole bool
}

// Counter counts the contents of files. One goroutine uses it.
type Counter interface {
	// File counts a file. Where the result is not nil, all of the content has to be written to it
	// before the next call of a method of Counter. That never fails: a damaged file counts as far as
	// it is understood.
	File(path string, size int64) io.Writer
	// Counts returns how much is in the files. Bytes are left out. An object counts once, if files
	// hold a revision of it, removed ones included. Objects is 0 where there are too many to tell
	// them apart.
	Counts() Counts
}

// Layers is given the files of copies that lie over each other, those of the newest copy first. One
// goroutine uses it.
type Layers interface {
	// Take reports whether a file counts: none before has taken its place.
	Take(path string) (bool, error)
}

// CutOptions say how a copy is taken back.
type CutOptions struct {
	// Home is the HOME that the copy grows in. In its misc/ a file is made until the end.
	Home vfs.FS
	// Last is the transaction with which the copy shall end, or before it if there is none with
	// that tid. Base is the one with which the copy below it ends; 0: there is none.
	Last, Base zodb.TID
	// Resumed: an attempt before may have left something of its own, which may not be durable.
	Resumed bool
	// Put puts a file, and replaces an existing one.
	Put func(path string, content io.Reader) error
}

// Cut takes a copy back. One goroutine uses it.
type Cut interface {
	// Take looks at a file of the copy, in any order, and reports whether it belongs
	// unchanged into the result. It reads content only where it does not.
	Take(path string, size int64, content io.Reader) (bool, error)
	// End puts the current pointers of that transaction, and the marks, when all taken files are
	// there. The files that were left out prove whether that is right. If err is the error of an
	// earlier step, End only gives back its resources, and returns err.
	End(err error) error
}

// Errors of [Cut].
var (
	// ErrBefore: the copy begins later than the transaction that is wanted.
	ErrBefore = errors.New("nothing was committed by then")
	// ErrPacked: pack removed revisions that are needed.
	ErrPacked = errors.New("pack took it before it was backed up")
	// ErrLayers: there are too many objects for the memory that [Layers] may take.
	ErrLayers = errors.New("too many objects")
)
