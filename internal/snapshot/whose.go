package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// request is one attempt to enter snapshot mode.
type request struct {
	o     Options
	home  vfs.FS
	code  string    // that of a snapshot of our own
	asked time.Time // before anything was done
	// readOnly: the storage was closed, and nobody here can open it, for its file
	// system is read-only.
	readOnly bool
}

// ErrForeign is matched if A is a snapshot that somebody else entered, and that is
// not good enough, or of which nothing tells when it was taken. It matches
// zodb.ErrSnapshotMode.
var ErrForeign = fmt.Errorf("%w: somebody else entered it", zodb.ErrSnapshotMode)

// look returns the record of the snapshot in A, if it may be used: it is ours; or the storage was
// closed; or it is somebody else's, and good enough for Options.Join. Moment and TID are always
// those of the snapshot. remark is a warning about it.
func (q *request) look(ctx context.Context) (r snapfile.Record, remark string, err error) {
	r, err = snapfile.Read(q.home)
	ours := r.Code == snapfile.User(q.code)
	unknown := errors.Is(err, snapfile.ErrUnknown)
	since := q.asked
	if unknown && q.readOnly && r.Code == snapfile.Shutdown {
		info, err := q.home.Stat(snapfile.Name)
		if err != nil {
			return r, "", err
		}
		since, ours = info.ModTime, true
	}
	switch {
	case errors.Is(err, snapfile.ErrNone):
		return r, "", fmt.Errorf("%w: %w", zodb.ErrSnapshotMode, err)
	case unknown && !ours:
		return r, "", q.whyUnknown(r.Code, err)
	case err != nil && !unknown:
		return r, "", err
	}
	last, err := lastOfA(q.home)
	if err != nil {
		return r, "", err
	}
	if unknown { // a server of the original entered it, for us; or it can't change
		r.Moment, r.TID = since, last
	}
	if r.TID != last {
		return r, "", fmt.Errorf("%w: %s is of transaction %s, and A ends with %s: A was changed from outside", zodb.ErrSnapshotMode, q.home.Path(snapfile.Taken), r.TID, last)
	}
	if !ours && r.Code != snapfile.Shutdown {
		remark, err = q.foreign(ctx, r)
	}
	return r, remark, err
}

func (q *request) whyUnknown(code string, err error) error {
	if code == snapfile.Shutdown {
		return fmt.Errorf("%w or closed it: %w; it was another program, or it is being opened. To make it known: dirstorage recover %s",
			ErrForeign, err, q.home.Path("."))
	}
	return fmt.Errorf("%w, as %q: %w; it is being left, or another program entered it", ErrForeign, code, err)
}

// foreign returns an error if somebody else's snapshot is not good enough, and else a warning about
// it: empty, if it holds all committed transactions.
func (q *request) foreign(ctx context.Context, r snapfile.Record) (remark string, err error) {
	user, _ := snapfile.UserCode(r.Code)
	text := fmt.Sprintf("as %q at %s", user, r.Moment.Local().Format("2006-01-02 15:04:05 MST"))
	long := q.asked.Sub(r.Moment) >= longest
	st, err := status(ctx, q.o.Home)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		text += "; no running storage tells whether something was committed since"
	case err != nil:
		return "", err
	case st.Snapshot != r.Code || st.SnapshotMode == nil:
		return "", fmt.Errorf("%w, %s; its state is %q meanwhile", ErrForeign, text, st.Snapshot)
	case st.LastTID == r.TID:
		return "", nil
	default:
		long = st.SnapshotMode.Long
		text += fmt.Sprintf("; it ends with transaction %s, and %d were committed since, up to %s", r.TID, st.SnapshotMode.Newer, st.LastTID)
	}
	if q.o.Join == Any || q.o.Join == Recent && !long {
		return "taking part in a snapshot that somebody else entered, " + text, nil
	}
	return "", fmt.Errorf("%w, %s. Wait until it is left, or give -t SECONDS to try again; if it is forgotten: dirstorage snapshot leave %s; to use it as it is: --join",
		ErrForeign, text, q.home.Path("."))
}

// status asks the storage that runs at home.
func status(ctx context.Context, home string) (st zodb.Status, err error) {
	c, err := control.Dial(ctx, home)
	if err != nil {
		return st, err
	}
	b, err := c.Status(ctx)
	if err = errors.Join(err, c.Close()); err == nil {
		err = json.Unmarshal(b, &st)
	}
	return st, err
}

// lastOfA reads the last transaction in A.
func lastOfA(home vfs.FS) (zodb.TID, error) {
	const settingsFile = "config/settings"
	b, err := home.ReadFile(settingsFile)
	if err != nil {
		return 0, err
	}
	set, _, err := settings.Parse(b, settingsFile)
	if err != nil {
		return 0, err
	}
	return formats.Copies(set.Structure.Format).Last(home, store.A)
}
