package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// giveBack is the advice about a path that the process has no right to, if it, or a directory
// on the way, belongs to another user than HOME: root has made it there, by other means or by
// an older release. The command is for all such files at once. "" if that is not why.
func giveBack(path string) string {
	if path == "" {
		return ""
	}
	command := ""
	if home := homeAround(path); home != "" {
		if !vfs.StrangerBelow(home, path) {
			return ""
		}
		command = fmt.Sprintf("chown -R --reference=%s %s", shellWord(home), shellWord(home))
		// It follows no link. Where one leads, the owner of HOME has decided: so root is told, and
		// asked to look.
		if link, target := vfs.LinkBelow(home, path); target != "" {
			return fmt.Sprintf("it belongs to another user than %s, like files that root has made there by other means; %s is a link to %s, which chown -R does not follow: if that is right, as root: %s %s",
				home, link, target, command, shellWord(target))
		}
	} else {
		if !vfs.Stranger(path) {
			return ""
		}
		command = fmt.Sprintf("chown -R --reference=%s %s", shellWord(filepath.Dir(path)), shellWord(path))
	}
	return "it belongs to another user than its directory, like files that root has made there by other means; as root: " + command
}

// pathIn returns the file or Unix socket that an error is about, "" if it is about none.
func pathIn(err error) string {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Path
	}
	if at, ok := errors.AsType[*net.OpError](err); ok {
		if socket, ok := at.Addr.(*net.UnixAddr); ok {
			return socket.Name
		}
	}
	return ""
}

// homeAround returns the HOME in which a path is, "" if it is in none. It is recognised by the
// names of its directories: their contents may be unreadable.
func homeAround(path string) string {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		switch {
		case vfs.Holds(dir, "config", string(store.A)):
			return dir
		case dir == filepath.Dir(dir):
			return ""
		}
	}
}
