package cli

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// watch shows the numbers of a storage.
func (s *serving) watch(st config.Storage, storage *engine.Storage) error {
	src, err := backupSource(st, storage.Identity())
	if err != nil {
		return err
	}
	src.Status = storage.Status
	jobs := src.Jobs
	src.Jobs = func() ([]runs.State, error) {
		list, err := jobs()
		return s.found.among(st.Name, list), err
	}
	s.metrics.Storage(st.Name).Watch(src)
	return nil
}

// backupSource says where the numbers about backups of a storage are. HOME knows the last one, no
// matter which repository it went to. The repository knows the verified ones: that of the settings,
// which has to be there, or HOME/backups, which need not.
func backupSource(st config.Storage, identity string) (src metrics.Source, err error) {
	home, err := vfs.OS(st.Home)
	if err != nil {
		return src, err
	}
	dir := st.Repository
	if dir == "" {
		dir = filepath.Join(st.Home, "backups")
	}
	repo, err := vfs.OS(dir)
	if err != nil {
		return src, err
	}
	store := objstore.NewDir(repo)
	inHome, inRepository := metrics.HomeBackup(home), metrics.RepositoryBackup(store, identity)
	src.Jobs, src.Verify = metrics.HomeJobs(home, identity), metrics.RepositoryJobs(repo)
	verified := metrics.RepositoryVerified(store, identity)
	src.Backup = func() (metrics.Record, error) {
		r, err := inHome()
		if st.Repository != "" && err == nil && r == (metrics.Record{}) {
			// A HOME that was restored, or is read-only, does not know.
			return inRepository()
		}
		return r, err
	}
	src.Verified = func() (metrics.Record, error) {
		_, err := repo.Stat(".")
		if st.Repository == "" && errors.Is(err, fs.ErrNotExist) {
			return metrics.Record{}, nil
		}
		if err != nil {
			return metrics.Record{}, err
		}
		return verified()
	}
	return src, nil
}
