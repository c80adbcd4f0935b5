package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/zodb"
)

// classesData is the page of classes.
type classesData struct {
	Under   *inspect.Progress    // the count under way
	Percent int64                // of it
	Last    *inspect.CensusCount // the last result
	Rows    []classRow
	From    int
	Took    time.Duration
	Days    int
	Pager   pager
	// Removes: the result has the gain of a pack.
	Removes bool
	// Threshold is the moment to which the pack would go.
	Threshold time.Time
	// Free is the space that the storage gives back by and by; it does not need another pack.
	Free int64
}

// classRow is a class in the table.
type classRow struct {
	inspect.ClassCount
	Share   int64 // of all bytes, in percent
	Average int64
}

func (s *Site) classesPage(_ context.Context, q *query) (any, error) {
	from, err := q.number("from")
	if err != nil {
		return nil, err
	}
	const percent, week = 100, 7
	d := &classesData{From: from, Days: week}
	d.Under, d.Last = s.contents.of(q.storage).census.Last()
	if u := d.Under; u != nil && u.Total > 0 {
		d.Percent = min(u.Objects*percent/u.Total, percent)
	}
	if d.Last == nil {
		return d, nil
	}
	d.Took, d.Days = d.Last.Ended.Sub(d.Last.Begun), d.Last.Days
	if p := d.Last.Pack; p != nil {
		d.Removes, d.Threshold = true, timeOf(p.Threshold)
		if p.Removed != nil {
			d.Free = p.Removed.Free(s.o.Clock())
		}
	}
	d.From = min(from, len(d.Last.Classes))
	for _, k := range d.Last.Classes[d.From:min(d.From+pageRows, len(d.Last.Classes))] {
		row := classRow{ClassCount: k}
		if k.Objects > 0 {
			row.Average = k.Bytes / k.Objects
		}
		if d.Last.Bytes > 0 {
			row.Share = k.Bytes * percent / d.Last.Bytes
		}
		d.Rows = append(d.Rows, row)
	}
	if d.From > 0 {
		d.Pager.First = link{"Largest classes", q.link("classes")}
		d.Pager.Previous = link{"Larger ones", q.link("classes", "from", max(0, d.From-pageRows))}
	}
	if next := d.From + pageRows; next < len(d.Last.Classes) {
		d.Pager.Next = link{"Smaller ones", q.link("classes", "from", next)}
	}
	return d, nil
}

// timeOf is the time of a tid; zero for none.
func timeOf(t zodb.TID) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return t.Time()
}

// countClasses begins a count. It changes nothing in the storage.
func (s *Site) countClasses(w http.ResponseWriter, r *http.Request) {
	st, err := s.storage(r.PostFormValue("storage"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	days, err := strconv.ParseUint(r.PostFormValue("days"), 10, 16)
	if err != nil {
		s.fail(w, r, badRequest("days %s: want a number of days, 0 to 65535", safe(r.PostFormValue("days"), 20)))
		return
	}
	if s.contents.of(st).census.Start(int(days)) {
		s.o.Logger.Info("a count of classes was asked for on the web page", "storage", st.Name, "days", days, "address", addressOf(r))
	}
	http.Redirect(w, r, pageLink("classes", st.Name), http.StatusSeeOther)
}
