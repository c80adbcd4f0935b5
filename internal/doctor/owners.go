package doctor

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// mostFiles is how many files of HOME are looked at for their owners.
const mostFiles = 100_000

// owners judges to whom HOME and its files belong. writable: this process can write there.
func (x *examination) owners(ctx context.Context, writable bool) {
	f := x.o.FS
	uid, _, err := vfs.Owner(f, ".")
	if err != nil {
		return // not known here
	}
	before := len(x.r.Findings)
	if x.o.User != 0 && x.o.User != uid && writable {
		x.find("owner-other", "it belongs to user %d, and this is user %d", uid, x.o.User)
	}
	if l := x.o.Limits; l.PID != 0 && l.User >= 0 && l.User != uid {
		x.find("owner-server", "HOME belongs to user %d, and the server, process %d, is user %d", uid, l.PID, l.User)
	}
	if x.o.Home == nil || x.o.Quick {
		return
	}
	info, err := f.Stat(".")
	if err == nil && info.Mode.Perm()&0o005 == 0o005 {
		x.find("mode-open", "its mode is %s", fs.ModeDir|info.Mode.Perm())
	}
	w := ownerWalk{x: x, ctx: ctx, uid: uid}
	err = w.dir("config", "misc", "journal", string(store.B), string(store.A))
	all := "all"
	if errors.Is(err, errEnough) {
		all = "the first"
	}
	if w.foreign > 0 {
		x.find("owner-foreign", "another user than HOME's has %s of %s %s, such as %s", human.Count(w.foreign), all, human.Plural(w.files, "file or directory", "files and directories"), f.Path(w.first))
	}
	if len(x.r.Findings) == before {
		x.good("owner", "user %d has %s %s, as HOME", uid, all, human.Plural(w.files, "file or directory", "files and directories"))
	}
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// ownerWalk counts files of other users.
type ownerWalk struct {
	x              *examination
	ctx            context.Context
	uid            int
	files, foreign int64
	first          string
}

func (w *ownerWalk) dir(names ...string) error {
	for _, name := range names {
		if err := w.one(name, true); err != nil {
			return err
		}
	}
	return nil
}

// one looks at a file or a directory. Only errEnough and that of the context end the walk.
func (w *ownerWalk) one(name string, isDir bool) error {
	if w.files >= mostFiles {
		return errEnough
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	uid, _, err := vfs.Owner(w.x.o.FS, name)
	if err != nil {
		return nil //nolint:nilerr // it was removed, or is not there
	}
	w.files++
	if uid != w.uid {
		if w.foreign++; w.first == "" {
			w.first = name
		}
	}
	if !isDir {
		return nil
	}
	for e, err := range w.x.o.FS.List(name) {
		if err != nil {
			return nil //nolint:nilerr // it cannot be looked into
		}
		if err := w.one(path.Join(name, e.Name), e.IsDir()); err != nil {
			return err
		}
	}
	return nil
}

// remains are names of files that interrupted commands leave in HOME. Of those in journal/ and of
// undelete the next open or check speaks.
var remains = []struct{ name, kind, of string }{
	{"config.new", "leftover", "create, import or restore"},
	{".restoring", "leftover", "restore into an empty directory"},
	{"misc/restore.json", "leftover", "restore"},
	{"misc/refs.tmp", "leftover", "refs --write-index or check --refs"},
	{"misc/refs.new", "leftover", "refs --write-index or check --refs"},
	{"misc/loading", "leftover", "import"},
	{"misc/damaged", "leftover-bundle", "a crash"},
}

// besides are names beside HOME, around its own, of files that interrupted commands leave.
var besides = []struct{ before, after, of string }{
	{"", ".restoring", "restore"},
	{"", ".restoring.lock", "restore"},
	{"", ".replaced", "restore --delta"},
	{".", ".new", "create or import"},
}

// leftovers looks for files of interrupted commands.
func (x *examination) leftovers() {
	f, h := x.o.FS, x.o.Home
	before := len(x.r.Findings)
	running := h != nil && h.Running
	for _, r := range remains {
		if exists(f, r.name) {
			x.find(r.kind, "%s, of %s", r.name, r.of)
		}
	}
	if found, err := pack.Pending(f); found && err == nil && !running {
		x.find("leftover-pack", "the plan of a pack is there")
	}
	if h != nil && !running && h.Snapshot != "" && h.Snapshot != "shutdown" {
		x.find("snapshot-left", "it is in snapshot mode (%s), and not running", h.Snapshot)
	}
	above, name, err := vfs.Split(f.Path("."))
	if err == nil && h != nil {
		for _, b := range besides {
			// Without the state of a restore, somebody else has made a directory of that name.
			if b.after == ".replaced" && !exists(f, "misc/restore.json") {
				continue
			}
			if other := b.before + name + b.after; exists(above, other) {
				x.find("leftover", "%s, of %s", above.Path(other), b.of)
			}
		}
	}
	if len(x.r.Findings) == before {
		x.good("leftovers", "there are no files of interrupted commands")
	}
}

func exists(f vfs.FS, name string) bool {
	_, err := f.Stat(name)
	return err == nil
}
