package config

import "fmt"

// minToken is the least length of a token for the pages, in bytes.
const minToken = 16

// finishWeb checks that the pages have a listener, and that nobody sees them unknown.
func (l *loader) finishWeb() {
	w, source := &l.conf.Web, func(name string) string { _, s := l.text(name); return s }
	if l.conf.HTTPTLS && l.conf.TLS == nil {
		l.fail(&Error{Where: source("http-tls"), What: "http-tls needs a certificate of the server", Do: "set tls-certificate and tls-authenticate"})
	}
	if !w.On {
		return
	}
	if l.conf.HTTPListen == "" {
		l.fail(&Error{Where: source("web"), What: "web needs an address", Do: "set http-listen, to 127.0.0.1:9818 for instance"})
	}
	switch {
	case w.TokenFile != "" && w.Token != "":
		l.fail(&Error{Where: source("web-token-file"), What: "the token is given twice: web-token-file, and DIRSTORAGE_WEB_TOKEN in the environment", Do: "leave one of them out"})
	case w.Token != "" && len(w.Token) < minToken:
		l.fail(&Error{Where: source("web-token"), What: fmt.Sprintf("the token has %d characters: want %d at least", len(w.Token), minToken), Do: "make one with: openssl rand -hex 24"})
	case w.TokenFile == "" && w.Token == "" && !l.conf.HTTPTLS:
		l.fail(&Error{Where: source("web"), What: "web needs a token, or client certificates",
			Do: "set web-token-file to a file made by: (umask 077; openssl rand -hex 24 > FILE); or DIRSTORAGE_WEB_TOKEN; or http-tls"})
	}
}
