package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

// Operations that a server answers at the control socket of each of its storages.
const (
	opServer  = "server"  // serverState
	opClients = "clients" // zeo.Activity of that storage alone
	opFound   = "found"   // takes a runs.Run: damage that could not be recorded
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
	// Found is damage that a job found and could not record: the disk was full, or read-only.
	Found *runs.Run `json:"found,omitempty"`
	// Unkept is why no room could be kept for records of damage at the start; empty: it could.
	Unkept string `json:"unkept,omitempty"`
}

// certificateEnd is the end of a certificate, or of a revocation list.
type certificateEnd struct {
	Use  string    `json:"use"`
	Name string    `json:"name"`
	End  time.Time `json:"end"`
	Soon time.Time `json:"soon"` // from here on status says so
}

// tell says when the certificate ends.
func (c *certificateEnd) tell(now time.Time) string {
	text := "the " + c.Use + " certificate "
	if c.Use == certs.UseRevocation {
		text = "the " + c.Use + " of "
	}
	text += printable([]byte(c.Name))
	if !now.Before(c.End) {
		return text + " has ended at " + human.FormatTime(c.End, time.Local)
	}
	return fmt.Sprintf("%s ends at %s, in %s", text, human.FormatTime(c.End, time.Local), human.Number(int64(daysUntil(c.End, now)), "day"))
}

// state describes the server to those who ask about one of its storages. It knows neither its
// start nor its addresses.
func (s *serving) state(storage string) serverState {
	state := serverState{Program: buildInfo(), Storage: storage, MaxConnections: s.conf.MaxConnections, Found: s.found.of(storage)}
	for _, st := range s.conf.Storages {
		if st.Name == storage {
			state.Repository = st.Repository
		}
	}
	for _, st := range s.open.all() {
		if p, ok := st.Storage.(*servedStorage); ok && st.Name == storage && p.unkept != nil {
			state.Unkept = p.unkept.Error()
		}
	}
	if s.certs != nil {
		for _, end := range s.certs.Ends() {
			state.Certificates = append(state.Certificates, certificateEnd{end.Use, end.Name, end.At, end.Soon})
		}
	}
	return state
}

// answerTools has the control sockets of the storages tell tools about the server.
func (s *serving) answerTools(server *zeo.Server, listeners []net.Listener) {
	started := s.e.Now()
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, l.Addr().String())
	}
	for _, st := range s.open.all() {
		storage, ok := st.Storage.(*servedStorage)
		if !ok {
			continue
		}
		storage.Answer(opServer, func([]byte) ([]byte, error) {
			state := s.state(st.Name)
			state.Started, state.Addresses = started, addresses
			return json.Marshal(state)
		})
		storage.Answer(opFound, func(b []byte) ([]byte, error) {
			var damage runs.Run
			if err := json.Unmarshal(b, &damage); err != nil {
				return nil, fmt.Errorf("damage that was found: %w", err)
			}
			s.remember(st.Name, &damage)
			return nil, nil
		})
		storage.Answer(opClients, func([]byte) ([]byte, error) {
			a := server.Activity()
			if one := storageActivity(&a, st.Name); one != nil {
				a.Storages = []zeo.StorageActivity{*one}
			}
			return json.Marshal(a)
		})
	}
}

// storageActivity is that of one storage; nil: there is none of that name.
func storageActivity(a *zeo.Activity, name string) *zeo.StorageActivity {
	for i := range a.Storages {
		if a.Storages[i].Storage == name {
			return &a.Storages[i]
		}
	}
	return nil
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
