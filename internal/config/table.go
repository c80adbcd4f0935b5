package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/zodb"
)

// kind says how the value of a setting is written.
type kind string

const (
	text     kind = "string"
	boolean  kind = "bool"
	size     kind = "SIZE"
	duration kind = "DURATION"
	count    kind = "N"
)

// setting is one line of the table.
type setting struct {
	name     string
	kind     kind
	fallback string // the default, as text; empty = none
	help     string
	list     bool // may be given more than once
	// onlyEnvironment: a secret, which is neither in a file that others read nor
	// on a command line that all see.
	onlyEnvironment bool
	notInFile       bool // says where the files are
	// set checks a value and puts it into the configuration. It gets all values of a list.
	set func(c *Config, values []string) error
}

// environment is the name of the variable.
func (s setting) environment() string {
	return "DIRSTORAGE_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// table has all settings, in the order in which they are shown.
func table() []setting {
	return []setting{
		{name: "config", help: "the TOML `FILE` with settings", notInFile: true, set: one(func(*Config, string) error { return nil })},
		{name: "zeo-conf", help: "a `FILE` with the configuration of a Python ZEO server, from which settings are taken", set: one(func(*Config, string) error { return nil })},
		{name: "listen", list: true, fallback: "127.0.0.1:8100",
			help: "`ADDRESS` to serve on: host:port, [v6]:port, :port for all interfaces, a port, or the path of a Unix socket; may be repeated", set: setListen},
		{name: "storage", list: true, help: "a storage as `NAME=HOME`, where NAME is the one that clients use; may be repeated. HOME alone is storage 1",
			set: func(*Config, []string) error { return nil }}, // see storages.go
		{name: "blob-dir", help: "a `DIR` in which clients that share it find the blobs; for a single storage", set: one(func(*Config, string) error { return nil })},
		{name: "backup-repository", help: "the `DIR` with the backups, of which the metrics tell; HOME/backups if it is not set. For a single storage",
			set: one(func(*Config, string) error { return nil })},
		{name: "create", kind: boolean, fallback: "true", help: "make a HOME that does not exist or is empty. If this is not set, one that only the environment or a file names has to be there; the sample for production has false", set: flag(func(c *Config) *bool { return &c.Create })},
		{name: "lock-wait", kind: duration, fallback: "0", help: "how long to wait at the start for a HOME that another process has open, a pack for instance",
			set: timespan(func(c *Config) *time.Duration { return &c.LockWait }, 0)},
		{name: "format", help: "the format of a HOME that is made: bundled, bushy, chunky, lawn or flat; if none is given bundled, and chunky for class Minimal",
			set: choice(func(c *Config) *string { return &c.Format }, "bundled", "bushy", "chunky", "lawn", "flat")},
		{name: "class", fallback: string(zodb.ClassFull), help: "the class of a HOME that is made: Full, or Minimal: no history, no undo, no blobs",
			set: choice(func(c *Config) *string { return &c.Class }, string(zodb.ClassFull), string(zodb.ClassMinimal))},
		{name: "low-space", kind: size, fallback: "1GiB", help: "warn if less than this, or than a tenth of the file system, is free; 0 = never",
			set: anyBytes(func(c *Config) *int64 { return &c.LowSpace })},
		{name: "reserve", kind: size, fallback: "16MiB", help: "the size of misc/reserve, which is given up so that a full disk can be packed; 0 = no such file",
			set: anyBytes(func(c *Config) *int64 { return &c.Reserve })},
		{name: "read-only", kind: boolean, fallback: "false", help: "refuse every write, pack excepted", set: flag(func(c *Config) *bool { return &c.ReadOnly })},
		{name: "announce", fallback: "pickle", help: "the encoding that is announced to clients, pickle or msgpack; both are understood",
			set: choice(func(c *Config) *string { return &c.Announce }, "pickle", "msgpack")},
		{name: "transaction-timeout", kind: duration, fallback: "5m", help: "how long a transaction may keep its locks before the connection is closed; 0 or none = no limit",
			set: timeLimit(func(c *Config) *time.Duration { return &c.TransactionTimeout })},
		{name: "large-transaction-timeout", kind: duration, fallback: "1m", help: "how long nothing may come of a large transaction while others wait for its memory; 0 or none = no limit",
			set: timeLimit(func(c *Config) *time.Duration { return &c.LargeTimeout })},
		{name: "invalidation-queue-size", kind: count, fallback: "1000", help: "the number of transactions for which a client that comes back keeps its cache",
			set: number(func(c *Config) *int { return &c.InvalidationQueueSize })},
		{name: "invalidation-age", kind: duration, fallback: "0", help: "look further back than that queue, in the storage, as far as this; 0 = never",
			set: timespan(func(c *Config) *time.Duration { return &c.InvalidationAge }, 0)},
		{name: "undo-merge", kind: boolean, fallback: "true", help: "let clients merge an undo with later changes, of classes that can: BTrees and undo-merge-classes",
			set: flag(func(c *Config) *bool { return &c.MergeUndo })},
		{name: "undo-merge-classes", list: true, help: "a `CLASS` with _p_resolveConflict for that, as module.name, or module.* for all of a module; may be repeated", set: setMergeClasses},
		{name: "tls-certificate", help: "the `FILE` (PEM) with the certificate of the server", set: name(func(c *Config) *string { return &c.tls().Certificate })},
		{name: "tls-key", help: "the `FILE` (PEM) with its private key, if that is not in the same file", set: name(func(c *Config) *string { return &c.tls().Key })},
		{name: "tls-key-password-file", help: "a `FILE` with the password of the key on its first line", set: one(func(*Config, string) error { return nil })},
		{name: "tls-key-password", onlyEnvironment: true, help: "the password of the key; only from the environment, and never shown", set: name(func(c *Config) *string { return &c.tls().KeyPassword })},
		{name: "tls-authenticate", help: "a `FILE` (PEM) or directory with the certificates by which clients are trusted, and revocation lists", set: setAuthenticate},
		{name: "tls-revoked", help: "a `FILE` (PEM) or directory with revocation lists, as certs revoke makes them", set: name(func(c *Config) *string { return &c.tls().Revoked })},
		{name: "max-message", kind: size, fallback: "1GiB", help: "the largest message of a client", set: bytes(func(c *Config) *int64 { return &c.MaxMessage })},
		{name: "max-connections", kind: count, fallback: "1000", help: "how many connections there may be at once", set: number(func(c *Config) *int { return &c.MaxConnections })},
		{name: "max-transaction", kind: size, fallback: "16GiB", help: "the largest transaction, blobs not counted", set: bytes(func(c *Config) *int64 { return &c.MaxTransaction })},
		{name: "max-blob", kind: size, fallback: "1TiB", help: "the largest blob", set: bytes(func(c *Config) *int64 { return &c.MaxBlob })},
		{name: "max-queue", kind: size, fallback: "256MiB", help: "how much may wait for a client that does not read", set: bytes(func(c *Config) *int64 { return &c.MaxQueue })},
		{name: "hello-timeout", kind: duration, fallback: "30s", help: "how long a new connection may take to register", set: timespan(func(c *Config) *time.Duration { return &c.HelloTimeout }, 1)},
		{name: "memory-limit", kind: size, fallback: "0", help: "the memory that this process may use; 0 = GOMEMLIMIT, or most of that of its control group or of the machine",
			set: anyBytes(func(c *Config) *int64 { return &c.MemoryLimit })},
		{name: "cache-size", kind: size, fallback: "64MiB", help: "records that each storage keeps in memory; 0 = none", set: setCacheSize},
		{name: "snapshot-limit", kind: duration, fallback: "6h", help: "how long snapshot mode may last before the log, /ready and status say so; 0 = however long", set: setSnapshotLimit},
		{name: "http-listen", help: "`ADDRESS` for health and metrics by HTTP; none if empty", set: setHTTPListen},
		{name: "http-tls", kind: boolean, fallback: "false", help: "speak TLS there, with the certificates of tls-certificate and tls-authenticate", set: flag(func(c *Config) *bool { return &c.HTTPTLS })},
		{name: "web", kind: boolean, fallback: "false", help: "show pages for people at http-listen, below /web/; they want a token, or a client certificate", set: flag(func(c *Config) *bool { return &c.Web.On })},
		{name: "web-token-file", help: "the `FILE` with the token of the pages on its first line; nobody but its owner may read it", set: name(func(c *Config) *string { return &c.Web.TokenFile })},
		{name: "web-token", onlyEnvironment: true, help: "the token itself; only from the environment, and never shown", set: name(func(c *Config) *string { return &c.Web.Token })},
		{name: "web-origin", list: true, help: "an `ADDRESS` at which browsers reach the pages through a proxy or by a name, as https://zodb.example.org; may be repeated", set: setWebOrigin},
		{name: "web-allow", list: true, help: "a `PERMISSION` of the pages: pack, to pack a storage; blobs, to download them; may be repeated", set: setWebAllow},
		{name: "log-level", fallback: "info", help: "debug, info, warn or error", set: setLogLevel},
		{name: "log-format", fallback: "text", help: "text or json", set: choice(func(c *Config) *string { return &c.LogFormat }, string(logging.Text), string(logging.JSON))},
		{name: "pid-file", help: "a `FILE` for the process id", set: name(func(c *Config) *string { return &c.PidFile })},
		{name: "drain-timeout", kind: duration, fallback: "10s", help: "how long open transactions, and downloads of blobs, may take at the end", set: timespan(func(c *Config) *time.Duration { return &c.DrainTimeout }, 0)},
	}
}

// one is for settings that have a single value.
func one(set func(c *Config, v string) error) func(*Config, []string) error {
	return func(c *Config, values []string) error {
		if len(values) != 1 {
			return fmt.Errorf("is given %d times: want it once", len(values))
		}
		return set(c, values[0])
	}
}

func name(field func(*Config) *string) func(*Config, []string) error {
	return one(func(c *Config, v string) error {
		if v != "" {
			*field(c) = v
		}
		return nil
	})
}

func flag(field func(*Config) *bool) func(*Config, []string) error {
	return one(func(c *Config, v string) (err error) {
		*field(c), err = parseBool(v)
		return err
	})
}

func choice(field func(*Config) *string, values ...string) func(*Config, []string) error {
	return one(func(c *Config, v string) error {
		for _, value := range values {
			if strings.EqualFold(v, value) {
				*field(c) = value
				return nil
			}
		}
		return fmt.Errorf("%q: want %s or %s", v, strings.Join(values[:len(values)-1], ", "), values[len(values)-1])
	})
}

func number(field func(*Config) *int) func(*Config, []string) error {
	return one(func(c *Config, v string) (err error) {
		*field(c), err = parseCount(v)
		return err
	})
}

func bytes(field func(*Config) *int64) func(*Config, []string) error {
	return one(func(c *Config, v string) error {
		n, err := parseSize(v)
		if err == nil && n == 0 {
			err = fmt.Errorf("%q: want at least one byte", v)
		}
		*field(c) = n
		return err
	})
}

// anyBytes is a size that may be 0.
func anyBytes(field func(*Config) *int64) func(*Config, []string) error {
	return one(func(c *Config, v string) (err error) {
		*field(c), err = parseSize(v)
		return err
	})
}

// timespan is a duration of at least least nanoseconds.
func timespan(field func(*Config) *time.Duration, least time.Duration) func(*Config, []string) error {
	return one(func(c *Config, v string) error {
		d, err := parseDuration(v)
		if err == nil && d < least {
			err = fmt.Errorf("%q: want more than 0", v)
		}
		*field(c) = d
		return err
	})
}

func setListen(c *Config, values []string) error {
	c.Listen = nil
	for _, v := range values {
		a, err := parseAddress(v)
		if err != nil {
			return err
		}
		if slices.Contains(c.Listen, a) && !strings.HasSuffix(a, ":0") {
			return fmt.Errorf("%q is given twice: want each address once", v)
		}
		c.Listen = append(c.Listen, a)
	}
	if len(c.Listen) == 0 {
		return fmt.Errorf("is empty: want at least one address")
	}
	return nil
}

// timeLimit is a timespan, or none.
func timeLimit(field func(*Config) *time.Duration) func(*Config, []string) error {
	return func(c *Config, values []string) error {
		if len(values) == 1 && strings.EqualFold(values[0], "none") {
			*field(c) = 0
			return nil
		}
		return timespan(field, 0)(c, values)
	}
}

func setMergeClasses(c *Config, values []string) error {
	for _, v := range values {
		module, name, ok := cutLast(v, ".")
		if !ok || module == "" || name == "" || strings.Contains(module, "*") || strings.ContainsAny(v, " \t/:") || strings.Contains(name, "*") && name != "*" {
			return fmt.Errorf("%q: want module.name, as Products.Foo.counter.Counter, or module.*", v)
		}
	}
	c.MergeUndoClasses = values
	return nil
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func setAuthenticate(c *Config, values []string) error {
	if len(values) == 1 && values[0] == "DYNAMIC" {
		return fmt.Errorf("DYNAMIC is not supported: want a file or a directory with certificates")
	}
	return name(func(c *Config) *string { return &c.tls().Authenticate })(c, values)
}

// setSnapshotLimit turns 0 into the negative time by which the engine has no limit.
func setSnapshotLimit(c *Config, values []string) error {
	return one(func(c *Config, v string) (err error) {
		if c.SnapshotLimit, err = parseDuration(v); err == nil && c.SnapshotLimit == 0 {
			c.SnapshotLimit = -1
		}
		if err == nil && c.SnapshotLimit < -1 {
			err = fmt.Errorf("%q: want a time that is not negative", v)
		}
		return err
	})(c, values)
}

// setCacheSize turns 0 into the negative number by which the engine has no cache.
func setCacheSize(c *Config, values []string) error {
	return one(func(c *Config, v string) (err error) {
		if c.CacheSize, err = parseSize(v); err == nil && c.CacheSize == 0 {
			c.CacheSize = -1
		}
		return err
	})(c, values)
}

func setHTTPListen(c *Config, values []string) error {
	return one(func(c *Config, v string) (err error) {
		if v == "" {
			return nil
		}
		if strings.Contains(v, "/") {
			return fmt.Errorf("%q: want host:port or a port", v)
		}
		c.HTTPListen, err = parseAddress(v)
		return err
	})(c, values)
}

func setWebOrigin(c *Config, values []string) error {
	for _, v := range values {
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q: want https://NAME or https://NAME:PORT, without a path", v)
		}
	}
	c.Web.Origins = values
	return nil
}

func setWebAllow(c *Config, values []string) error {
	for _, v := range values {
		if v != "pack" && v != "blobs" {
			return fmt.Errorf("%q: want pack or blobs", v)
		}
	}
	c.Web.Allow = values
	return nil
}

func setLogLevel(c *Config, values []string) error {
	return one(func(c *Config, v string) error {
		if _, err := logging.ParseLevel(v); err != nil {
			return err
		}
		c.LogLevel = strings.ToLower(v)
		return nil
	})(c, values)
}

// shown is a value as [Config.Settings] has it: sizes and durations in one form.
func (s setting) shown(values []string) string {
	v := strings.Join(values, ", ")
	switch s.kind {
	case size:
		if n, err := parseSize(v); err == nil {
			return formatSize(n)
		}
	case duration:
		if d, err := parseDuration(v); err == nil && d != 0 {
			return formatDuration(d)
		}
	case boolean:
		if b, err := parseBool(v); err == nil {
			return strconv.FormatBool(b)
		}
	}
	return v
}
