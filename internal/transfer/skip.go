package transfer

import (
	"errors"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// skips reports whether an error of the source is about one record that is to be passed over.
func (im *importer) skips(tid zodb.TID, err error) bool {
	return im.skipsPart(filestorage.Skipped{TID: tid}, err)
}

// skipsTransaction is skips for a whole transaction.
func (im *importer) skipsTransaction(err error) bool {
	return im.skipsPart(filestorage.Skipped{Whole: true}, err)
}

func (im *importer) skipsPart(p filestorage.Skipped, err error) bool {
	if !im.salvage || err == nil {
		return false
	}
	e, told := errors.AsType[*zeoclient.ServerError](err)
	if damaged := told && TellsDamage(e) || errors.Is(err, ErrDamagedRecord); !damaged {
		return false
	}
	p.Reason = err.Error()
	im.skipped(p)
	return true
}

// TellsDamage reports whether a server tells of a part that it cannot read, and not of the moment, or
// that it ends. This project's has the plain StorageError for these.
func TellsDamage(e *zeoclient.ServerError) bool {
	switch e.Class {
	case "ZODB.POSException.StorageError", "builtins.MemoryError", "asyncio.exceptions.CancelledError":
		return false
	case "builtins.OSError":
		args, _ := e.Details.(wire.Tuple)
		errno, _ := append(args, nil)[0].(int64)
		return !vfs.Passes(syscall.Errno(errno))
	}
	return true
}

func (im *importer) skipped(p filestorage.Skipped) {
	im.differs = true
	if im.result.Damaged++; im.result.Damaged <= maxSkipped {
		im.result.Skipped = append(im.result.Skipped, p)
	}
}
