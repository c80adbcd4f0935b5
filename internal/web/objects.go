package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// segment is a piece of a text; a link, if it has an address.
type segment struct{ Text, URL string }

// revisionRow is a line of a history.
type revisionRow struct {
	zodb.HistoryEntry
	Time   time.Time
	Damage string
	First  bool // nothing is before it
}

// objectData is the page of an object.
type objectData struct {
	*inspect.Object
	Find     string // the text that was looked for
	Note     string // about how it was understood
	Place    *inspect.Place
	State    []segment
	Cut      bool
	Download bool // of its blob
	// Time of the revision; zero: there is none.
	Time             time.Time
	Referrers        *inspect.Referrers
	ReferrersProblem string
	Searched         bool
	Revisions        []revisionRow
	RevisionsProblem string
	More             bool // there are older revisions
}

func (d *objectData) Title() string {
	if d.Place != nil && d.Place.Missing != "" {
		return "Objects"
	}
	if d.OID == 0 {
		return "Root object"
	}
	return "Object " + d.OID.String()
}

// SearchTime is how long a search through all objects may take.
func (d *objectData) SearchTime() time.Duration { return searchTime }

// searchTime bounds a search through all objects; the page has more.
const searchTime = pageTime * 6 / 10

// shownRevisions is the number of revisions on the page of an object.
const shownRevisions = 8

// objectPage shows an object: that of the parameter oid, or the one that the parameter find leads to,
// or the root object.
func (s *Site) objectPage(ctx context.Context, q *query) (any, error) {
	c := s.contents.of(q.storage)
	d := &objectData{Find: q.text("find"), Download: q.storage.BlobDownload}
	oid, _, err := q.oid("oid")
	if err != nil {
		return nil, err
	}
	tid, err := q.tid("tid")
	if err != nil {
		return nil, err
	}
	if d.Find != "" {
		if oid, err = d.find(ctx, c.browser); err != nil {
			return nil, err
		}
	}
	if d.Object, err = c.browser.Object(ctx, oid, tid); err != nil {
		return nil, err
	}
	if d.Serial != 0 {
		d.Time = d.Serial.Time()
	}
	if d.Text != nil {
		d.State, d.Cut = segments(d.Text, q), d.Text.Cut
	}
	if err := d.referrers(ctx, c.browser, q.text("search") != ""); err != nil {
		return nil, err
	}
	h, err := c.browser.History(ctx, oid, 0, shownRevisions)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !errors.Is(err, zodb.ErrNotFound):
		d.RevisionsProblem = err.Error()
	}
	d.Revisions, d.More = rows(h), h.Next != 0 || h.Early
	return d, nil
}

// find reads an oid, or follows a path.
func (d *objectData) find(ctx context.Context, b *inspect.Browser) (zodb.OID, error) {
	text := strings.TrimSpace(d.Find)
	if !strings.HasPrefix(text, "/") {
		oid, note, err := inspect.ParseOID(text)
		if err != nil {
			return 0, badRequest("%s: want an oid, as 16 hexadecimal digits, 0x1A or a decimal number, or a path that begins with /", safe(text, 100))
		}
		d.Note = note
		return oid, nil
	}
	place, err := b.Resolve(ctx, text)
	if errors.Is(err, inspect.ErrLongPath) {
		return 0, badRequest("%v", err)
	}
	if err != nil {
		return 0, err
	}
	d.Place = place
	return place.OID, nil
}

// referrers looks for those that refer to the object.
func (d *objectData) referrers(ctx context.Context, b *inspect.Browser, search bool) error {
	within, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	var err error
	d.Referrers, err = b.Referrers(within, d.OID, search)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		d.ReferrersProblem, d.Referrers = err.Error(), nil
	}
	d.Searched = search && err == nil
	return nil
}

// segments cuts a state at its references.
func segments(t *pickle.Text, q *query) (list []segment) {
	at := 0
	for _, l := range t.Links {
		if l.Ref.Database != "" {
			continue
		}
		list = append(list, segment{Text: t.String[at:l.Start]}, segment{t.String[l.Start:l.End], q.link("object", "oid", l.Ref.OID)})
		at = l.End
	}
	return append(list, segment{Text: t.String[at:]})
}

func rows(h *inspect.History) (list []revisionRow) {
	for i, e := range h.Entries {
		row := revisionRow{HistoryEntry: e, Time: e.TID.Time(), First: i == len(h.Entries)-1 && h.Next == 0}
		if e.Damage != nil {
			row.Damage = e.Damage.Error()
		}
		list = append(list, row)
	}
	return list
}

// historyData is the page of all revisions of an object.
type historyData struct {
	OID   zodb.OID
	Rows  []revisionRow
	Early bool
	Pager pager
}

func (d *historyData) Title() string { return "History of object " + d.OID.String() }

func (s *Site) historyPage(ctx context.Context, q *query) (any, error) {
	oid, _, err := q.oid("oid")
	if err != nil {
		return nil, err
	}
	from, err := q.tid("from")
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	h, err := s.contents.of(q.storage).browser.History(within, oid, from, pageRows)
	if err != nil {
		return nil, err
	}
	d := &historyData{OID: oid, Rows: rows(h), Early: h.Early}
	if from != 0 {
		d.Pager.First = link{"Newest", q.link("history", "oid", oid)}
	}
	if h.Next != 0 {
		d.Pager.Next = link{"Older", q.link("history", "oid", oid, "from", h.Next)}
	}
	return d, nil
}

// compareData is the page of the difference of two revisions.
type compareData struct {
	*inspect.Comparison
	OldTime, NewTime time.Time
	Added, Removed   int
}

func (d *compareData) Title() string { return "Changes of object " + d.OID.String() }

func (s *Site) comparePage(ctx context.Context, q *query) (any, error) {
	oid, _, err := q.oid("oid")
	if err != nil {
		return nil, err
	}
	older, err := q.tid("old")
	if err != nil {
		return nil, err
	}
	newer, err := q.tid("new")
	if err != nil {
		return nil, err
	}
	c, err := s.contents.of(q.storage).browser.Compare(ctx, oid, older, newer)
	if err != nil {
		return nil, err
	}
	d := &compareData{Comparison: c}
	for _, l := range c.Lines {
		switch l.Op {
		case inspect.Added:
			d.Added++
		case inspect.Removed:
			d.Removed++
		}
	}
	if c.Old.Serial != 0 {
		d.OldTime = c.Old.Serial.Time()
	}
	if c.New.Serial != 0 {
		d.NewTime = c.New.Serial.Time()
	}
	return d, nil
}

// blobFile sends the content of a blob, where the administrator has allowed that. A content that
// differs from its checksum ends before its last byte, so that the browser sees a broken transfer.
func (s *Site) blobFile(w http.ResponseWriter, r *http.Request, q *query) (err error) {
	if !q.storage.BlobDownload {
		return &failure{code: http.StatusForbidden, text: "blob: the settings do not allow downloads; add blobs to web-allow"}
	}
	oid, given, err := q.oid("oid")
	if err != nil || !given {
		return errors.Join(err, badRequest("oid: want that of an object with a blob"))
	}
	tid, err := q.tid("tid")
	if err != nil {
		return err
	}
	blob, err := q.storage.Reader.OpenBlob(r.Context(), oid, tid)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := blob.Close(); cerr != nil {
			s.o.Logger.Debug("a blob for the web page", "err", cerr)
		}
	}()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.blob"`, oid, tid))
	h.Set("Content-Length", strconv.FormatInt(blob.Size(), 10))
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(&patient{w, http.NewResponseController(w), s.o.Clock}, blob); err != nil && r.Context().Err() == nil {
		s.o.Logger.Warn("a blob could not be sent to the web page", "oid", oid, "tid", tid, "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// patient writes as long as the reader takes a piece within writeTime, however many there are.
type patient struct {
	w     io.Writer
	rc    *http.ResponseController
	clock func() time.Time
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(p.clock().Add(writeTime)) // without it the listener's own counts
	return p.w.Write(b)
}
