package web

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxClients is how many clients, and how many waits, a page has.
const maxClients = 500

// clientsData is the page of clients and locks.
type clientsData struct {
	zeo.StorageActivity
	Waits        []waitRow
	Unregistered int // connections of the whole server that have not registered
	MoreClients  int // that are not shown
	MoreWaits    int
}

// waitRow is a vote that waits for a lock.
type waitRow struct {
	Client, Holder     string
	OID                zodb.OID
	Known, Held, Exist bool
}

// clientsPage shows who is connected, what their transactions do, and who waits for whom.
func (s *Site) clientsPage(_ context.Context, q *query) (any, error) {
	if s.o.Activity == nil {
		return nil, notFound("clients: nobody counts them here")
	}
	all, ok := s.o.Activity()
	if !ok {
		return nil, &failure{code: 503, retry: 5, text: "the server is not open to clients yet: wait, and reload"}
	}
	for _, st := range all.Storages {
		if st.Storage != q.storage.Name {
			continue
		}
		d := clientsData{StorageActivity: st, Unregistered: all.Unregistered}
		names := make(map[uint64]string)
		for _, c := range st.Clients {
			names[c.Client] = clientName(c)
		}
		for _, w := range st.Waits[:min(len(st.Waits), maxClients)] {
			row := waitRow{Client: names[w.Client], Holder: names[w.Holder], OID: w.OID, Known: w.Known, Held: w.Held, Exist: w.Existence}
			if row.Holder == "" {
				row.Holder = "a transaction of the server itself"
			}
			d.Waits = append(d.Waits, row)
		}
		d.MoreWaits = len(st.Waits) - len(d.Waits)
		if more := len(d.Clients) - maxClients; more > 0 {
			d.Clients, d.MoreClients = d.Clients[:maxClients], more
		}
		return d, nil
	}
	return nil, notFound("storage %s: the server has no clients of it", safe(q.storage.Name, 100))
}

// clientName is the name of a connection for people.
func clientName(c zeo.ClientActivity) string {
	const most = 60
	if c.Label == "" {
		return fmt.Sprintf("%d (%s)", c.Client, c.Address)
	}
	return fmt.Sprintf("%d (%s, %s)", c.Client, safe(c.Label, most), c.Address)
}
