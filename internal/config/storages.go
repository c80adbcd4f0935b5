package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
)

// namedStorage is a storage with the place that names it.
type namedStorage struct {
	Storage
	source string
	asked  bool // HOME is an argument, though source names another place
}

func (s namedStorage) String() string {
	text := s.Name + "=" + s.Home
	if s.BlobDir != "" {
		text += " blob-dir=" + s.BlobDir
	}
	if s.Repository != "" {
		text += " backup-repository=" + s.Repository
	}
	if s.ReadOnly {
		text += " read-only"
	}
	if s.NoGC {
		text += " pack-gc=false"
	}
	return text
}

// argumentHome is the source of a HOME on the command line.
const argumentHome = "argument HOME"

// setStorages finds out which storages are served. The HOME of the command line counts as a flag:
// it replaces those of the environment and the files.
func (l *loader) setStorages() {
	named := l.fileStorages
	v, ok := l.lookup("storage") // of flags or the environment
	if ok {
		named = l.parseStorages(v)
	}
	l.homeSource = argumentHome
	if home := l.getenv(HomeVariable); home != "" && l.home == "" && !ok {
		l.home, l.homeSource = home, "environment "+HomeVariable
	}
	if len(l.zeoStorages) > 0 {
		named = l.placeZEOStorages(named)
	} else if l.home != "" {
		if !strings.HasPrefix(v.source, "flag ") {
			named = nil
		}
		named = append([]namedStorage{{Storage: Storage{Name: "1", Home: l.home}, source: l.homeSource}}, named...)
	}
	l.forSingle(named, "blob-dir", func(s *namedStorage) *string { return &s.BlobDir })
	l.forSingle(named, "backup-repository", func(s *namedStorage) *string { return &s.Repository })
	if len(named) == 0 && len(l.errs) == 0 {
		l.fail(&Error{What: "there is no storage to serve", Do: "give HOME, --storage NAME=HOME, or [[storage]] in a TOML file"})
	}
	l.checkStorages(named)
	l.storages = named
	_, create := l.text("create")
	for _, s := range named {
		if create == "default" && !s.asked && !strings.HasPrefix(s.source, "flag ") && s.source != argumentHome {
			s.Expected = s.source
		}
		l.conf.Storages = append(l.conf.Storages, s.Storage)
	}
}

// forSingle gives a setting of the server to the only storage.
func (l *loader) forSingle(named []namedStorage, setting string, field func(*namedStorage) *string) {
	dir, source := l.text(setting)
	switch {
	case dir == "" || len(named) == 0:
	case len(named) > 1:
		l.fail(&Error{Where: source, What: setting + " is for a single storage, and there are several",
			Do: "set " + setting + " of each [[storage]] in a TOML file"})
	default:
		*field(&named[0]) = dir
	}
}

// parseStorages reads values of --storage.
func (l *loader) parseStorages(v value) []namedStorage {
	var list []namedStorage
	for _, text := range v.values {
		name, home, ok := strings.Cut(text, "=")
		if !ok {
			l.fail(&Error{Where: v.source, What: fmt.Sprintf("storage %q has no =", text), Do: "want NAME=HOME, as main=/srv/zodb"})
			continue
		}
		list = append(list, namedStorage{Storage: Storage{Name: name, Home: home}, source: v.source})
	}
	return list
}

// placeZEOStorages gives the storages of zeo.conf their HOMEs.
func (l *loader) placeZEOStorages(named []namedStorage) []namedStorage {
	byName := make(map[string]namedStorage)
	for _, s := range named {
		byName[s.Name] = s
	}
	usesHome := false
	var list []namedStorage
	for _, z := range l.zeoStorages {
		given, ok := byName[z.Name]
		switch {
		case ok:
			delete(byName, z.Name)
			given.ReadOnly = given.ReadOnly || z.ReadOnly
			given.NoGC = given.NoGC || z.NoGC
			list = append(list, given)
			continue
		case l.home == "":
			l.fail(&Error{Where: z.source, What: "storage " + z.Name + " has no HOME",
				Do: "add --storage " + z.Name + "=HOME, or HOME for a single storage or as the directory of several"})
			continue
		case len(l.zeoStorages) == 1:
			z.Home = l.home
		case !filepath.IsLocal(z.Name) || strings.ContainsAny(z.Name, `/\`) || z.Name == ".":
			l.fail(&Error{Where: z.source, What: fmt.Sprintf("storage %q can't be a directory in HOME", z.Name), Do: "add --storage NAME=HOME for it"})
			continue
		default:
			z.Home = filepath.Join(l.home, z.Name)
		}
		usesHome = true
		z.asked = l.homeSource == argumentHome
		list = append(list, z)
	}
	for _, s := range named {
		if _, left := byName[s.Name]; left {
			list = append(list, s)
		}
	}
	if l.home != "" && !usesHome {
		l.fail(&Error{Where: l.homeSource, What: "each storage has a HOME already", Do: "leave HOME out, or the --storage or [[storage]] that says the same"})
	}
	return list
}

// checkStorages compares the storages with each other.
func (l *loader) checkStorages(list []namedStorage) {
	names, dirs := make(map[string]string), make(map[string]string)
	taken := func(seen map[string]string, key, what string, s namedStorage) {
		if before, ok := seen[key]; ok {
			l.fail(&Error{Where: s.source, What: what + " is given twice, here and by " + before, Do: "each storage needs its own"})
		}
		seen[key] = s.source
	}
	for _, s := range list {
		switch {
		case s.Name == "":
			l.fail(&Error{Where: s.source, What: "a storage has no name", Do: "set its name; clients ask for 1 if they are not told otherwise"})
			continue
		case strings.ContainsFunc(s.Name, unicode.IsControl):
			l.fail(&Error{Where: s.source, What: fmt.Sprintf("the name of storage %q has a control character", s.Name), Do: "choose another"})
		case s.Home == "":
			l.fail(&Error{Where: s.source, What: "storage " + s.Name + " has no HOME", Do: "set its home, the directory of the storage"})
			continue
		}
		taken(names, s.Name, "storage "+s.Name, s)
		taken(dirs, filepath.Clean(s.Home), "the directory "+s.Home, s)
		if s.BlobDir != "" {
			taken(dirs, filepath.Clean(s.BlobDir), "the directory "+s.BlobDir, s)
		}
	}
}
