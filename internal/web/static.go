package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// staticFile is one that every browser may have.
type staticFile struct {
	content    []byte
	kind, etag string
}

// staticKinds are the types of the files, by their ends. No other is served.
func staticKinds() map[string]string {
	return map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
	}
}

func loadStatic() (map[string]staticFile, error) {
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return nil, err
	}
	files, kinds := make(map[string]staticFile), staticKinds()
	for _, e := range entries {
		kind, ok := kinds[path.Ext(e.Name())]
		if !ok {
			continue
		}
		b, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		const digits = 16
		files[e.Name()] = staticFile{b, kind, `"` + hex.EncodeToString(sum[:digits]) + `"`}
	}
	return files, nil
}

func (s *Site) serveStatic(w http.ResponseWriter, r *http.Request) {
	f, ok := s.static[r.PathValue("name")]
	if !ok {
		s.fail(w, r, notFound("%s: there is no such file", safe(r.URL.Path, 100)))
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache") // ask each time whether it has changed
	h.Set("ETag", f.etag)
	for known := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == f.etag || known == "*" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", f.kind)
	_, _ = w.Write(f.content) // the client may be gone
}
