//go:build unix

package vfs

import (
	"errors"
	"testing"
)

func TestPrivateFilesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	f, err := OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := PutAside(f, "key", []byte("secret"), PutOptions{Private: true}); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat("key"); err != nil || info.Mode.Perm() != privateMode {
		t.Errorf("mode %v, %v", info.Mode, err)
	}
	// An FS of which the modes are not known makes no such file.
	created, err := PutStamped(struct{ FS }{f}, "other", []byte("secret"), PutOptions{Private: true})
	if _, serr := f.Stat("other"); created || !errors.Is(err, ErrNotSupported) || serr == nil {
		t.Errorf("made: %t, %v", created, err)
	}
}
