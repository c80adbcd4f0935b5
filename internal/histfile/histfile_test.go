package histfile_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

func TestMarkIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	for _, dir := range []string{"misc", "journal"} {
		if err := f.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := histfile.Read(f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	want := histfile.Mark{Identity: "0123", TID: 77, Due: true, Anchor: 1, File: vfs.Identity{Ino: 5, Changed: 6, Born: 7}, A: vfs.Identity{Ino: 8}, Differs: true}
	if err := histfile.Write(f, want, vfs.SyncOptions{File: true, Dir: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := histfile.Read(f); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestMeaninglessMarkIsToldFromOneThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"anchor":2}`, `{"anchor":-1}`, `[]`} {
		f := crashfs.New(1)
		if err := f.Mkdir("misc"); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Put(f, histfile.Name, []byte(text), false); err != nil {
			t.Fatal(err)
		}
		if _, err := histfile.Read(f); err == nil {
			t.Errorf("%q is a mark", text)
		} else if _, ok := errors.AsType[*histfile.MeaninglessError](err); !ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
