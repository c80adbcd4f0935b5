package config

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/certs"
)

// Config is the configuration of dirstorage serve. [Load] has checked it.
type Config struct {
	Listen                []string // host:port, or the path of a Unix socket with a / in it
	Storages              []Storage
	Create                bool // a HOME that does not exist is made at the start
	Format, Class         string
	ReadOnly              bool
	Announce              string        // pickle or msgpack
	TransactionTimeout    time.Duration // 0 = no limit
	LargeTimeout          time.Duration // large-transaction-timeout; 0 = no limit
	InvalidationQueueSize int
	InvalidationAge       time.Duration
	TLS                   *certs.Files // nil: none
	MaxMessage            int64        // bytes, as the other sizes
	MaxConnections        int
	MaxTransaction        int64
	MaxBlob               int64
	MaxQueue              int64
	HelloTimeout          time.Duration
	MergeUndo             bool
	MergeUndoClasses      []string // besides those of BTrees; module.name or module.*
	CacheSize             int64    // negative: none
	MemoryLimit           int64    // bytes; 0: as the control group or the machine has it
	HTTPListen            string   // empty: none
	HTTPTLS               bool     // the certificates are those of TLS
	Web                   Web
	LogLevel, LogFormat   string
	PidFile               string
	DrainTimeout          time.Duration
	SnapshotLimit         time.Duration // negative: none
	LockWait              time.Duration // 0: a HOME that is open elsewhere is an error at once
	LowSpace, Reserve     int64         // bytes; 0: none

	Warnings []string // settings that were understood only in part, with their places

	settings []Setting
}

// Web is the settings of the pages for people.
type Web struct {
	On        bool
	TokenFile string // empty: none
	Token     string // of the environment; empty: none
	Origins   []string
	Allow     []string // pack, blobs
}

// Storage is one storage that is served.
type Storage struct {
	Name, Home, BlobDir string
	// Expected is the place that names a HOME which has to be there: the environment or a file. An
	// empty directory is made a storage all the same. Empty: the command line names it, or create is
	// set.
	Expected string
	// Repository is where its backups are; empty: HOME/backups, if there is one.
	Repository string
	ReadOnly   bool
	NoGC       bool // a pack that a client asks for keeps unreachable objects
}

// Setting is one setting as it is in force.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // never a secret
	Source string `json:"source"` // "flag --listen", "/etc/d.toml:12", "default"
	Help   string `json:"help"`
}

// Settings returns all settings in the order of the document; storage once for
// each storage. The caller owns the slice.
func (c *Config) Settings() []Setting {
	return append([]Setting(nil), c.settings...)
}

// tls returns the files of TLS, to set one.
func (c *Config) tls() *certs.Files {
	if c.TLS == nil {
		c.TLS = &certs.Files{}
	}
	return c.TLS
}

// Load puts the settings together: flags, the environment, the file, zeo.conf, defaults. home is the
// HOME of the command line; if it is empty, [HomeVariable] counts. Errors are one or more [*Error], joined.
func Load(f *pflag.FlagSet, home string, getenv func(string) string, readFile func(string) ([]byte, error)) (*Config, error) {
	l := &loader{conf: &Config{}, settings: table(), home: home, getenv: getenv, readFile: readFile}
	l.layers = append(l.layers, flagLayer(f, l.settings), l.environmentLayer())
	l.readTOML()
	l.readZEOConf()
	l.layers = append(l.layers, l.foreignLayer(), defaultLayer(l.settings))
	l.setAll()
	l.setStorages()
	l.finishTLS()
	l.finishWeb()
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	l.describe()
	return l.conf, nil
}

// value is a setting as given in one place.
type value struct {
	values []string
	source string
}

// layer holds the settings of one place, by name.
type layer map[string]value

// loader is one run of Load.
type loader struct {
	conf     *Config
	settings []setting
	home     string
	// homeSource is the place that names home.
	homeSource string
	getenv     func(string) string
	readFile   func(string) ([]byte, error)
	layers     []layer // the first that has a setting counts

	fileStorages []namedStorage // [[storage]] of the TOML file
	zeoStorages  []namedStorage // storage sections of zeo.conf; Home is empty
	storages     []namedStorage // those that are served
	errs         []error
}

// fail notes an error; the others are looked for all the same.
func (l *loader) fail(e *Error) { l.errs = append(l.errs, e) }

// lookup returns the value in force of a setting.
func (l *loader) lookup(name string) (value, bool) {
	for _, layer := range l.layers {
		if v, ok := layer[name]; ok {
			return v, true
		}
	}
	return value{}, false
}

// text is lookup for a setting with one value; empty if it is not set.
func (l *loader) text(name string) (text, source string) {
	v, ok := l.lookup(name)
	if !ok || len(v.values) == 0 {
		return "", ""
	}
	return v.values[len(v.values)-1], v.source
}

// environmentLayer reads the variables. An empty one counts as not set. Lists are
// separated by commas.
func (l *loader) environmentLayer() layer {
	found := make(layer)
	for _, s := range l.settings {
		v := l.getenv(s.environment())
		if v == "" {
			continue
		}
		values := []string{v}
		if s.list {
			values = nil
			for part := range strings.SplitSeq(v, ",") {
				values = append(values, strings.TrimSpace(part))
			}
		}
		found[s.name] = value{values, "environment " + s.environment()}
	}
	return found
}

// foreignLayer reads variables that are not ours.
func (l *loader) foreignLayer() layer {
	if l.getenv("ZEO_MSGPACK") == "" {
		return nil
	}
	return layer{"announce": {[]string{"msgpack"}, "environment ZEO_MSGPACK"}}
}

func defaultLayer(settings []setting) layer {
	found := make(layer)
	for _, s := range settings {
		if s.fallback != "" {
			found[s.name] = value{[]string{s.fallback}, "default"}
		}
	}
	return found
}

// setAll puts the values into the configuration.
func (l *loader) setAll() {
	for _, s := range l.settings {
		v, ok := l.lookup(s.name)
		if !ok {
			continue
		}
		if err := s.set(l.conf, v.values); err != nil {
			l.fail(&Error{Where: v.source, What: s.name + " " + err.Error()})
		}
	}
}

// finishTLS checks that settings that belong together are all there, and reads the password.
func (l *loader) finishTLS() {
	if file, source := l.text("tls-key-password-file"); file != "" {
		b, err := l.readFile(file)
		first, _, _ := strings.Cut(string(b), "\n")
		first = strings.TrimSuffix(first, "\r")
		switch {
		case err != nil:
			l.fail(&Error{Where: source, What: "tls-key-password-file can't be read", Err: err})
		case first == "":
			l.fail(&Error{Where: source, What: "tls-key-password-file " + file + ": the first line is empty", Do: "write the password of the key there"})
		case l.conf.TLS != nil && l.conf.TLS.KeyPassword != "":
			l.fail(&Error{Where: source, What: "the password of the key is given twice: tls-key-password-file, and DIRSTORAGE_TLS_KEY_PASSWORD in the environment", Do: "leave one of them out"})
		}
		l.conf.tls().KeyPassword = first
	}
	t := l.conf.TLS
	if t == nil {
		return
	}
	source := func(names ...string) string {
		for _, n := range names {
			if _, s := l.text(n); s != "" {
				return s
			}
		}
		return ""
	}
	switch {
	case t.Certificate == "" && t.Authenticate == "" && t.Key == "" && t.Revoked == "":
		// A password that is in the environment for some other run; a file was asked for.
		if file, source := l.text("tls-key-password-file"); file != "" {
			l.fail(&Error{Where: source, What: "tls-key-password-file has no use without a certificate", Do: "set tls-certificate and tls-authenticate, or leave it out"})
		}
		l.conf.TLS = nil
	case t.Certificate == "":
		l.fail(&Error{Where: source("tls-key", "tls-authenticate", "tls-revoked"), What: "TLS needs a certificate of the server", Do: "set tls-certificate"})
	case t.Authenticate == "":
		l.fail(&Error{Where: source("tls-certificate"), What: "with TLS each client has to show a certificate, and nothing says which are trusted",
			Do: "set tls-authenticate to a file or directory with the certificates of the clients, or of the authority that signed them"})
	}
}

// describe keeps the settings for [Config.Settings].
func (l *loader) describe() {
	for _, s := range l.settings {
		if s.name == "storage" {
			for _, st := range l.storages {
				l.conf.settings = append(l.conf.settings, Setting{s.name, st.String(), st.source, plain(s.help)})
			}
			continue
		}
		v, ok := l.lookup(s.name)
		if !ok {
			v.source = "default"
		}
		shown := s.shown(v.values)
		if s.onlyEnvironment && shown != "" {
			shown = "(not shown)"
		}
		l.conf.settings = append(l.conf.settings, Setting{s.name, shown, v.source, plain(s.help)})
	}
}

// plain is a help text without the marks for the name of the argument.
func plain(help string) string { return strings.ReplaceAll(help, "`", "") }
