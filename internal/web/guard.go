package web

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// contentPolicy lets a page load files of this server, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: with it browsers say “null” for the origin of forms, too.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

// origin is an address of a site as browsers name it.
type origin struct {
	scheme, host string // host with the port, if there is one
}

func parseOrigin(text string) (origin, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, fmt.Errorf("%q: want https://NAME or https://NAME:PORT, without a path", text)
	}
	return origin{u.Scheme, strings.ToLower(u.Host)}, nil
}

func parseOrigins(list []string) (origins []origin, err error) {
	for _, text := range list {
		o, err := parseOrigin(text)
		if err != nil {
			return nil, err
		}
		origins = append(origins, o)
	}
	return origins, nil
}

// foreign returns why a request does not come from a page of this site.
//
// A name in the header Host that is not known may be one that somebody else has let point to this
// machine (DNS rebinding): scripts of that name would read the pages. An IP address cannot be that.
func (s *Site) foreign(r *http.Request) error {
	if !s.knownHost(r.Host) {
		return &failure{code: http.StatusMisdirectedRequest,
			text: fmt.Sprintf("host %s: it is not a known name of this server; list it in the setting web-origin", safe(r.Host, 100))}
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if from := r.Header.Get("Origin"); from != "" {
		if !s.knownOrigin(from, r.Host) {
			return &failure{code: http.StatusForbidden, text: fmt.Sprintf("origin %s: a change has to come from a page of this server", safe(from, 100))}
		}
		return nil
	}
	// Browsers name the origin of each POST; a program shows the token in a header.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" || r.Header.Get("Authorization") == "" {
		return &failure{code: http.StatusForbidden, text: "origin missing: a change has to come from a page of this server, or with the token in a header"}
	}
	return nil
}

func (s *Site) knownHost(host string) bool {
	host = strings.ToLower(host)
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		name = h
	}
	if net.ParseIP(strings.Trim(name, "[]")) != nil || name == "localhost" {
		return true
	}
	for _, o := range s.origins {
		if h, _, err := net.SplitHostPort(o.host); o.host == host || o.host == name || err == nil && h == name {
			return true
		}
	}
	return false
}

// knownOrigin reports whether a page at from may send forms to host.
func (s *Site) knownOrigin(from, host string) bool {
	o, err := parseOrigin(from)
	if err != nil {
		return false
	}
	if o.host == strings.ToLower(host) {
		return true
	}
	for _, known := range s.origins {
		if o == known {
			return true
		}
	}
	return false
}

// secure reports whether the browser speaks TLS: with this server, or with a proxy before it.
func (s *Site) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	host := strings.ToLower(r.Host)
	for _, o := range s.origins {
		if o.scheme == "https" && o.host == host {
			return true
		}
	}
	return false
}
