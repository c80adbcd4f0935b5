package certs

import "bytes"

// OtherAuthority is the name for the certificate of an authority that is not the server.
const OtherAuthority = "ca.pem"

// ForClients says how clients tell that this is the server: by the certificates in the file
// trust, for the name. trust is the server's own certificate if it signed it itself;
// that of another authority is a file which the server does not know: OtherAuthority.
func (s *Server) ForClients() (trust, name string) {
	leaf := s.current.Load().Certificates[0].Leaf
	trust = OtherAuthority
	if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		trust = s.files.Certificate
	}
	switch {
	case len(leaf.DNSNames) > 0:
		name = leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		name = leaf.IPAddresses[0].String()
	default:
		name = leaf.Subject.CommonName
	}
	return trust, name
}
