// Package histfile reads and writes misc/history, the mark by which a storage tells a
// HOME from every copy of it. It goes with two files of which one is there, whose inode
// no copy has. None of them is a part of the database.
package histfile

import (
	"encoding/json"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Name is that of the mark, below HOME.
const Name = "misc/history"

const aside = "journal/aside-history"

// These describe the transaction with which a history begins.
const (
	Begins = "DirectoryStorage: here begins the history of a storage that was restored, copied, moved or imported"
	// BeginsAnew marks a transaction: those before it differ from the source's under the same tids.
	BeginsAnew = "DirectoryStorage: here begins the history of a storage that differs from what it was imported from"
)

// Anchors is the number of files of which one goes with the mark.
const Anchors = 2

// AnchorNames are their names, below HOME.
func AnchorNames() [Anchors]string { return [Anchors]string{"misc/history-0", "misc/history-1"} }

// Mark is the content of the file.
type Mark struct {
	Identity string       `json:"identity"`
	TID      zodb.TID     `json:"tid"`               // the last transaction then
	Due      bool         `json:"due,omitempty"`     // the empty transaction is to come after it
	Anchor   int          `json:"anchor"`            // index in AnchorNames
	File     vfs.Identity `json:"file"`              // of the anchor
	A        vfs.Identity `json:"a"`                 // without Changed
	Differs  bool         `json:"differs,omitempty"` // see dirstorage.Storage.DiffersFromSource
	// Restored is the last transaction of a HOME as it was restored, until its history begins. Past is one that
	// this begins after, where it is due.
	Restored zodb.TID `json:"restored,omitempty"`
	Past     zodb.TID `json:"past,omitempty"`
}

// MeaninglessError says that there is a file, and that it is no mark.
type MeaninglessError struct{ Reason string }

func (e *MeaninglessError) Error() string {
	return fmt.Sprintf("%s says nothing that can be understood: %s", Name, e.Reason)
}

// Read reads the mark. Errors: fs.ErrNotExist; *MeaninglessError.
func Read(f vfs.FS) (Mark, error) {
	b, err := f.ReadFile(Name)
	if err != nil {
		return Mark{}, err
	}
	var m Mark
	if err := json.Unmarshal(b, &m); err != nil {
		return Mark{}, &MeaninglessError{err.Error()}
	}
	if m.Anchor < 0 || m.Anchor >= Anchors {
		return Mark{}, &MeaninglessError{fmt.Sprintf("there is no file %d", m.Anchor)}
	}
	return m, nil
}

// Write puts the mark in the place of the one that is there. The directories misc and
// journal exist.
func Write(f vfs.FS, m Mark, o vfs.SyncOptions) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(f, aside, Name, append(b, '\n'), o)
}
