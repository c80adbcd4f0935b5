package snapshot

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// byHTTP is snapshot mode that was entered by an XML-RPC call of a server that
// has the storage open, with the original's methods enterSnapshot(code) and
// leaveSnapshot(code) and HTTP basic authentication.
type byHTTP struct {
	method settings.SnapshotMethod
	q      *request
}

func enterByHTTP(ctx context.Context, m settings.SnapshotMethod, q *request) (entered, error) {
	b := &byHTTP{m, q}
	err := b.call(ctx, "enterSnapshot")
	if err != nil && b.isIn() {
		err = nil // only the answer was lost
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// isIn reports whether A is our snapshot.
func (b *byHTTP) isIn() bool {
	code, err := readCode(b.q.home)
	return err == nil && code == snapfile.User(b.q.code)
}

// end does nothing: the original's server takes the sublock to leave.
func (b *byHTTP) end(context.Context) bool { return false }

// leave asks again, if somebody else looked at the snapshot meanwhile and had the
// sublock for that.
func (b *byHTTP) leave(ctx context.Context) error {
	return again(ctx, func() (error, bool) {
		err := b.call(ctx, "leaveSnapshot")
		if err != nil && !b.isIn() {
			return nil, false
		}
		_, refused := errors.AsType[*fault](err)
		return err, refused
	})
}

func (b *byHTTP) close() error { return nil }

// fault is the answer of a server that refused or failed a call.
type fault struct{ method, text string }

func (f *fault) Error() string { return f.method + " was refused: " + f.text }

// maxAnswer is how much of an answer is read.
const maxAnswer = 1 << 20

func (b *byHTTP) call(ctx context.Context, method string) error {
	access, err := vfs.ReadFile(b.method.AccessFile)
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(access), "\n")
	user, password, ok := strings.Cut(strings.TrimRight(line, "\r"), ":")
	if !ok {
		return fmt.Errorf("%s: the first line is not user:password", b.method.AccessFile)
	}
	var code bytes.Buffer
	if err := xml.EscapeText(&code, []byte(b.q.code)); err != nil {
		return err
	}
	body := xml.Header + "<methodCall><methodName>" + method + "</methodName><params><param><value><string>" +
		code.String() + "</string></value></param></params></methodCall>"
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, b.method.URL, strings.NewReader(body))
	if err != nil {
		return err
	}
	q.SetBasicAuth(user, password)
	q.Header.Set("Content-Type", "text/xml")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err = errors.Join(err, a.Body.Close()); err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s answers %s", method, b.method.URL, a.Status)
	}
	return parseAnswer(method, answer)
}

// parseAnswer returns the fault of an XML-RPC answer as an error.
func parseAnswer(method string, answer []byte) error {
	var r struct {
		XMLName xml.Name  `xml:"methodResponse"`
		Params  *struct{} `xml:"params"`
		Fault   *struct {
			Members []struct {
				Name  string `xml:"name"`
				Value struct {
					Text   string `xml:",chardata"`
					String string `xml:"string"`
				} `xml:"value"`
			} `xml:"value>struct>member"`
		} `xml:"fault"`
	}
	if err := xml.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("%s: the answer is no XML-RPC: %w", method, err)
	}
	if r.Fault == nil {
		if r.Params == nil {
			return fmt.Errorf("%s: the answer is neither a result nor a fault", method)
		}
		return nil
	}
	text := "no reason given"
	for _, m := range r.Fault.Members {
		if m.Name == "faultString" {
			text = strings.TrimSpace(m.Value.Text + m.Value.String)
		}
	}
	return &fault{method, text}
}
