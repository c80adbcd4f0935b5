package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// pageRows is how many rows a page of a list has.
const pageRows = 50

// pageTime is how long a page may take.
const pageTime = 10 * time.Second

// page is one page of the site.
type page struct {
	path  string // below Root, without a slash at the ends; empty: the first one
	title string
	nav   bool // it is in the navigation
	// parent is the path of its entry in the navigation, if it has none itself.
	parent string
	// perStorage: it is about one storage, which the parameter storage names.
	perStorage bool
	// template is the name of its file below templates/, without the end.
	template string
	// serve returns the data of the template. Data with a method Title() string gives the title.
	serve func(ctx context.Context, q *query) (any, error)
	// raw answers in place of template and serve. The headers are set already; it sets the type, and
	// returns an error before it has written anything.
	raw func(w http.ResponseWriter, r *http.Request, q *query) error
}

// allPages are the pages in the order of the navigation.
func (s *Site) allPages() []page {
	return []page{
		{path: "", title: "Status", nav: true, template: "status", serve: s.statusPage},
		{path: "live", title: "Live", nav: true, perStorage: true, template: "live", serve: s.livePage},
		{path: "transactions", title: "Transactions", nav: true, perStorage: true, template: "transactions", serve: s.transactionsPage},
		{path: "transaction", title: "Transaction", parent: "transactions", perStorage: true, template: "transaction", serve: s.transactionPage},
		{path: "object", title: "Objects", nav: true, perStorage: true, template: "object", serve: s.objectPage},
		{path: "history", title: "History", parent: "object", perStorage: true, template: "history", serve: s.historyPage},
		{path: "compare", title: "Changes", parent: "object", perStorage: true, template: "compare", serve: s.comparePage},
		{path: "blob", parent: "object", perStorage: true, raw: s.blobFile},
		{path: "classes", title: "Classes", nav: true, perStorage: true, template: "classes", serve: s.classesPage},
		{path: "backups", title: "Backups", nav: true, perStorage: true, template: "backups", serve: s.backupsPage},
		{path: "clients", title: "Clients", nav: true, perStorage: true, template: "clients", serve: s.clientsPage},
	}
}

// query is a request for a page.
type query struct {
	site    *Site
	storage Storage // of a page with perStorage
	values  url.Values
}

// text returns a parameter; empty if it was not given.
func (q *query) text(name string) string {
	const most = 512
	v := q.values.Get(name)
	return v[:min(len(v), most)]
}

// tid returns a parameter that is a tid; 0 if it was not given.
func (q *query) tid(name string) (zodb.TID, error) {
	text := q.text(name)
	if text == "" {
		return 0, nil
	}
	tid, err := zodb.ParseTID(strings.TrimPrefix(text, "0x"))
	if err != nil {
		return 0, badRequest("%s %s: want 16 hexadecimal digits", name, safe(text, 100))
	}
	return tid, nil
}

// oid returns a parameter that is an oid, as hexadecimal digits; false if it was not given.
func (q *query) oid(name string) (zodb.OID, bool, error) {
	text := q.text(name)
	if text == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
	if err != nil {
		return 0, true, badRequest("%s %s: want up to 16 hexadecimal digits", name, safe(text, 100))
	}
	return zodb.OID(n), true, nil
}

// number returns a parameter that is a number from 0 on; 0 if it was not given.
func (q *query) number(name string) (int, error) {
	text := q.text(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, badRequest("%s %s: want a number", name, safe(text, 100))
	}
	return int(n), nil
}

// link returns the address of a page about the storage of the request. params are names and values.
func (q *query) link(path string, params ...any) string {
	return pageLink(path, q.storage.Name, params...)
}

func pageLink(path, storage string, params ...any) string {
	var b strings.Builder
	b.WriteString(Root + path)
	separator := "?"
	add := func(name, value string) {
		b.WriteString(separator + url.QueryEscape(name) + "=" + url.QueryEscape(value))
		separator = "&"
	}
	if storage != "" {
		add("storage", storage)
	}
	for i := 0; i+1 < len(params); i += 2 {
		add(fmt.Sprint(params[i]), fmt.Sprint(params[i+1]))
	}
	return b.String()
}

// link is an address with its text; the zero value is none.
type link struct{ Text, URL string }

// pager leads to the other parts of a list. A link that is zero is not shown.
type pager struct{ First, Previous, Next link }

// stops is why a page is given up that is being made, or waits for that, when the server ends.
func stops() *failure {
	return &failure{code: http.StatusServiceUnavailable, retry: 10, text: "the server stops: the page was given up"}
}

func (s *Site) servePage(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, Root)
	p, ok := s.pages[path]
	if !ok {
		s.fail(w, r, notFound("%s: there is no such page", safe(r.URL.Path, 100)))
		return
	}
	q := &query{site: s, values: r.URL.Query()}
	if name := q.values.Get("storage"); p.perStorage || name != "" { // the navigation keeps it
		var err error
		if q.storage, err = s.storage(name); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	places := s.making
	leave := sync.OnceFunc(func() { <-places })
	if p.raw != nil {
		places = s.sending
	}
	select {
	case places <- struct{}{}:
		defer leave()
	case <-ctx.Done():
		err := &failure{code: http.StatusServiceUnavailable, retry: 5, text: "too many pages are asked for at once: try again in some seconds"}
		if s.life.Err() != nil {
			err = stops()
		}
		s.fail(w, r, err)
		return
	}
	if p.raw != nil {
		if err := p.raw(w, r, q); err != nil {
			s.fail(w, r, err)
		}
		return
	}
	data, err := p.serve(ctx, q)
	if err != nil && s.life.Err() != nil {
		err = stops()
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v := &view{Title: p.title, Path: p.path, Data: data, Storage: q.storage.Name, PerStorage: p.perStorage, LoggedIn: true, CSRF: s.forgeryToken(r), site: s, current: p.path, made: leave}
	if !p.nav {
		v.current = p.parent
	}
	if t, ok := data.(interface{ Title() string }); ok {
		v.Title = t.Title()
	}
	s.write(w, r, http.StatusOK, p.template, v)
}
