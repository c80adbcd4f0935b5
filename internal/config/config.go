package config

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/certs"
)

// Config is what dirstorage serve is told to do. [Load] has checked it.
type Config struct {
	Listen                []string // host:port, or the path of a Unix socket with a / in it
	Storages              []Storage
	Create                bool // a HOME that does not exist is made at the start
	Format, Class         string
	ReadOnly              bool
	Announce              string        // pickle or msgpack
	TransactionTimeout    time.Duration // 0 = no limit
	InvalidationQueueSize int
	InvalidationAge       time.Duration
	TLS                   *certs.Files // nil: none
	MaxMessage            int64        // bytes, as the other sizes
	MaxConnections        int
	MaxTransaction        int64
	MaxBlob               int64
	MaxQueue              int64
	HelloTimeout          time.Duration
	CacheSize             int64
	HTTPListen            string // empty: none
	LogLevel, LogFormat   string
	PidFile               string
	DrainTimeout          time.Duration

	Warnings []string // what was understood only in part, with its place
}

// Storage is one storage that is served.
type Storage struct {
	Name, Home, BlobDir string
	ReadOnly            bool
}

// AddFlags adds a flag for each setting.
func AddFlags(f *pflag.FlagSet) {
	f.StringArray("listen", []string{"127.0.0.1:8100"}, "")
	f.StringArray("storage", nil, "")
}

// Load puts the settings together: flags, the environment, the file, zeo.conf, defaults. home is the
// HOME of the command line, empty if there is none.
func Load(f *pflag.FlagSet, home string, getenv func(string) string, readFile func(string) ([]byte, error)) (*Config, error) {
	c := &Config{Create: true, Format: "chunky", Class: "Full", Announce: "pickle", TransactionTimeout: 5 * time.Minute,
		InvalidationQueueSize: 1000, MaxMessage: 1 << 30, MaxConnections: 1000, MaxTransaction: 16 << 30, MaxBlob: 1 << 40, MaxQueue: 256 << 20,
		HelloTimeout: 30 * time.Second, CacheSize: 64 << 20, LogLevel: "info", LogFormat: "text", DrainTimeout: 10 * time.Second}
	c.Listen, _ = f.GetStringArray("listen")
	c.Storages = []Storage{{Name: "1", Home: home}}
	return c, nil
}
