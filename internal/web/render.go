package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
)

//go:embed templates
var templateFiles embed.FS

// maxPage is the largest page in bytes.
const maxPage = 4 << 20

// view is the data of the layout. Its exported fields and methods are for templates.
type view struct {
	Title, Path string
	Data        any    // of the page
	Storage     string // of the page; empty: it is about none
	PerStorage  bool
	LoggedIn    bool
	CSRF        string

	site    *Site
	current string // path of the entry in the navigation
	made    func() // called when the page is whole, before it is sent; nil: nothing is
}

// entry is one of the navigation.
type entry struct {
	Text, URL string
	Current   bool
}

// Nav returns the navigation.
func (v *view) Nav() (list []entry) {
	if !v.LoggedIn {
		return nil
	}
	for _, p := range v.site.list {
		if !p.nav {
			continue
		}
		list = append(list, entry{p.title, pageLink(p.path, v.Storage), v.current == p.path})
	}
	return list
}

// Storages returns the names of the storages.
func (v *view) Storages() (names []string) {
	for _, st := range v.site.o.Storages() {
		names = append(names, st.Name)
	}
	return names
}

// Link returns the address of a page about the storage of this one.
func (v *view) Link(path string, params ...any) string { return pageLink(path, v.Storage, params...) }

// LinkTo returns the address of a page about a storage.
func (v *view) LinkTo(storage, path string, params ...any) string {
	return pageLink(path, storage, params...)
}

// Has reports whether there is a page, for links from one to another.
func (v *view) Has(path string) bool { _, ok := v.site.pages[path]; return ok }

// Static returns the address of a static file.
func (v *view) Static(name string) string { return Root + "static/" + name }

// Now is the time of the page.
func (v *view) Now() time.Time { return v.site.o.Clock() }

// Version is that of the program.
func (v *view) Version() string { return v.site.o.Version }

// renderer has the templates, by name.
type renderer struct{ pages map[string]*template.Template }

// newRenderer reads all templates, so that a fault in one shows at once.
func newRenderer(s *Site) (*renderer, error) {
	layout, err := template.New("layout").Funcs(s.functions()).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	r := &renderer{pages: make(map[string]*template.Template)}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".html")
		if !ok || name == "layout" || name == "parts" {
			continue
		}
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+e.Name())
		}
		if err != nil {
			return nil, err
		}
		r.pages[name] = t
	}
	for _, p := range s.list {
		if p.raw == nil && r.pages[p.template] == nil {
			return nil, fmt.Errorf("page %q: there is no template %q", p.path, p.template)
		}
	}
	return r, nil
}

// functions are those of templates.
func (s *Site) functions() template.FuncMap {
	at := func(t time.Time) string { return human.FormatTime(t, s.o.Location) }
	return template.FuncMap{
		"text":  func(v any) string { return whole(anyText(v)) },
		"short": func(n int, v any) string { return safe(anyText(v), n) },
		"bytes": func(n any) string { return human.Bytes(integer(n)) },
		"count": func(n any) string { return human.Count(integer(n)) },
		"plural": func(n any, one, many string) string {
			return human.Plural(integer(n), one, many)
		},
		"duration": human.Duration,
		"time":     func(t time.Time) template.HTML { return timeElement(t, at(t)) },
		"ago": func(t time.Time) template.HTML {
			d := s.o.Clock().Sub(t)
			switch {
			case d < 0:
				return timeElement(t, "in "+human.Duration(-d))
			case d < time.Second:
				return timeElement(t, "just now")
			}
			return timeElement(t, human.Duration(d)+" ago")
		},
	}
}

// timeElement shows a time; text is made of digits and units only.
func timeElement(t time.Time, text string) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + template.HTMLEscapeString(text) + `</time>`)
}

// integer takes the numbers that data of pages has.
func integer(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n)
	}
	panic(fmt.Sprintf("web: %T where a template wants a number", n))
}

// limited is a buffer with room for one page.
type limited struct{ made bytes.Buffer }

var errTooLarge = errors.New("the page is too large: ask for a smaller part of it")

func (l *limited) Write(b []byte) (int, error) {
	if l.made.Len()+len(b) > maxPage {
		return 0, errTooLarge
	}
	return l.made.Write(b)
}

// write answers with a page. It is made whole before anything is sent, so that a fault in the middle
// becomes an error page.
func (s *Site) write(w http.ResponseWriter, r *http.Request, code int, name string, v *view) {
	var b limited
	if err := s.render.pages[name].ExecuteTemplate(&b, "layout", v); err != nil {
		if name == "error" {
			s.o.Logger.Error("the error page could not be made", "err", err)
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		s.fail(w, r, err)
		return
	}
	if v.made != nil {
		v.made()
	}
	from := addressOf(r)
	if !s.readers.enter(from) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are being sent to readers that are slow: try again in some seconds", http.StatusServiceUnavailable)
		return
	}
	defer s.readers.leave(from)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		s.send(w, b.made.Bytes())
	}
}
