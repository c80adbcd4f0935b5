package snapshot

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestRunningStorageIsEnteredAndLeft(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, h, engine.Options{})
	held, err := Enter(t.Context(), Options{Home: h, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Status().Snapshot; got != held.Code || !strings.HasPrefix(got, "user/") {
		t.Errorf("state %q, code %q", got, held.Code)
	}
	if err := s.LeaveSnapshot(t.Context(), strings.TrimPrefix(held.Code, "user/")); !errors.Is(err, zodb.ErrLocked) {
		t.Errorf("the sublock is not held: %v", err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotThatDidNotLastIsTold(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(h string) error{
		"removed": func(h string) error { return os.Remove(filepath.Join(h, snapfile.Name)) },
		"another": func(h string) error { return os.WriteFile(filepath.Join(h, snapfile.Name), []byte("user/x"), 0o644) },
		"lock":    func(h string) error { return os.Remove(filepath.Join(h, snapfile.Sublock)) },
	} {
		h := enginetest.Home(t, engine.CreateOptions{})
		if err := enginetest.Open(t, h, engine.Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		held, err := Enter(t.Context(), Options{Home: h, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(h); err != nil {
			t.Fatal(err)
		}
		if err := held.Release(t.Context()); !errors.Is(err, zodb.ErrSnapshotMode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFailureLeavesNothingBehind lets another tool hold the sublock after the
// mode was entered: it must be left again.
func TestFailureLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, h, engine.Options{RetryInterval: 5 * time.Millisecond})
	if err := s.EnterSnapshot(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(h)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := dir.Lock(snapfile.Sublock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Enter(t.Context(), Options{Home: h, Now: time.Now}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("enter: %v", err)
	}
	if err := errors.Join(lock.Close(), s.LeaveSnapshot(t.Context(), "first"), s.WaitNormal(t.Context())); err != nil {
		t.Errorf("the first owner cannot leave any more: %v", err)
	}
}

// server is what answers as the original's Zope product does.
func server(t *testing.T, s *engine.Storage, answer string) (*httptest.Server, *[]string) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		body, _ := io.ReadAll(q.Body)
		if user != "admin" || password != "secret:1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, rest, _ := strings.Cut(string(body), "<string>")
		code, _, _ := strings.Cut(rest, "</string>")
		var err error
		if strings.Contains(string(body), "<methodName>enterSnapshot</methodName>") {
			asked = append(asked, "enter")
			err = s.EnterSnapshot(q.Context(), code)
		} else if strings.Contains(string(body), "<methodName>leaveSnapshot</methodName>") {
			asked = append(asked, "leave")
			err = s.LeaveSnapshot(q.Context(), code)
		}
		if err != nil {
			io.WriteString(w, `<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1</int></value></member>`+
				`<member><name>faultString</name><value><string>no such mode</string></value></member></struct></value></fault></methodResponse>`)
			return
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	return srv, &asked
}

const goodAnswer = `<?xml version='1.0'?><methodResponse><params><param><value><boolean>1</boolean></value></param></params></methodResponse>`

func TestServerIsAskedOverXMLRPC(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, h, engine.Options{NoControlSocket: true})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv, asked := server(t, s, goodAnswer)
	conf := "# how\nhttp " + srv.URL + " access\nnodirect\n"
	if err := errors.Join(os.WriteFile(filepath.Join(h, confFile), []byte(conf), 0o644),
		os.WriteFile(filepath.Join(h, "config", "access"), []byte("admin:secret:1\nmore\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	held, err := Enter(t.Context(), Options{Home: h, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Status().Snapshot; got != held.Code {
		t.Errorf("state %q, code %q", got, held.Code)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(*asked, " "); got != "enter leave" {
		t.Errorf("asked to %s", got)
	}
}

func TestServerThatRefusesIsBelieved(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, h, engine.Options{NoControlSocket: true})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	access := filepath.Join(t.TempDir(), "access")
	dir, err := vfs.OS(h)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ access, answer, want string }{
		"fault":           {"admin:secret:1", "", "no such mode"},
		"wrong password":  {"admin:x", goodAnswer, "401"},
		"no password":     {"admin", goodAnswer, "user:password"},
		"no XML":          {"admin:secret:1", "hello", "no XML-RPC"},
		"neither of both": {"admin:secret:1", "<methodResponse></methodResponse>", "neither"},
	} {
		srv, _ := server(t, s, tc.answer)
		if err := os.WriteFile(access, []byte(tc.access+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b := &byHTTP{settings.SnapshotMethod{Kind: settings.MethodHTTP, URL: srv.URL, AccessFile: access}, &request{code: "code", home: dir}}
		method := "sleep" // which does nothing
		if name == "fault" {
			method = "leaveSnapshot"
		}
		if err := b.call(context.Background(), method); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMethodsComeFromTheConfiguration(t *testing.T) {
	t.Parallel()
	h := enginetest.Home(t, engine.CreateOptions{})
	dir, err := vfs.OS(h)
	if err != nil {
		t.Fatal(err)
	}
	kinds := func(text string) string {
		if err := os.WriteFile(filepath.Join(h, confFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		methods, err := methods(Options{Home: h}, dir)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, m := range methods {
			list = append(list, string(m.Kind))
		}
		return strings.Join(list, " ")
	}
	for text, want := range map[string]string{
		"":                            "socket direct",
		"nodirect":                    "socket",
		"direct\nsocket\n":            "direct socket direct",
		"http http://localhost/x y":   "socket http direct",
		"rubbish\nsocket\nnodirect\n": "socket",
	} {
		if got := kinds(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
