package ops_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/ops"
)

// TestDownloadOfARevokedCertificateEnds in the middle; one of another certificate goes on.
func TestDownloadOfARevokedCertificateEnds(t *testing.T) {
	t.Parallel()
	for name, revoked := range map[string]error{"revoked": errors.New("it is revoked"), "good": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			identity := httptest.NewUnstartedServer(nil)
			identity.StartTLS()
			conf := identity.TLS.Clone()
			identity.Close()
			conf.NextProtos = nil
			more := make(chan struct{})
			s, _ := listen(t, ops.Options{TLS: conf, WebRoot: "/web/", Web: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, line := range []string{"first\n", "second\n"} {
					if _, err := w.Write([]byte(line)); err != nil {
						return
					}
					if err := http.NewResponseController(w).Flush(); err != nil {
						return
					}
					select {
					case <-more:
					case <-r.Context().Done():
						return
					}
				}
			})})
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			answer, err := c.Get("https://" + s.Addr().String() + "/web/blob")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body := bufio.NewReader(answer.Body)
			if line, err := body.ReadString('\n'); line != "first\n" {
				t.Fatalf("%q, %v", line, err)
			}
			asked := make(chan struct{}, 1)
			s.EndRevoked(func(tls.ConnectionState) error {
				asked <- struct{}{}
				return revoked
			})
			hometest.Eventually(t, "it is asked", func() bool { return len(asked) == 1 })
			if revoked == nil {
				close(more)
			}
			line, err := body.ReadString('\n')
			if (err != nil) != (revoked != nil) || revoked == nil && line != "second\n" {
				t.Errorf("%q, %v", line, err)
			}
		})
	}
}
