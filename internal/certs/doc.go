// Package certs is the TLS side of a server: its certificate, and the
// certificates of those who may connect.
//
// A client has to show a certificate. It is accepted if it is one of those that
// are trusted, or is signed by one that is an authority, and if no revocation
// list names it. There is no check of host names: a client with such a certificate may use
// everything that is served.
//
// The files can be read again while the server runs. Connections that exist stay,
// unless their listener asks Server.Revoked about them; those that come in later meet the new files. Sessions are not resumed, so that
// this holds for each of them.
//
// Rules for revocation are those of Python's ZEO server (X509_V_FLAG_CRL_CHECK):
// once there is a list at all, a client's certificate that an authority signed needs
// a list of that authority that has not run out.
package certs
