package cli

import (
	"fmt"
	"path/filepath"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// besideDataFS refuses to make an empty HOME where the images of Plone and its buildouts keep a
// FileStorage beside it, in filestorage/Data.fs. Clients would find an empty database in place of
// theirs.
func besideDataFS(home string) error {
	f, err := vfs.OS(home)
	if err != nil {
		return err
	}
	beside := filepath.Dir(f.Path("."))
	path := filepath.Join(beside, "filestorage", "Data.fs")
	const header = 4 // "FS30" alone has no transaction
	if size, _, ok := looked(path); !ok || size <= header {
		return nil
	}
	blobs := filepath.Join(beside, "blobstorage")
	command := "dirstorage import "
	if _, isDir, ok := looked(blobs); ok && isDir {
		command += "--blobs " + shellWord(blobs) + " "
	}
	return &status{code: exitNoStorage, err: hint(
		fmt.Errorf("%s does not exist, and would be made empty beside %s", home, path),
		"copy the data first: %s%s %s; for an empty storage: dirstorage create %s", command, shellWord(path), shellWord(home), shellWord(home))}
}

// looked returns the size of a file or directory, if it is there and can be seen.
func looked(path string) (size int64, isDir, ok bool) {
	dir, name, err := vfs.Split(path)
	if err != nil {
		return 0, false, false
	}
	info, err := dir.Stat(name)
	if err != nil {
		return 0, false, false
	}
	return info.Size, info.IsDir(), true
}
