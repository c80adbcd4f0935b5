package bundled_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// listsOf returns the paths of all gone lists of A.
func listsOf(t *testing.T, disk vfs.FS) (paths []string) {
	t.Helper()
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		if _, number, ok := bundle.ParseName(e.Name); ok && number > 0 {
			paths = append(paths, "A/bundles/"+e.Name)
		}
	}
	return paths
}

// TestALostListIsTold: somebody loses the list of removed members beside a bundle. Each open says so until there is a later one, which does not have the number of the lost one.
func TestALostListIsTold(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"lost": true, "not lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, disk, _ := packedTwice(t)
			tendToEnd(t, s, store.Tending{})
			bringBackNow(t, s, 102)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			carrying := carrying(t, disk)[0]
			list := "A/bundles/" + carrying.Gone(1)
			if lose {
				if err := disk.Remove(list); err != nil {
					t.Fatal(err)
				}
			}
			open := func(say string, want bool) *bundled.Store {
				t.Helper()
				var told []string
				s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 100, Warn: func(text string, err error) {
					told = append(told, fmt.Sprint(text, err))
				}})
				if err != nil {
					t.Fatal(err)
				}
				if has := len(told) == 1 && strings.Contains(told[0], list); has != want || !want && len(told) > 0 {
					t.Errorf("%s: the warnings are %q", say, told)
				}
				if lists := s.LostLists(); want != slices.Equal(lists, []string{list}) || !want && len(lists) > 0 {
					t.Errorf("%s: the lost lists are %q", say, lists)
				}
				return s
			}
			for i := range 2 {
				if err := open(fmt.Sprint("open ", i), lose).Close(); err != nil {
					t.Fatal(err)
				}
			}
			s = open("a third time", lose)
			removeNow(t, s, 103, store.Removal{Objects: []zodb.OID{3}})
			if lists := s.LostLists(); len(lists) > 0 {
				t.Errorf("after a later list the lost ones are %q", lists)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if now := listsOf(t, disk); len(now) != 1 || now[0] != "A/bundles/"+carrying.Gone(2) {
				t.Errorf("the lists are %v", now)
			}
			if err := open("with a later list", false).Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAListThatIsPutBackIsNotLost: the advice of the warning is right.
func TestAListThatIsPutBackIsNotLost(t *testing.T) {
	t.Parallel()
	s, disk, _ := packedTwice(t)
	tendToEnd(t, s, store.Tending{})
	bringBackNow(t, s, 102)
	there := map[zodb.OID]bool{1: false, 2: true, 3: true, 9: true}
	wantThere(t, "brought back", s, there)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list := listsOf(t, disk)[0]
	content, err := disk.ReadFile(list)
	if err := errors.Join(err, disk.Remove(list)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, disk)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(disk, list, content, true); err != nil {
		t.Fatal(err)
	}
	s, err = bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, Warn: func(text string, err error) {
		t.Errorf("%s: %v", text, err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantThere(t, "put back", s, there)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
