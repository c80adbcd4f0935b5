package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// withPath are calls of commands with the flags that name files or directories; PATH is the path. The other
// words are places in a directory of the test. Commands that take the settings of a server are told apart below.
var withPath = map[string][]string{
	"backup full --snapshot-conf":    {"backup", "full", "--snapshot-conf", "PATH", "HOME", "NEW"},
	"backup inc --snapshot-conf":     {"backup", "inc", "--snapshot-conf", "PATH", "HOME", "REPO"},
	"backup run --snapshot-conf":     {"backup", "run", "--snapshot-conf", "PATH", "HOME", "REPO"},
	"snapshot run --snapshot-conf":   {"snapshot", "run", "--snapshot-conf", "PATH", "HOME", "--", "true"},
	"snapshot enter --snapshot-conf": {"snapshot", "enter", "--snapshot-conf", "PATH", "HOME"},
	"snapshot leave --snapshot-conf": {"snapshot", "leave", "--snapshot-conf", "PATH", "HOME"},
	"backup verify --tmp":            {"backup", "verify", "--restore", "--tmp", "PATH", "REPO"},
	"status --repository":            {"status", "--repository", "PATH", "HOME"},
	"export --blobs":                 {"export", "--blobs", "PATH", "HOME", "NEW"},
	"import --blobs":                 {"import", "--blobs", "PATH", "DATA.FS", "NEW"},
	"estimate --blobs":               {"estimate", "--blobs", "PATH", "DATA.FS", "NEW"},
	"bench --tls-authenticate":       {"bench", "--tls-authenticate", "PATH", "zeo://127.0.0.1:1"},
	"bench --tls-certificate":        {"bench", "--tls-certificate", "PATH", "zeo://127.0.0.1:1"},
	"bench --tls-key":                {"bench", "--tls-certificate", "CA/server.pem", "--tls-key", "PATH", "zeo://127.0.0.1:1"},
	"import --tls-authenticate":      {"import", "--tls-authenticate", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"import --tls-certificate":       {"import", "--tls-certificate", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"import --tls-key":               {"import", "--tls-certificate", "CA/server.pem", "--tls-key", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"estimate --tls-authenticate":    {"estimate", "--tls-authenticate", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"estimate --tls-certificate":     {"estimate", "--tls-certificate", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"estimate --tls-key":             {"estimate", "--tls-certificate", "CA/server.pem", "--tls-key", "PATH", "zeo://127.0.0.1:1", "NEW"},
	"config --config":                {"config", "--config", "PATH", "HOME"},
	"config --zeo-conf":              {"config", "--zeo-conf", "PATH", "HOME"},
	"config --tls-key-password-file": {"config", "--tls-key-password-file", "PATH", "--tls-certificate", "CA/server.pem", "--tls-authenticate", "CA/ca.pem", "HOME"},
	"serve --config":                 serveWith("--config", "PATH"),
	"serve --zeo-conf":               serveWith("--zeo-conf", "PATH"),
	"serve --tls-key-password-file":  serveWith("--tls-key-password-file", "PATH", "--tls-certificate", "CA/server.pem", "--tls-authenticate", "CA/ca.pem"),
	"serve --tls-certificate":        serveWith("--tls-certificate", "PATH", "--tls-authenticate", "CA/ca.pem"),
	"serve --tls-key":                serveWith("--tls-certificate", "CA/server.pem", "--tls-key", "PATH", "--tls-authenticate", "CA/ca.pem"),
	"serve --tls-authenticate":       serveWith("--tls-certificate", "CA/server.pem", "--tls-key", "CA/server.key", "--tls-authenticate", "PATH"),
	"serve --tls-revoked":            serveWith("--tls-certificate", "CA/server.pem", "--tls-key", "CA/server.key", "--tls-authenticate", "CA/ca.pem", "--tls-revoked", "PATH"),
	"serve --web-token-file":         serveWith("--http-listen", "127.0.0.1:0", "--web", "--web-token-file", "PATH"),
	"serve --pid-file":               serveWith("--pid-file", "PATH"),
	"serve --blob-dir":               serveWith("--blob-dir", "PATH"),
	"serve --backup-repository":      serveWith("--backup-repository", "PATH"),
	// Arguments.
	"show FILE":             {"show", "PATH"},
	"import DATA.FS":        {"import", "PATH", "NEW"},
	"estimate DATA.FS":      {"estimate", "PATH", "NEW"},
	"backup list REPO":      {"backup", "list", "PATH"},
	"backup verify REPO":    {"backup", "verify", "PATH"},
	"backup prune REPO":     {"backup", "prune", "--keep-chains", "1", "PATH"},
	"backup merge REPO":     {"backup", "merge", "PATH"},
	"backup full REPO":      {"backup", "full", "HOME", "PATH"},
	"restore REPO":          {"restore", "PATH", "NEW"},
	"salvage DIR":           {"salvage", "PATH", "HOME"},
	"certs list DIR":        {"certs", "list", "PATH"},
	"certs show FILE":       {"certs", "show", "PATH"},
	"certs renew DIR":       {"certs", "renew", "PATH"},
	"certs revoke DIR":      {"certs", "revoke", "PATH", "server"},
	"certs server DIR":      {"certs", "server", "PATH", "other"},
	"certs client DIR":      {"certs", "client", "PATH", "other"},
	"certs authority DIR":   {"certs", "authority", "PATH"},
	"import DATA.FS follow": {"import", "--follow", "PATH", "NEW"},
}

// serveWith is a call of serve that goes no further than to a socket.
func serveWith(flags ...string) []string {
	return append(append([]string{"serve", "--listen", "127.0.0.1:0"}, flags...), "HOME")
}

// noFault are the combinations of a call and a fault that are none, with the reason.
var noFault = map[string]string{
	"serve --pid-file missing": "it is made", "serve --blob-dir missing": "it is made", "export --blobs missing": "it is made",
	"serve --backup-repository missing": "there is no backup yet", "serve --backup-repository file": "metrics and status tell it", "serve --backup-repository below": "metrics and status tell it",
	"status --repository missing": "status tells it", "status --repository file": "status tells it", "status --repository below": "status tells it",
	"backup full REPO missing": "it is made", "certs authority DIR missing": "it is made",
	"serve --blob-dir directory": "", "export --blobs directory": "", "serve --backup-repository directory": "", "status --repository directory": "",
	"import --blobs directory": "", "estimate --blobs directory": "", "backup verify --tmp directory": "", "backup full REPO directory": "", "salvage DIR directory": "", "certs authority DIR directory": "",
	"backup list REPO directory": "no backups", "backup verify REPO directory": "no backups", "backup prune REPO directory": "no backups", "backup merge REPO directory": "no backups",
	"show FILE file": "", "certs list DIR file": "a file of certificates will do", "certs list DIR directory": "",
	"certs renew DIR directory": "", "snapshot leave --snapshot-conf missing": "without a snapshot it is not read", "snapshot leave --snapshot-conf directory": "", "snapshot leave --snapshot-conf file": "",
	"snapshot enter --snapshot-conf file": "HOME is closed, and needs no method", "snapshot run --snapshot-conf file": "HOME is closed", "backup full --snapshot-conf file": "HOME is closed", "backup inc --snapshot-conf file": "HOME is closed", "backup run --snapshot-conf file": "HOME is closed",
	"snapshot leave --snapshot-conf below": "without a snapshot it is not read", "serve --tls-key-password-file file": "a password", "config --tls-key-password-file file": "a password",
}

// TestEachFlagOfAPathIsInTheTable of the faults of paths, unless its command looks at no such file.
func TestEachFlagOfAPathIsInTheTable(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			call := name + " --" + f.Name
			if _, in := withPath[call]; isPath(f) && !in && name != "config" { // which looks at no certificates and storages
				t.Errorf("%s is not in withPath", call)
			}
		})
	}
}

// pathPlaces makes the places for the calls of withPath.
func pathPlaces(t *testing.T) *strings.Replacer {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	want(t, exitOK, "", "import", hometest.FileStorage(t, "undo.fs"), at("home"))
	want(t, exitOK, "", "backup", "full", at("home"), at("repo"))
	want(t, exitOK, "", "certs", "authority", at("ca"))
	want(t, exitOK, "", "certs", "server", at("ca"), "server")
	return strings.NewReplacer("HOME", at("home"), "REPO", at("repo"), "NEW", at("new"), "CA/", at("ca")+"/", "DATA.FS", hometest.FileStorage(t, "undo.fs"))
}

// TestAPathThatWillNotDoHasAdvice calls commands with a path that is missing, or a file in the place of a
// directory, or the reverse: the error names the path, and there is a remedy. Nothing is made.
func TestAPathThatWillNotDoHasAdvice(t *testing.T) {
	t.Parallel()
	places := pathPlaces(t)
	dir := t.TempDir()
	for _, fault := range []string{"missing", "directory", "file", "below"} {
		path := filepath.Join(dir, fault)
		switch fault {
		case "directory":
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		case "file":
			if err := os.WriteFile(path, []byte("no such thing\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		case "below":
			path = filepath.Join(dir, "file", "below")
		}
		for name, args := range withPath {
			if _, none := noFault[name+" "+fault]; none {
				continue
			}
			args = slices.Clone(args)
			for i, a := range args {
				if args[i] = places.Replace(a); a == "PATH" {
					args[i] = path
				}
			}
			e, stdout, stderr := testEnv()
			ctx, cancel := context.WithCancel(t.Context())
			e.Stdout, e.Stderr = &untilServed{cancel, stdout}, &untilServed{cancel, stderr}
			code := run(ctx, e, args)
			cancel()
			of := fault == "file" && (strings.Contains(name, "tls-") || strings.HasSuffix(name, "config") || strings.HasSuffix(name, "-conf")) // its content is told
			if text := stderr.String(); code == exitOK || code == exitInterrupted || !strings.Contains(text, strings.TrimSuffix(path, "/below")) || !of && !strings.Contains(text, "hint: ") && !strings.Contains(text, "want ") && !strings.Contains(text, "; usage: ") {
				t.Errorf("%s, %s: status %d\n%s%s", name, fault, code, stdout, stderr)
			}
			if made := places.Replace("NEW"); exists(made) {
				t.Errorf("%s, %s made %s", name, fault, made)
				if err := os.RemoveAll(made); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// untilServed ends a server once it says that it serves.
type untilServed struct {
	end context.CancelFunc
	to  interface{ Write([]byte) (int, error) }
}

func (u *untilServed) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "Stop it with Ctrl-C") || strings.Contains(string(b), "serving") {
		u.end()
	}
	return u.to.Write(b)
}

// TestAPathForAnotherUserHasAdvice calls commands with a file that this user may not read: nobody is told to
// be the user of the storage for the sake of a configuration, a certificate or a repository.
func TestAPathForAnotherUserHasAdvice(t *testing.T) {
	t.Parallel()
	self, as := asSomebodyElse(t)
	if as == nil {
		t.Skip("the path has to belong to somebody else: run it as root")
	}
	places := pathPlaces(t)
	dir := filepath.Dir(places.Replace("HOME"))
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", "65534", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(t.TempDir(), "hidden")
	if err := os.Mkdir(hidden, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{secret, hidden} {
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(filepath.Dir(secret), "closed")
	if err := os.Mkdir(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"export": {"export", "HOME", closed + "/x.fs"}, "pid-file": serveWith("--pid-file", closed+"/pid"), "backup": {"backup", "full", "HOME", closed + "/repo"}, "certs": {"certs", "authority", closed + "/ca"},
	} {
		for i, a := range args {
			args[i] = places.Replace(a)
		}
		c := exec.CommandContext(t.Context(), self, args...)
		c.Env, c.Dir, c.SysProcAttr = append(os.Environ(), asProgram+"=1"), "/", as
		out, err := c.CombinedOutput()
		if text := string(out); err == nil || !strings.Contains(text, "\nhint: this user may not make files in "+closed+": ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	calls := []string{"config --config", "config --zeo-conf", "config --tls-key-password-file", "serve --config", "serve --tls-certificate", "serve --tls-key", "serve --tls-authenticate", "serve --tls-revoked",
		"bench --tls-key", "import --tls-certificate", "import DATA.FS", "estimate DATA.FS", "show FILE", "backup full --snapshot-conf", "certs show FILE", "import --blobs", "backup list REPO", "backup verify REPO", "restore REPO", "backup prune REPO", "backup full REPO", "salvage DIR", "export --blobs"}
	for _, name := range hometest.Today(t, 4, calls) {
		path := secret
		if strings.HasSuffix(name, "REPO") || strings.HasSuffix(name, "DIR") || strings.HasSuffix(name, "blobs") {
			path = hidden
		}
		args := slices.Clone(withPath[name])
		for i, a := range args {
			if args[i] = places.Replace(a); a == "PATH" {
				args[i] = path
			}
		}
		c := exec.CommandContext(t.Context(), self, args...)
		c.Env, c.Dir, c.SysProcAttr = append(os.Environ(), asProgram+"=1"), "/", as
		out, err := c.CombinedOutput()
		if text := string(out); err == nil || c.ProcessState.ExitCode() == exitDamage || !strings.Contains(text, "permission denied") || !strings.Contains(text, "hint: this user has no right to ") || !strings.Contains(text, "ls -ld "+path) || strings.Contains(text, "to whom the storage belongs") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestAPlaceForSomethingNewHasAdvice where a file is in its way, and a repository without a backup.
func TestAPlaceForSomethingNewHasAdvice(t *testing.T) {
	t.Parallel()
	home, dir := importedHome(t), t.TempDir()
	file, empty, data := filepath.Join(dir, "file"), filepath.Join(dir, "empty"), hometest.FileStorage(t, "undo.fs")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(empty, 0o700)); err != nil {
		t.Fatal(err)
	}
	const some = "; it takes the directory of a storage, one that is empty, or a name that does not exist yet\n"
	first := "\nhint: see that it is the directory, and that its disk is mounted; dirstorage backup run HOME " + empty + " makes the first backup\n"
	for _, tc := range []struct {
		status int
		says   string
		args   []string
	}{
		{exitNoStorage, some, []string{"import", data, file}},
		{exitNoStorage, some, []string{"convert", home, file}},
		{exitNoStorage, some, []string{"serve", "--listen", "127.0.0.1:0", file}},
		{exitNoStorage, "\nhint: the form is dirstorage pack HOME [flags]; " + data + " is a Data.fs: dirstorage import " + data + " HOME copies it into a storage\n", []string{"pack", data}},
		{exitNoStorage, "; " + empty + " is empty: look whether a disk is not mounted there; dirstorage create " + empty + " makes a storage of it\n", []string{"check", empty}},
		{exitFailed, "cannot be a HOME: " + file + " is a file\nhint: give a directory", []string{"estimate", data, filepath.Join(file, "below")}},
		{exitFailed, "\nhint: the form is dirstorage estimate DATA.FS HOME\n", []string{"estimate", empty, dir}},
		{exitFailed, first, []string{"backup", "merge", empty}},
		{exitFailed, first, []string{"restore", empty, filepath.Join(dir, "new")}},
		{exitNotFound, "\nhint: look whether the name of COMMAND is right", []string{"snapshot", "run", home, "--", filepath.Join(dir, "missing")}},
	} {
		want(t, tc.status, tc.says, tc.args...)
	}
}

// TestHealthSaysWhatAnAddressIs where it is none, and its probable fault where nothing answers.
func TestHealthSaysWhatAnAddressIs(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, exitUsage, "want host:port or a port\nhint: give the address of the setting http-listen", "health", "nohome")
	want(t, exitUsage, "hint: health asks a server by the address of its setting http-listen; dirstorage status "+home+" looks at a storage", "health", home)
	want(t, exitUsage, "want host:port", "health", "127.0.0.1:70000")
	want(t, exitFailed, "hint: nothing listens there", "health", free)
}
