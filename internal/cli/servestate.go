package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// Operations that a server answers at the control socket of each of its storages.
const (
	opServer  = "server"  // serverState
	opClients = "clients" // zeo.Activity of that storage alone
)

// serverState is a server's description of itself, for status.
type serverState struct {
	Program versionReport `json:"program"`
	Started time.Time     `json:"started"`
	// Addresses are those that clients use.
	Addresses []string `json:"addresses"`
	// Storage is the name under which clients know the storage.
	Storage string `json:"storage"`
	// MaxConnections is the limit for all storages of the server.
	MaxConnections int `json:"max_connections"`
	// Repository is the setting backup-repository; empty: it is not set.
	Repository string `json:"repository,omitempty"`
	// Certificates are those in force, the first one to end first.
	Certificates []certificateEnd `json:"certificates,omitempty"`
}

// certificateEnd is the end of a certificate, or of a revocation list.
type certificateEnd struct {
	Use  string    `json:"use"`
	Name string    `json:"name"`
	End  time.Time `json:"end"`
	Soon time.Time `json:"soon"` // from here on status says so
}

// answerTools has the control sockets of the storages tell tools about the server.
func (s *serving) answerTools(server *zeo.Server, listeners []net.Listener) {
	started := s.e.Now()
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, l.Addr().String())
	}
	repositories := make(map[string]string)
	for _, st := range s.conf.Storages {
		repositories[st.Name] = st.Repository
	}
	for _, st := range s.open.all() {
		storage, ok := st.Storage.(*engine.Storage)
		if !ok {
			continue
		}
		storage.Answer(opServer, func() ([]byte, error) {
			state := serverState{Program: buildInfo(), Started: started, Addresses: addresses, Storage: st.Name,
				MaxConnections: s.conf.MaxConnections, Repository: repositories[st.Name]}
			if s.certs != nil {
				for _, end := range s.certs.Ends() {
					state.Certificates = append(state.Certificates, certificateEnd{end.Use, end.Name, end.At, end.Soon})
				}
			}
			return json.Marshal(state)
		})
		storage.Answer(opClients, func() ([]byte, error) {
			a := server.Activity()
			for _, one := range a.Storages {
				if one.Storage == st.Name {
					a.Storages = []zeo.StorageActivity{one}
					break
				}
			}
			return json.Marshal(a)
		})
	}
}

// askServer asks for an operation, and puts the answer into v. It reports false if the process
// that has the storage open is not a server.
func askServer(ctx context.Context, running *control.Client, op string, v any) (bool, error) {
	b, err := running.Ask(ctx, op)
	if errors.Is(err, zodb.ErrUnsupported) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	return err == nil, err
}
