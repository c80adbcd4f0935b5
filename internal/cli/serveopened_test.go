package cli

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/metrics"
)

// TestProbesWhileStoragesAreOpened: the HTTP server answers before all of them are. It is the race
// detector that finds something here, and each probe sees no fewer storages than the one before.
func TestProbesWhileStoragesAreOpened(t *testing.T) {
	t.Parallel()
	conf := &config.Config{Create: true}
	var names []string
	for i := range 3 {
		name := fmt.Sprint(i)
		names = append(names, name)
		conf.Storages = append(conf.Storages, config.Storage{Name: name, Home: filepath.Join(t.TempDir(), "home")})
	}
	s := &serving{e: &env{Now: time.Now}, conf: conf, log: slog.New(slog.DiscardHandler)}
	s.metrics = metrics.New(names, metrics.Options{Clock: time.Now, Logger: s.log})
	begun, ended := make(chan struct{}), make(chan struct{})
	var probes sync.WaitGroup
	probes.Go(func() {
		for n, last := 0, false; !last; n++ {
			select {
			case <-ended:
				last = true
			default:
			}
			seen := len(s.open.all())
			if err := s.alive(t.Context()); err != nil {
				t.Error(err)
			}
			s.ready()
			if now := len(s.open.all()); now < seen || last && now != 3 {
				t.Errorf("%d storages are open, after %d", now, seen)
			}
			if n == 0 {
				close(begun)
			}
			time.Sleep(time.Millisecond)
		}
	})
	<-begun
	err := s.openStorages(t.Context())
	close(ended)
	probes.Wait()
	for _, st := range s.open.all() {
		if err := st.Storage.Close(); err != nil {
			t.Error(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
