// Package web is the page that people look at in a browser: the state of the storages, live rates,
// transactions, clients and locks. It is a handler for the HTTP listener of the server, at /web/.
//
// Every request is authenticated: by a session, which the login form begins with the token of the
// server, by the token in a header, or by a client certificate. Only the login form and the static
// files are open. See auth.go and guard.go.
//
// The pages read. A change is a POST with a token of its own against forgery, and the administrator
// allows each kind in the settings; see actions.go.
//
// Texts of clients and of records are hostile until shown otherwise: html/template escapes them, and
// text.go makes control characters visible. The content policy lets a browser load files of this
// package and nothing else, so the templates have no inline script and no inline style.
//
// Memory is bounded: a page has a limit of bytes and of time, few are made at once, and streams of
// live figures share the last minutes of one sampler; see live.go.
//
// A page is a line in the table of pages.go, a function that returns its data, and a template.
package web
