package web

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// txnRow is one transaction in a list.
type txnRow struct {
	TID, Newer        zodb.TID // Newer: the one after it; 0 = not known
	Time              time.Time
	User, Description []byte
	Objects           int
	Size              string // empty: it was not measured
	Packed            bool
	Damage            string
}

// txnList is the data of the page of transactions.
type txnList struct {
	Rows  []txnRow
	Pager pager
}

// measured is the number of objects up to which a list says the size of a transaction: each one
// may be a look at a file.
const measured = 200

// maxTrail is how many pages a link back remembers.
const maxTrail = 20

// transactionsPage lists transactions from the newest back, or from a tid back. The chain of
// transactions leads backwards only, so the way forward is the trail of the pages before, in the
// address.
func (s *Site) transactionsPage(ctx context.Context, q *query) (any, error) {
	from, err := q.tid("from")
	if err != nil {
		return nil, err
	}
	list := &txnList{}
	older, err := list.back(ctx, q.storage.Reader, from)
	if err != nil {
		return nil, err
	}
	trail := q.text("trail")
	if from != 0 {
		list.Pager.First = link{"Newest", q.link("transactions")}
		switch cut := strings.LastIndexByte(trail, '.'); {
		case cut >= 0:
			list.Pager.Previous = link{"Newer", q.link("transactions", "from", trail[cut+1:], "trail", trail[:cut])}
		case trail != "":
			list.Pager.Previous = link{"Newer", q.link("transactions", "from", trail)}
		}
		trail = strings.TrimPrefix(trail+"."+from.String(), ".")
	}
	if older != 0 {
		if parts := strings.Split(trail, "."); len(parts) > maxTrail {
			trail = strings.Join(parts[len(parts)-maxTrail:], ".")
		}
		if trail == "" {
			list.Pager.Next = link{"Older", q.link("transactions", "from", older)}
		} else {
			list.Pager.Next = link{"Older", q.link("transactions", "from", older, "trail", trail)}
		}
	}
	return list, nil
}

// back adds the rows from a tid back, and returns the tid with which the list goes on; 0 = it is at
// its end. Of a damaged transaction only the tid is known, or not even that.
func (l *txnList) back(ctx context.Context, r Reader, from zodb.TID) (older zodb.TID, err error) {
	for t, err := range r.TransactionsBackward(ctx, from) {
		if err != nil && (ctx.Err() != nil || from != 0 && len(l.Rows) == 0 && t == nil) {
			return 0, err
		}
		if len(l.Rows) >= pageRows && t != nil {
			return t.TID, nil
		}
		row := newRow(ctx, r, t, err)
		if n := len(l.Rows); n > 0 {
			row.Newer = l.Rows[n-1].TID
		}
		l.Rows = append(l.Rows, row)
	}
	return 0, nil
}

func newRow(ctx context.Context, r Reader, t *zodb.Transaction, damage error) txnRow {
	if t == nil {
		return txnRow{Damage: damage.Error()}
	}
	if damage != nil {
		return txnRow{TID: t.TID, Time: t.TID.Time(), Damage: damage.Error()}
	}
	row := txnRow{TID: t.TID, Time: t.TID.Time(), User: t.User, Description: t.Description, Objects: len(t.OIDs), Packed: t.Status == zodb.StatusPacked}
	if len(t.OIDs) <= measured {
		if n, err := r.TransactionSize(ctx, t); err == nil {
			row.Size = human.Bytes(n)
		}
	}
	return row
}

// txnObject is one record of a transaction.
type txnObject struct {
	OID   zodb.OID
	Class string
	Size  int
	Note  string
}

// txnPage is the data of the page of one transaction.
type txnPage struct {
	TID, Previous, Next zodb.TID
	Time                time.Time
	User, Description   []byte
	Extension           string // as text
	Packed              bool
	Objects             int
	From                int
	Rows                []txnObject
	Size                string
	Pager               pager
}

func (p *txnPage) Title() string { return "Transaction " + p.TID.String() }

func (s *Site) transactionPage(ctx context.Context, q *query) (any, error) {
	tid, err := q.tid("tid")
	if err != nil {
		return nil, err
	}
	from, err := q.number("from")
	if err != nil {
		return nil, err
	}
	r := q.storage.Reader
	t, err := r.Transaction(ctx, tid)
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, notFound("transaction %s: the storage has none with this tid, or a pack has removed it", tid)
	}
	if err != nil {
		return nil, err
	}
	p := &txnPage{
		TID: t.TID, Previous: t.Previous, Time: t.TID.Time(), User: t.User, Description: t.Description,
		Packed: t.Status == zodb.StatusPacked, Objects: len(t.OIDs), From: min(from, len(t.OIDs)),
		Extension: extensionText(t.Extension),
	}
	// The storage does not know the transaction after this one; a link that leads here does.
	if p.Next, err = q.tid("next"); err != nil {
		return nil, err
	}
	if p.Next <= t.TID {
		p.Next = 0
	}
	if len(t.OIDs) <= 100*measured {
		if n, err := r.TransactionSize(ctx, t); err == nil {
			p.Size = human.Bytes(n)
		}
	}
	for _, oid := range t.OIDs[p.From:min(p.From+pageRows, len(t.OIDs))] {
		row, err := newObject(ctx, r, oid, t.TID)
		if err != nil {
			return nil, err
		}
		p.Rows = append(p.Rows, row)
	}
	if p.From > 0 {
		p.Pager.First = link{"First objects", q.link("transaction", "tid", tid)}
		p.Pager.Previous = link{"Previous objects", q.link("transaction", "tid", tid, "from", max(0, p.From-pageRows))}
	}
	if next := p.From + pageRows; next < len(t.OIDs) {
		p.Pager.Next = link{"Next objects", q.link("transaction", "tid", tid, "from", next)}
	}
	return p, nil
}

func newObject(ctx context.Context, r Reader, oid zodb.OID, tid zodb.TID) (txnObject, error) {
	row := txnObject{OID: oid}
	rec, err := r.LoadRecord(ctx, oid, tid)
	switch {
	case ctx.Err() != nil:
		return row, ctx.Err()
	case errors.Is(err, zodb.ErrNotFound):
		row.Note = "packed away"
		return row, nil
	case err != nil:
		row.Note = "damaged: " + err.Error()
		return row, nil
	}
	row.Size = len(rec.Data)
	var notes []string
	if !rec.Exists {
		notes = append(notes, "deleted from here on")
	} else if module, name, err := pickle.ClassAtOnce(rec.Data); err == nil {
		row.Class = strings.TrimPrefix(module+"."+name, ".")
	}
	if rec.HasBlob {
		notes = append(notes, "with a blob")
	}
	if rec.DataTID != 0 {
		notes = append(notes, fmt.Sprintf("as of %s", rec.DataTID))
	}
	row.Note = strings.Join(notes, ", ")
	return row, nil
}

// extensionText shows the pickled dictionary of a transaction; nothing of it is executed.
func extensionText(pickled []byte) string {
	if len(pickled) == 0 {
		return ""
	}
	const noClass, most = "cnone\nnone\n.", 16 << 10 // a record has a pickle with the class first
	text, err := pickle.Dump(append([]byte(noClass), pickled...), most)
	if err != nil {
		const shown = 512
		return fmt.Sprintf("not readable as a pickle: %x", pickled[:min(len(pickled), shown)])
	}
	if text == "{}" {
		return ""
	}
	return text
}
