package web

import (
	"context"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// statusData is the first page.
type statusData struct {
	Problems []Problem
	Storages []storageState
}

// storageState is one storage on it.
type storageState struct {
	Name string
	zodb.Status
	Last        *txnRow // nil: there is no transaction
	Connections int64
	Counted     bool   // by the server: connections
	Behind      []Fact // of flush, backup and verification
	PackDone    int64  // percent of the phase of the pack; -1 = not known
	Used        int64  // percent of the file system
	Aside       int64  // bytes
	CanPack     bool
	Silent      bool // it has not said its state in time; nothing else is known
}

// statusPage shows the faults first, and then the state of each storage.
func (s *Site) statusPage(ctx context.Context, _ *query) (any, error) {
	d := statusData{Problems: s.faults.now()}
	for _, st := range s.o.Storages() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		state, err := s.asked.state(ctx, st)
		if err != nil {
			return nil, err
		}
		d.Storages = append(d.Storages, state)
	}
	return d, nil
}

func stateOf(ctx context.Context, st Storage) storageState {
	d := storageState{Name: st.Name, Status: st.Reader.Status(), PackDone: -1, CanPack: st.Pack != nil}
	if m := st.Metrics; m != nil {
		d.Connections, d.Counted = m.Totals().Connections, true
	}
	if st.Behind != nil {
		d.Behind = st.Behind()
	}
	if d.LastTID != 0 {
		if t, err := st.Reader.Transaction(ctx, d.LastTID); err == nil {
			row := newRow(ctx, st.Reader, t, nil)
			d.Last = &row
		}
	}
	const percent = 100
	if p := d.Pack; p != nil && p.Total > 0 {
		d.PackDone = min(p.Done*percent/p.Total, percent)
	}
	if sp := d.Space; sp.TotalBytes > 0 {
		d.Used = int64(float64(sp.TotalBytes-sp.FreeBytes) / float64(sp.TotalBytes) * percent)
	}
	if d.Removed != nil {
		for _, a := range d.Removed.Aside {
			d.Aside += a.Bytes
		}
	}
	return d
}

// TIDTime is the time of a tid, for templates; zero for none.
func (storageState) TIDTime(t zodb.TID) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return t.Time()
}

// Seconds is a number of seconds as a duration, for templates.
func (storageState) Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
