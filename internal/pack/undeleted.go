package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	undeletedName  = "misc/undeleted"
	undeletedAside = "misc/undeleted.new"
)

// Undeleted is about the last undelete or salvage of a storage. It has put files into A that
// belong to old transactions, so a copy of later transactions does not have them: only a
// copy that was made between the same two of them is good to build upon.
type Undeleted struct {
	// Running: it has not ended, or the process was killed in it and the storage was
	// not opened since.
	Running bool `json:"running,omitempty"`
	// Time is when it ended, or as long as it runs, when it began.
	Time time.Time `json:"time"`
}

// ID tells this one from all others; "" if nothing was ever brought back.
func (u Undeleted) ID() string {
	if u.Time.IsZero() {
		return ""
	}
	return u.Time.UTC().Format(time.RFC3339Nano)
}

// Note writes it into a HOME, durably as far as o asks for it.
func (u Undeleted) Note(f vfs.FS, o vfs.SyncOptions) error {
	b, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(f, undeletedAside, undeletedName, append(b, '\n'), o)
}

// ReadUndeleted reads it; the zero value, if nothing was ever brought back.
func ReadUndeleted(f vfs.FS) (u Undeleted, err error) {
	b, err := f.ReadFile(undeletedName)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &u)
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w", f.Path(undeletedName), err)
	}
	return u, nil
}
