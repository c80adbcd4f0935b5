package web

import (
	"context"
	"strconv"
	"time"

	"github.com/dirstorage/dirstorage/internal/inspect"
)

// backupsData is the page of backups.
type backupsData struct {
	Where string // the repository; empty: there is none
	*inspect.Backups
	ReadAt      time.Time
	Marks       []mark
	Bars        []bar
	First, Last time.Time // ends of the strip
	Chains      []chainRows
	From        int
	Pager       pager
	Newest      *pointRow
}

// mark is a backup on the strip.
type mark struct {
	X     string // percent from the left
	Class string
	Full  bool
	Title string
	Name  string
}

// bar is a range on the strip that can be restored to any transaction.
type bar struct{ X, Width, Title string }

// chainRows are backups of one chain.
type chainRows struct {
	Number int
	Points []pointRow
}

// pointRow is a backup.
type pointRow struct {
	inspect.Point
	Class   string
	TIDTime time.Time
}

// class is the judgement of a backup, as a class of the style sheet.
func class(p *inspect.Point) string {
	switch {
	case p.Bad():
		return "bad"
	case p.Good():
		return "good"
	}
	return "warn"
}

func (s *Site) backupsPage(ctx context.Context, q *query) (any, error) {
	d := &backupsData{}
	if q.storage.Backups == nil {
		return d, nil
	}
	from, err := q.number("from")
	if err != nil {
		return nil, err
	}
	if d.Where, d.Backups, d.ReadAt, err = s.contents.of(q.storage).backupsOf(ctx, q.storage, s.o.Clock()); err != nil {
		return nil, err
	}
	if d.Backups == nil {
		return d, nil
	}
	d.strip()
	d.From = min(from, d.Points)
	d.page()
	if d.From > 0 {
		d.Pager.First = link{"Newest", q.link("backups")}
		d.Pager.Previous = link{"Newer", q.link("backups", "from", max(0, d.From-pageRows))}
	}
	if next := d.From + pageRows; next < d.Points {
		d.Pager.Next = link{"Older", q.link("backups", "from", next)}
	}
	return d, nil
}

// page chooses the backups of this part of the list.
func (d *backupsData) page() {
	i := 0
	for n := range d.Backups.Chains {
		chain := chainRows{Number: len(d.Backups.Chains) - n}
		for _, p := range d.Backups.Chains[n].Points {
			row := pointRow{p, class(&p), timeOf(p.TID)}
			if d.Newest == nil || p.TID > d.Newest.TID {
				d.Newest = &row
			}
			if i >= d.From && i < d.From+pageRows {
				chain.Points = append(chain.Points, row)
			}
			i++
		}
		if len(chain.Points) > 0 {
			d.Chains = append(d.Chains, chain)
		}
	}
}

// maxMarks bounds the strip: more could not be told apart. The newest are shown.
const maxMarks = 500

// strip draws the backups by their time.
func (d *backupsData) strip() {
	var points []inspect.Point
	for _, c := range d.Backups.Chains {
		for _, p := range c.Points {
			if len(points) < maxMarks {
				points = append(points, p)
			}
		}
	}
	for _, p := range points {
		if d.First.IsZero() || p.At.Before(d.First) {
			d.First = p.At
		}
		if p.At.After(d.Last) {
			d.Last = p.At
		}
	}
	for _, r := range d.Ranges {
		from, to := d.at(timeOf(r.From)), d.at(timeOf(r.To))
		d.Bars = append(d.Bars, bar{percent(from), percent(max(to-from, 0)), "each transaction from " + r.From.String() + " to " + r.To.String()})
	}
	for i := len(points) - 1; i >= 0; i-- { // the newest on top
		p := &points[i]
		kind := "incremental"
		if p.Full {
			kind = "full"
		}
		d.Marks = append(d.Marks, mark{percent(d.at(p.At)), class(p), p.Full, kind + " backup " + p.Name, p.Name})
	}
}

// at is the place of a moment on the strip, from the left, in percent. The ends have some room.
func (d *backupsData) at(t time.Time) float64 {
	const left, width = 2, 96
	all := d.Last.Sub(d.First)
	if all <= 0 {
		return left + width/2
	}
	return left + width*min(max(float64(t.Sub(d.First))/float64(all), 0), 1)
}

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }
