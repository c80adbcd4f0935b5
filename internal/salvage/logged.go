package salvage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// beforeLog returns the last transaction before those that are in the log; MaxTID if none are. Without x.serial it is
// that: of what is in the log A may have a part, and the next open puts the whole there, if x.serial says
// that it is not.
func (p *planner) beforeLog() (zodb.TID, error) {
	identity, err := p.home.ReadFile("config/identity")
	o := journal.Options{FS: p.home, Dir: "journal"}
	var text string
	if err == nil {
		text, err = settings.ParseIdentity(identity)
	}
	var id []byte
	if err == nil {
		id, err = hex.DecodeString(text)
	}
	if err != nil {
		return 0, fmt.Errorf("x.serial is missing, and it cannot be told whether there are transactions in the log: %w", err)
	}
	copy(o.Identity[:], id)
	log, found, err := journal.OpenReadOnly(o)
	if errors.Is(err, fs.ErrNotExist) {
		return zodb.MaxTID, nil
	}
	if err != nil {
		return 0, err
	}
	before := zodb.MaxTID
	for _, t := range found.Transactions {
		before = min(before, t.Previous)
	}
	return before, log.Close()
}
