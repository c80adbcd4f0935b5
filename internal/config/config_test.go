package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/certs"
)

// world is the environment and the files that Load sees.
type world struct {
	args  []string
	home  string
	env   map[string]string
	files map[string]string
}

func (w world) load(t testing.TB) (*Config, error) {
	t.Helper()
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(f)
	if err := f.Parse(w.args); err != nil {
		t.Fatal(err)
	}
	return Load(f, w.home, func(name string) string { return w.env[name] }, func(name string) ([]byte, error) {
		text, ok := w.files[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	})
}

func (w world) mustLoad(t testing.TB) *Config {
	t.Helper()
	c, err := w.load(t)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func source(t testing.TB, c *Config, name string) (value, source string) {
	t.Helper()
	for _, s := range c.Settings() {
		if s.Name == name {
			return s.Value, s.Source
		}
	}
	t.Fatalf("there is no setting %s", name)
	return "", ""
}

func TestDefaultsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	c := world{home: "/h"}.mustLoad(t)
	c.settings = nil
	want := &Config{
		Listen: []string{"127.0.0.1:8100"}, Storages: []Storage{{Name: "1", Home: "/h"}}, Create: true, Class: "Full",
		Announce: "pickle", TransactionTimeout: 5 * time.Minute, LargeTimeout: time.Minute, InvalidationQueueSize: 1000, MaxMessage: 1 << 30, MaxConnections: 1000,
		MaxTransaction: 16 << 30, MaxBlob: 1 << 40, MaxQueue: 256 << 20, HelloTimeout: 30 * time.Second, MergeUndo: true, CacheSize: 64 << 20,
		LogLevel: "info", LogFormat: "text", DrainTimeout: 10 * time.Second, SnapshotLimit: 6 * time.Hour, LowSpace: 1 << 30, Reserve: 16 << 20,
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheFirstPlaceCounts(t *testing.T) {
	t.Parallel()
	w := world{
		args:  []string{"--max-blob=5", "--config", "d.toml", "--zeo-conf=z.conf"},
		home:  "/h",
		env:   map[string]string{"DIRSTORAGE_MAX_BLOB": "6", "DIRSTORAGE_MAX_QUEUE": "6MB", "ZEO_MSGPACK": "1"},
		files: map[string]string{"d.toml": "max-blob = 7\nmax-queue = 7\n\nread-only = false\nlisten = 'h:1'\n", "z.conf": "<zeo>\naddress 9\nread-only yes\ninvalidation-queue-size 50\n</zeo>\n"},
	}
	c := w.mustLoad(t)
	for _, tc := range []struct{ name, value, source string }{
		{"max-blob", "5", "flag --max-blob"},
		{"max-queue", "6000000", "environment DIRSTORAGE_MAX_QUEUE"},
		{"read-only", "false", "d.toml:4"},
		{"listen", "h:1", "d.toml:5"},
		{"invalidation-queue-size", "50", "z.conf:4"},
		{"announce", "msgpack", "environment ZEO_MSGPACK"},
		{"max-message", "1GiB", "default"},
		{"tls-key", "", "default"},
		{"config", "d.toml", "flag --config"},
	} {
		if v, s := source(t, c, tc.name); v != tc.value || s != tc.source {
			t.Errorf("%s = %q from %q, want %q from %q", tc.name, v, s, tc.value, tc.source)
		}
	}
	w.files["z.conf"] = "<zeo>\nmsgpack false\n</zeo>"
	if c := w.mustLoad(t); c.Announce != "pickle" {
		t.Errorf("ZEO_MSGPACK counted before the file: %s", c.Announce)
	}
}

func TestListsAreReplacedNotMerged(t *testing.T) {
	t.Parallel()
	w := world{home: "/h", env: map[string]string{"DIRSTORAGE_LISTEN": "a:1, /run/x"}, args: nil}
	if diff := cmp.Diff([]string{"a:1", "/run/x"}, w.mustLoad(t).Listen); diff != "" {
		t.Error(diff)
	}
	w.args = []string{"--listen", "8100", "--listen=[::1]:0", "--listen", ":7", "--read-only"}
	c := w.mustLoad(t)
	if diff := cmp.Diff([]string{"127.0.0.1:8100", "[::1]:0", ":7"}, c.Listen); diff != "" || !c.ReadOnly {
		t.Error(diff, c.ReadOnly)
	}
}

const two = "[[storage]]\nname = 'main'\nhome = '/m'\nread-only = true\n[[storage]]\nname = 'cat'\nhome = '/c'\nblob-dir = '/b'\n"

func TestStoragesAreFound(t *testing.T) {
	t.Parallel()
	file := func(text string) map[string]string { return map[string]string{"f": text} }
	zeo := "<zeo>\naddress 1\n</zeo>\n"
	for _, tc := range []struct {
		name string
		w    world
		want []Storage
	}{
		{"positional", world{home: "/h"}, []Storage{{Name: "1", Home: "/h"}}},
		{"flags", world{args: []string{"--storage=a=/a", "--storage", "b=/b=1"}}, []Storage{{Name: "a", Home: "/a"}, {Name: "b", Home: "/b=1"}}},
		{"both", world{home: "/h", args: []string{"--storage=a=/a"}}, []Storage{{Name: "1", Home: "/h"}, {Name: "a", Home: "/a"}}},
		{"environment", world{env: map[string]string{"DIRSTORAGE_STORAGE": "a=/a,b=/b"}}, []Storage{{Name: "a", Home: "/a", Expected: "environment DIRSTORAGE_STORAGE"}, {Name: "b", Home: "/b", Expected: "environment DIRSTORAGE_STORAGE"}}},
		{"TOML", world{args: []string{"--config=f"}, files: file(two)}, []Storage{{Name: "main", Home: "/m", ReadOnly: true, Expected: "f:1"}, {Name: "cat", Home: "/c", BlobDir: "/b", Expected: "f:5"}}},
		{"TOML, and create is set", world{args: []string{"--config=f", "--create"}, files: file(two)}, []Storage{{Name: "main", Home: "/m", ReadOnly: true}, {Name: "cat", Home: "/c", BlobDir: "/b"}}},
		{"variable", world{env: map[string]string{"DIRSTORAGE_HOME": "/e"}}, []Storage{{Name: "1", Home: "/e", Expected: "environment DIRSTORAGE_HOME"}}},
		{"positional instead of variable", world{home: "/h", env: map[string]string{"DIRSTORAGE_HOME": "/e"}}, []Storage{{Name: "1", Home: "/h"}}},
		{"flags instead of variable", world{args: []string{"--storage=a=/a"}, env: map[string]string{"DIRSTORAGE_HOME": "/e"}}, []Storage{{Name: "a", Home: "/a"}}},
		{"positional instead of TOML", world{home: "/h", args: []string{"--config=f"}, files: file(two)}, []Storage{{Name: "1", Home: "/h"}}},
		{"blob-dir", world{home: "/h", args: []string{"--blob-dir=/b"}}, []Storage{{Name: "1", Home: "/h", BlobDir: "/b"}}},
		{"backup-repository", world{home: "/h", args: []string{"--backup-repository=/b"}}, []Storage{{Name: "1", Home: "/h", Repository: "/b"}}},
		{"backup-repository of each", world{args: []string{"--config=f"}, files: file(strings.ReplaceAll(two, "blob-dir", "backup-repository"))}, []Storage{{Name: "main", Home: "/m", ReadOnly: true, Expected: "f:1"}, {Name: "cat", Home: "/c", Repository: "/b", Expected: "f:5"}}},
		{"zeo.conf, unnamed", world{home: "/h", args: []string{"--zeo-conf=f"}, files: file(zeo + "<filestorage>\npath x\n</filestorage>")}, []Storage{{Name: "1", Home: "/h"}}},
		{"zeo.conf, two in HOME", world{home: "/h", args: []string{"--zeo-conf=f"}, files: file(zeo + "<filestorage Main>\n</filestorage>\n<filestorage b>\nread-only on\n</filestorage>")},
			[]Storage{{Name: "main", Home: "/h/main"}, {Name: "b", Home: "/h/b", ReadOnly: true}}},
		{"zeo.conf, one placed, one more", world{home: "/h", args: []string{"--zeo-conf=f", "--storage=b=/b", "--storage=x=/x"}, files: file(zeo + "<filestorage a>\n</filestorage>\n<blobstorage b>\nblob-dir y\n<filestorage>\npath z\n</filestorage>\n</blobstorage>")},
			[]Storage{{Name: "a", Home: "/h/a"}, {Name: "b", Home: "/b"}, {Name: "x", Home: "/x"}}},
		{"zeo.conf without storages", world{home: "/h", args: []string{"--zeo-conf=f"}, files: file(zeo)}, []Storage{{Name: "1", Home: "/h"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.w.mustLoad(t).Storages); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorsSayWhatWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	flags := func(args ...string) world { return world{home: "/h", args: args} }
	inTOML := func(text string) world {
		return world{home: "/h", args: []string{"--config=d.toml"}, files: map[string]string{"d.toml": text}}
	}
	inZEO := func(text string) world {
		return world{home: "/h", args: []string{"--zeo-conf=z"}, files: map[string]string{"z": text}}
	}
	for _, tc := range []struct {
		name string
		w    world
		want string
	}{
		{"nothing", world{}, "there is no storage to serve; give HOME"},
		{"size", flags("--max-blob=64mb"), `flag --max-blob: max-blob "64mb" is not a size: want bytes`},
		{"size, too much", flags("--max-blob=9999999999TiB"), "is too much"},
		{"size of zero", flags("--max-blob=0"), "at least one byte"},
		{"duration", flags("--hello-timeout=30"), `"30" is not a duration: want a number with ms, s, m or h`},
		{"no time at all", flags("--hello-timeout=0"), "want more than 0"},
		{"negative", flags("--drain-timeout=-1s"), "negative"},
		{"count", flags("--max-connections=0"), "at least 1"},
		{"choice", flags("--announce=json"), `announce "json": want pickle or msgpack`},
		{"truth", world{home: "/h", env: map[string]string{"DIRSTORAGE_CREATE": "maybe"}}, `environment DIRSTORAGE_CREATE: create "maybe": want true or false`},
		{"address", flags("--listen=::1:80"), "needs [ ] around the IPv6 address"},
		{"port", flags("--listen=h:65536"), "no port from 0 to 65535"},
		{"URL", flags("--listen=tcp://0.0.0.0:80"), "flag --listen: listen \"tcp://0.0.0.0:80\" is a URL: want host:port"},
		{"address twice", flags("--listen=8100", "--listen=127.0.0.1:8100"), "is given twice"},
		{"password of no key", world{home: "/h", args: []string{"--tls-key-password-file=p"}, files: map[string]string{"p": "x"}}, "flag --tls-key-password-file: tls-key-password-file has no use without a certificate"},
		{"level", flags("--log-level=loud"), "want debug, info, warn or error"},
		{"storage", flags("--storage=/srv"), "want NAME=HOME"},
		{"storage twice", flags("--storage=1=/x"), "storage 1 is given twice, here and by argument HOME"},
		{"directory twice", flags("--storage=2=/h/"), "the directory /h/ is given twice"},
		{"backup-repository of two", flags("--storage=2=/x", "--backup-repository=/b"), "backup-repository is for a single storage"},
		{"blob-dir of two", flags("--storage=2=/x", "--blob-dir=/b"), "blob-dir is for a single storage"},
		{"no file", flags("--config=x"), "flag --config: the configuration file can't be read: open x"},
		{"certificate alone", flags("--tls-certificate=c"), "set tls-authenticate"},
		{"key alone", flags("--tls-key=c"), "set tls-certificate"},
		{"DYNAMIC", flags("--tls-certificate=c", "--tls-authenticate=DYNAMIC"), "DYNAMIC is not supported"},
		{"password file", flags("--tls-certificate=c", "--tls-authenticate=a", "--tls-key-password-file=x"), "tls-key-password-file can't be read"},
		{"unknown key", inTOML("\n\ntransaction_timeout = 5"), `d.toml:3: there is no setting "transaction_timeout"; did you mean transaction-timeout?`},
		{"unknown table", inTOML("[tls]\nkey='x'"), `d.toml:1: there is no setting "tls"`},
		{"key under storage", inTOML("[[storage]]\nname='a'\nhome='b'\nlisten='c'"), "d.toml:4: [[storage]] has no \"listen\""},
		{"second storage", inTOML(two + "[[storage]]\nhame='a'"), "d.toml:10: [[storage]] has no \"hame\"; did you mean name?"},
		{"TOML", inTOML("a = 1\nb = "), "d.toml:2: this is not TOML"},
		{"type", inTOML("max-blob = 1.5"), "d.toml:1: max-blob: want one string, number"},
		{"password in the file", inTOML("tls-key-password = 'x'"), "does not belong into a file"},
		{"config in the file", inTOML("config = 'x'"), "use the flag --config"},
		{"mapping storage", inZEO("<zeo>\naddress 1\n</zeo>\n<mappingstorage 1>\n</mappingstorage>"), "z:4: <mappingstorage> is a kind of storage that can't be served"},
		{"no zeo", inZEO(""), "z: there is no <zeo> section"},
		{"password function", inZEO("<zeo>\n<ssl>\npassword-function a.b\n</ssl>\n</zeo>"), "z:3: password-function a.b is a function in Python"},
		{"not closed", inZEO("\n<zeo>\n"), "z:2: <zeo> has no end"},
		{"closed wrongly", inZEO("<zeo>\n</ssl>\n"), "z:2: </ssl> ends no section"},
		{"not defined", inZEO("<zeo>\naddress $p\n</zeo>"), "z:2: $p is not defined"},
		{"lone dollar", inZEO("<zeo>\naddress $\n</zeo>"), "write $$"},
		{"include", inZEO("%include other"), "z:1: %include is not supported"},
		{"seconds", inZEO("<zeo>\ntransaction-timeout 5m\n</zeo>"), "z:2: transaction-timeout \"5m\" is not a number of seconds"},
		{"twice", inZEO("<zeo>\naddress 1\nADDRESS 2\n</zeo>"), "z:3: address is given twice"},
		{"no place", world{args: []string{"--zeo-conf=z"}, files: map[string]string{"z": "<zeo>\n</zeo>\n<filestorage x>\n</filestorage>"}}, "z:3: storage x has no HOME; add --storage x=HOME"},
		{"out of HOME", inZEO("<zeo>\n</zeo>\n<filestorage ..>\n</filestorage>\n<filestorage y>\n</filestorage>"), `storage ".." can't be a directory in HOME`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := tc.w.load(t)
			if err == nil {
				t.Fatal("no error")
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%T is no *Error", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestZEOConfIsUnderstood(t *testing.T) {
	t.Parallel()
	text := `# made by a buildout
%import Products.ThirdParty
%define VAR /var/zeo
%define port 9${nine}
<ZEO>
  Address localhost:$PORT
  read-only off
  invalidation-queue-size 200
  invalidation-age 7200.5
  transaction-timeout 120
  pid-filename ${var}/zeo.pid
  client-conflict-resolution false
  msgpack ON
  monitor-address 1
  <ssl>
    certificate $(ETC)/a$$b.pem
    key $var/key.pem
    authenticate $var/auth
  </ssl>
</zeo>
<filestorage 1>
  path $VAR/Data.fs
  blob-dir $VAR/blobs
  pack-keep-old false
</filestorage>
<eventlog>
  level info
  <logfile>
    path x
  </logfile>
</eventlog>
<runner>
  program x
</runner>
`
	text = strings.Replace(text, "%define port", "%define nine 991\n%define port", 1)
	c := world{home: "/h", args: []string{"--zeo-conf=z"}, env: map[string]string{"ETC": "/etc"}, files: map[string]string{"z": text}}.mustLoad(t)
	if c.Listen[0] != "localhost:9991" || c.InvalidationQueueSize != 200 || c.InvalidationAge != 7200500*time.Millisecond ||
		c.TransactionTimeout != 2*time.Minute || c.PidFile != "/var/zeo/zeo.pid" || c.Announce != "msgpack" {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff(&certs.Files{Certificate: "/etc/a$b.pem", Key: "/var/zeo/key.pem", Authenticate: "/var/zeo/auth"}, c.TLS); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{"z:2: %import has no effect", "z:13: client-conflict-resolution is off", "z:15: monitor-address in <zeo>", "z:23: /var/zeo/Data.fs is not served", "z:24: blob-dir /var/zeo/blobs is not used", "z:27: <eventlog>", "z:33: <runner>"} {
		if i >= len(c.Warnings) || !strings.HasPrefix(c.Warnings[i], want) {
			t.Fatalf("warnings %q, want %s", c.Warnings, want)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	tls := []string{"--tls-certificate=c", "--tls-authenticate=a"}
	w := world{home: "/h", args: tls, env: map[string]string{"DIRSTORAGE_TLS_KEY_PASSWORD": "hush"}}
	c := w.mustLoad(t)
	if v, _ := source(t, c, "tls-key-password"); c.TLS.KeyPassword != "hush" || v != "(not shown)" {
		t.Errorf("password %q is shown as %q", c.TLS.KeyPassword, v)
	}
	w = world{home: "/h", args: append(tls, "--tls-key-password-file=p"), files: map[string]string{"p": "hush\r\nmore"}}
	if c := w.mustLoad(t); c.TLS.KeyPassword != "hush" {
		t.Errorf("password %q", c.TLS.KeyPassword)
	}
	w.env = map[string]string{"DIRSTORAGE_TLS_KEY_PASSWORD": "hush"}
	if _, err := w.load(t); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("two passwords: %v", err)
	}
	// Without TLS the password is left alone.
	if c := (world{home: "/h", env: w.env}).mustLoad(t); c.TLS != nil {
		t.Error("a password switches TLS on")
	}
}

func TestSampleAndDocumentNameEachSetting(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	sample, err := os.ReadFile(filepath.Join(root, "dist", "dirstorage.toml"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "server-config.md"))
	if err != nil {
		t.Fatal(err)
	}
	w := world{args: []string{"--config=s"}, files: map[string]string{"s": string(sample)}}
	c := w.mustLoad(t)
	if len(c.Warnings) > 0 {
		t.Error(c.Warnings)
	}
	// The values in it are the defaults, but for one that is for beginners.
	if c.Create {
		t.Error("the sample makes a HOME that a typing error names")
	}
	c.Create = true
	plain := world{home: "/var/lib/dirstorage/zodb"}.mustLoad(t)
	c.settings, plain.settings = nil, nil
	if diff := cmp.Diff(plain, c, cmp.AllowUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
	for _, s := range table() {
		if !s.notInFile && !s.onlyEnvironment && !strings.Contains("\n"+strings.ReplaceAll(string(sample), "\n#", "\n"), "\n"+s.name+" = ") && s.name != "storage" {
			t.Errorf("the sample does not name %s", s.name)
		}
		if !strings.Contains(string(document), "| `"+s.name+"` |") {
			t.Errorf("docs/server-config.md does not name %s", s.name)
		}
	}
	// The commented lines are right, too.
	var all []string
	for line := range strings.SplitSeq(string(sample), "\n") {
		rest, ok := strings.CutPrefix(line, "#")
		if ok && !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "listen") && !strings.HasPrefix(rest, "http-listen") && !strings.HasPrefix(rest, "zeo-conf") {
			line = rest
		}
		all = append(all, line)
	}
	w.files["s"] = strings.Join(all, "\n")
	w.files["/etc/dirstorage/tls-key-password"] = "x\n"
	if c := w.mustLoad(t); c.TLS == nil || c.Storages[0].BlobDir == "" || c.Storages[0].Repository == "" || c.PidFile == "" {
		t.Errorf("got %+v", c)
	}
}

func FuzzZEOConf(f *testing.F) {
	f.Add("<zeo>\naddress $$\n</zeo>")
	f.Add("%define a b\n<a b/>\n$a ${a} $(A)")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := world{home: "/h", args: []string{"--zeo-conf=z"}, files: map[string]string{"z": text}}.load(t)
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}

func FuzzTOML(f *testing.F) {
	f.Add(two)
	f.Add("[a]\nb.c = 1\n'x' = [[1]]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := world{home: "/h", args: []string{"--config=z"}, files: map[string]string{"z": text}}.load(t)
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}

func FuzzSizesAreReadAsWritten(f *testing.F) {
	f.Add(int64(64 << 20))
	f.Add(int64(1000))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			return
		}
		if got, err := parseSize(formatSize(n)); got != n || err != nil {
			t.Errorf("%d becomes %s, and that %d, %v", n, formatSize(n), got, err)
		}
	})
}

func TestUnitStartsTheServerWithTheSample(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(filepath.Join("..", "..", "dist", "systemd", "dirstorage.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Type=notify", "ExecStart=/usr/bin/dirstorage serve --config /etc/dirstorage.toml", `ExecReload=/bin/sh -c "kill -HUP $MAINPID"`,
		"Restart=on-failure", "StateDirectory=dirstorage", "NoNewPrivileges=yes", "ProtectSystem=strict"} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit has no line %s", line)
		}
	}
	// A variable that it sets in the environment is a setting.
	for line := range strings.SplitSeq(string(unit), "\n") {
		if _, rest, ok := strings.Cut(line, "Environment="); ok {
			variable, _, _ := strings.Cut(rest, "=")
			known := false
			for _, s := range table() {
				known = known || s.environment() == variable
			}
			if !known {
				t.Errorf("%s is no setting", variable)
			}
		}
	}
}

// TestBlanksInAddressesOfZEODoNotCount: files in the field have them.
func TestBlanksInAddressesOfZEODoNotCount(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"127.0.0.1: 8100": "127.0.0.1:8100", "localhost :1": "localhost:1", "8100": ":8100",
		"[::1]:80": "[::1]:80", "/run/zeo.sock": "/run/zeo.sock", "host": "host:0"} {
		if got := zeoAddress(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestPackGCIsWhatTheFilesSay: a site with an external collector says so in its zeo.conf.
func TestPackGCIsWhatTheFilesSay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, text string
		toml, want bool
	}{
		{"TOML false", "[[storage]]\nname = 'a'\nhome = '/h'\npack-gc = false\n", true, true},
		{"TOML true", "[[storage]]\nname = 'a'\nhome = '/h'\npack-gc = true\n", true, false},
		{"zeo.conf false", "<zeo>\naddress 127.0.0.1:1\n</zeo>\n<filestorage a>\npath x\npack-gc false\n</filestorage>\n", false, true},
		{"zeo.conf true", "<zeo>\naddress 127.0.0.1:1\n</zeo>\n<filestorage a>\npath x\npack-gc true\n</filestorage>\n", false, false},
		{"zeo.conf default", "<zeo>\naddress 127.0.0.1:1\n</zeo>\n<filestorage a>\npath x\n</filestorage>\n", false, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			w := world{home: "/h", args: []string{"--zeo-conf=f"}, files: map[string]string{"f": tt.text}}
			if tt.toml {
				w.home, w.args = "", []string{"--config=f"}
			}
			c := w.mustLoad(t)
			if len(c.Storages) != 1 || c.Storages[0].NoGC != tt.want {
				t.Errorf("%+v", c.Storages)
			}
		})
	}
}
