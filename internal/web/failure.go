package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/dirstorage/dirstorage/zodb"
)

// failure is an error with its status of HTTP.
type failure struct {
	code int
	text string
	// retry is the number of seconds after which to try again; 0: not said.
	retry int
}

func (f *failure) Error() string { return f.text }

func notFound(format string, a ...any) error {
	return &failure{code: http.StatusNotFound, text: fmt.Sprintf(format, a...)}
}

func badRequest(format string, a ...any) error {
	return &failure{code: http.StatusBadRequest, text: fmt.Sprintf(format, a...)}
}

// asFailure gives an error its status.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, zodb.ErrNotFound):
		return &failure{code: http.StatusNotFound, text: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{code: http.StatusServiceUnavailable, text: fmt.Sprintf("the page took more than %s: the storage is busy, try again later", pageTime)}
	case errors.Is(err, zodb.ErrClosed):
		return &failure{code: http.StatusServiceUnavailable, text: "the storage is being closed: the server stops"}
	}
	return &failure{code: http.StatusInternalServerError, text: err.Error()}
}

// fail answers with an error page.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := asFailure(err)
	if f.code == http.StatusInternalServerError {
		s.o.Logger.Warn("a page could not be made", "path", r.URL.Path, "err", err)
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(f.retry))
	}
	v := &view{Title: http.StatusText(f.code), Data: f.text, site: s}
	if _, in := s.who(r, false); in {
		v.LoggedIn, v.CSRF = true, s.forgeryToken(r)
	}
	s.write(w, r, f.code, "error", v)
}
