package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// otherStorages are kinds of storages that Python's server has and we do not.
var otherStorages = []string{
	"mappingstorage", "demostorage", "zeoclient", "clientstorage", "relstorage", "zlibstorage", "cipherstorage",
	"zrsprimary", "replicatedstorage", "temporarystorage", "neostorage", "newtstorage", "beforestorage",
}

// readZEOConf adds the layer of zeo.conf, if one is named.
func (l *loader) readZEOConf() {
	path, source := l.text("zeo-conf")
	if path == "" {
		return
	}
	data, err := l.readFile(path)
	if err != nil {
		l.fail(&Error{Where: source, What: "the configuration of the Python server can't be read", Err: err})
		return
	}
	top, err := parseZConfig(path, string(data), l.getenv)
	if err != nil {
		e, _ := errors.AsType[*Error](err)
		l.fail(e)
		return
	}
	z := &zeoConf{l: l, path: path, found: make(layer)}
	z.top(top)
	l.layers = append(l.layers, z.found)
}

// zeoConf turns one file into settings.
type zeoConf struct {
	l       *loader
	path    string
	found   layer
	section bool // <zeo> was there
}

func (z *zeoConf) at(line int) string { return fmt.Sprintf("%s:%d", z.path, line) }

func (z *zeoConf) fail(line int, what, do string) {
	z.l.fail(&Error{Where: z.at(line), What: what, Do: do})
}

func (z *zeoConf) warn(line int, format string, args ...any) {
	z.l.conf.Warnings = append(z.l.conf.Warnings, z.at(line)+": "+fmt.Sprintf(format, args...))
}

// put notes a setting.
func (z *zeoConf) put(name string, k zkey, value string) {
	z.found[name] = layerValue(value, z.at(k.line))
}

func layerValue(v, source string) value { return value{[]string{v}, source} }

// top reads the file.
func (z *zeoConf) top(top *section) {
	z.unknownKeys("the file", top.keys)
	for _, line := range top.imports {
		z.warn(line, "%%import has no effect: components of Python can't be loaded")
	}
	for _, s := range top.sections {
		switch {
		case s.kind == "zeo":
			if z.section {
				z.fail(s.line, "there are two <zeo> sections", "leave one of them out")
			}
			z.section = true
			z.zeo(s)
		case s.kind == "filestorage":
			z.storage(s, s)
		case s.kind == "blobstorage" && len(s.sections) == 1 && s.sections[0].kind == "filestorage":
			z.storage(s, s.sections[0])
		case s.kind == "eventlog":
			z.warn(s.line, "<eventlog> is not used: the log goes to standard error; see log-level and log-format")
		case s.kind == "runner":
			z.warn(s.line, "<runner> is not used: let systemd, or your supervisor of services, start and restart the server")
		case strings.HasSuffix(s.kind, "storage") || contains(otherStorages, s.kind):
			z.fail(s.line, "<"+s.kind+"> is a kind of storage that can't be served",
				"serve a storage of dirstorage instead: write <filestorage NAME>, or take the section out and use --storage NAME=HOME; dirstorage import copies data from a FileStorage or a running server")
		default:
			z.warn(s.line, "<%s> is not understood and has no effect", s.kind)
		}
	}
	if !z.section {
		z.l.fail(&Error{Where: z.path, What: "there is no <zeo> section", Do: "zeo-conf is for the configuration file of a Python ZEO server (runzeo -C)"})
	}
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

func (z *zeoConf) unknownKeys(where string, keys []zkey) {
	for _, k := range keys {
		z.warn(k.line, "%s in %s is not understood and has no effect", k.key, where)
	}
}

// zeo reads the section that is named like that.
func (z *zeoConf) zeo(s *section) {
	seen := make(map[string]bool)
	for _, k := range s.keys {
		if seen[k.key] {
			z.fail(k.line, k.key+" is given twice", "leave one of them out")
		}
		seen[k.key] = true
		z.zeoKey(k)
	}
	for _, sub := range s.sections {
		if sub.kind == "ssl" {
			z.ssl(sub)
		} else {
			z.warn(sub.line, "<%s> in <zeo> is not understood and has no effect", sub.kind)
		}
	}
}

func (z *zeoConf) zeoKey(k zkey) {
	switch k.key {
	case "address":
		z.put("listen", k, zeoAddress(k.value))
	case "read-only":
		z.put("read-only", k, k.value)
	case "invalidation-queue-size":
		z.put("invalidation-queue-size", k, k.value)
	case "invalidation-age", "transaction-timeout":
		seconds, err := strconv.ParseFloat(k.value, 64)
		if err != nil || !(seconds >= 0 && seconds < 1e9) {
			z.fail(k.line, fmt.Sprintf("%s %q is not a number of seconds", k.key, k.value), "want a number of seconds that is not negative")
			return
		}
		z.put(k.key, k, formatDuration(time.Duration(seconds*float64(time.Second))))
	case "pid-filename":
		z.put("pid-file", k, k.value)
	case "msgpack":
		if on, ok := z.boolean(k); ok && on {
			z.put("announce", k, "msgpack")
		} else if ok {
			z.put("announce", k, "pickle")
		}
	case "client-conflict-resolution":
		if on, ok := z.boolean(k); ok && !on {
			z.warn(k.line, "client-conflict-resolution is off, but conflicts are always handed to the client, which resolves them: the classes have to be importable there")
		}
	default:
		z.warn(k.line, "%s in <zeo> is not understood and has no effect", k.key)
	}
}

func (z *zeoConf) boolean(k zkey) (value, ok bool) {
	value, err := parseBool(k.value)
	if err != nil {
		z.fail(k.line, k.key+" "+err.Error(), "")
	}
	return value, err == nil
}

// ssl reads the section of that name.
func (z *zeoConf) ssl(s *section) {
	for _, k := range s.keys {
		switch k.key {
		case "certificate", "key", "authenticate":
			z.put("tls-"+k.key, k, k.value)
		case "password-function":
			z.fail(k.line, "password-function "+k.value+" is a function in Python and can't be called", "take the line out, and set tls-key-password-file to a file with the password, or DIRSTORAGE_TLS_KEY_PASSWORD in the environment")
		default:
			z.warn(k.line, "%s in <ssl> is not understood and has no effect", k.key)
		}
	}
	for _, sub := range s.sections {
		z.warn(sub.line, "<%s> in <ssl> is not understood and has no effect", sub.kind)
	}
}

// storage reads a FileStorage, and the <blobstorage> around it, which else is the same section.
func (z *zeoConf) storage(outer, inner *section) {
	st := namedStorage{Storage: Storage{Name: outer.name}, source: z.at(outer.line)}
	if st.Name == "" {
		st.Name = "1"
	}
	keys := outer.keys
	if inner != outer {
		keys = append(append([]zkey(nil), keys...), inner.keys...)
		for _, sub := range inner.sections {
			z.warn(sub.line, "<%s> in <filestorage> is not understood and has no effect", sub.kind)
		}
	} else {
		for _, sub := range outer.sections {
			z.warn(sub.line, "<%s> in <%s> is not understood and has no effect", sub.kind, outer.kind)
		}
	}
	for _, k := range keys {
		switch k.key {
		case "path":
			z.warn(k.line, "%s is not served: storage %s has a HOME of its own; dirstorage import copies the file there", k.value, st.Name)
		case "read-only":
			st.ReadOnly, _ = z.boolean(k)
		case "blob-dir":
			z.warn(k.line, "blob-dir %s is not used: the blobs are in the HOME. If clients share that directory, set blob-dir", k.value)
		case "pack-keep-old":
			// There is no Data.fs.old.
		case "pack-gc":
			gc, ok := z.boolean(k)
			st.NoGC = ok && !gc
		case "create", "quota", "packer":
			z.warn(k.line, "%s of storage %s has no effect here", k.key, st.Name)
		default:
			z.warn(k.line, "%s in <filestorage> is not understood and has no effect", k.key)
		}
	}
	for _, other := range z.l.zeoStorages {
		if other.Name == st.Name {
			z.fail(outer.line, "there are two storages with the name "+st.Name, "give each its own; the one without a name is 1")
		}
	}
	z.l.zeoStorages = append(z.l.zeoStorages, st)
}

// zeoAddress is an address of ZEO in our form: there a bare port is on all interfaces, and a
// bare host gets any port.
// Blanks around the colon do not count.
func zeoAddress(s string) string {
	if host, port, ok := strings.Cut(s, ":"); ok && !strings.Contains(s, "/") && !strings.Contains(port, ":") {
		s = strings.TrimSpace(host) + ":" + strings.TrimSpace(port)
	}
	switch {
	case strings.Contains(s, "/"):
		return s
	case validPort(s):
		return ":" + s
	case s != "" && !strings.Contains(s, ":"):
		return s + ":0"
	}
	return s
}
