package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	bits "encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// inside is a file of a package.
type inside struct {
	text string
	mode int64
}

// checkFiles compares the files of a package with those that it has to have. No file and no
// directory of it is where data are.
func checkFiles(t *testing.T, packager string, got map[string]inside) {
	t.Helper()
	zsh := map[string]string{"deb": "vendor-completions", "rpm": "site-functions"}[packager]
	for name, text := range map[string]string{
		"/usr/bin/dirstorage":                                          "\x7fELF",
		"/etc/dirstorage.toml":                                         "listen = ",
		"/etc/default/dirstorage":                                      "PACK_OPTIONS=",
		"/usr/lib/systemd/system/dirstorage.service":                   "ExecStart=/usr/bin/dirstorage serve",
		"/usr/lib/systemd/system/dirstorage.service.d/10-package.conf": "DynamicUser=no",
		"/usr/lib/systemd/system/dirstorage-backup@.service":           "ExecStart=/usr/bin/dirstorage backup run",
		"/usr/lib/systemd/system/dirstorage-backup@.timer":             "OnCalendar=",
		"/usr/lib/systemd/system/dirstorage-verify@.service":           "backup verify",
		"/usr/lib/systemd/system/dirstorage-verify@.timer":             "OnCalendar=",
		"/usr/lib/systemd/system/dirstorage-pack@.service":             "dirstorage pack",
		"/usr/share/doc/dirstorage/monitoring/alerts.yaml":             "alert: DirstorageFailed",
		"/usr/share/doc/dirstorage/monitoring/dashboard.json":          `"title": "dirstorage"`,
		"/usr/lib/systemd/system/dirstorage-pack@.timer":               "OnCalendar=",
		"/usr/share/bash-completion/completions/dirstorage":            "__start_dirstorage",
		"/usr/share/zsh/" + zsh + "/_dirstorage":                       "#compdef dirstorage",
		"/usr/share/fish/vendor_completions.d/dirstorage.fish":         "complete -c dirstorage",
		"/usr/share/man/man1/dirstorage.1.gz":                          "",
		"/usr/share/man/man1/dirstorage-backup-run.1.gz":               "",
		"/usr/share/man/man5/dirstorage-configuration.5.gz":            "",
		"/usr/share/doc/dirstorage/copyright":                          "github.com/spf13/cobra",
		"/usr/share/doc/dirstorage/docs/install.md":                    "# Installation",
	} {
		f, ok := got[name]
		if !ok || !strings.Contains(f.text, text) || f.text == "" {
			t.Errorf("%s: %s is missing, or has no %q", packager, name, text)
		}
		mode := int64(0o644)
		if name == "/usr/bin/dirstorage" {
			mode = 0o755
		}
		if f.mode&0o7777 != mode {
			t.Errorf("%s: %s has mode %o, want %o", packager, name, f.mode, mode)
		}
	}
	for name := range got {
		if !regexp.MustCompile(`^/(usr/(bin|lib/systemd|share)/|etc/(dirstorage\.toml|default/dirstorage)$)`).MatchString(name) {
			t.Errorf("%s: %s is in the package", packager, name)
		}
	}
}

// readDeb returns the files of a package, its control files, and its directories.
func readDeb(t *testing.T, name string) (files map[string]inside, control map[string]string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files, control = make(map[string]inside), make(map[string]string)
	b, ok := bytes.CutPrefix(b, []byte("!<arch>\n"))
	if !ok {
		t.Fatalf("%s is not an archive of ar", name)
	}
	for len(b) >= 60 {
		member := strings.TrimRight(string(b[:16]), " /")
		size, err := strconv.Atoi(strings.TrimSpace(string(b[48:58])))
		if err != nil {
			t.Fatal(err)
		}
		content := b[60 : 60+size]
		b = b[60+size+size%2:]
		if member == "debian-binary" {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", member, err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			at := "/" + strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
			switch {
			case member == "control.tar.gz":
				control[strings.TrimPrefix(at, "/")] = string(text)
			case h.Typeflag == tar.TypeReg:
				if h.Uid != 0 || h.Gid != 0 {
					t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
				}
				files[at] = inside{string(text), h.Mode}
			case strings.HasPrefix(at, "/var"):
				t.Errorf("the directory %s belongs to the package", at)
			}
		}
	}
	return files, control
}

// readRPM returns the files of a package.
func readRPM(t *testing.T, name string) map[string]inside {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := 96 // behind the lead
	for range 2 {
		if !bytes.HasPrefix(b[at:], []byte{0x8e, 0xad, 0xe8}) {
			t.Fatalf("%s has no header at %d", name, at)
		}
		at = (at + 7) &^ 7
		at += 16 + 16*int(bits.BigEndian.Uint32(b[at+8:])) + int(bits.BigEndian.Uint32(b[at+12:]))
		if at < len(b) && b[at] != 0x1f { // the first header, which is padded
			at = (at + 7) &^ 7
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(b[at:]))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]inside)
	for r := cpio.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
		if h.Mode.IsRegular() {
			files[name] = inside{string(text), int64(h.Mode)}
		} else if strings.HasPrefix(name, "/var") {
			t.Errorf("the directory %s belongs to the package", name)
		}
	}
}

// packages makes the packages of two versions for this machine, with a binary that is built once.
func packages(t *testing.T) (paths map[string]string) {
	t.Helper()
	r := &release{log: io.Discard, work: t.TempDir()}
	repository(t) // skips without git
	if err := r.clone(t.Context(), "../..", "HEAD"); err != nil {
		t.Fatal(err)
	}
	b, err := r.compile(t.Context(), target{"linux", runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.licences(t.Context(), []*binary{b})
	if err != nil {
		t.Fatal(err)
	}
	m, err := printManual(t.Context(), b.path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.packageFiles(b, m, l)
	if err != nil {
		t.Fatal(err)
	}
	out, paths := t.TempDir(), make(map[string]string)
	for _, packager := range packagers {
		for _, version := range []string{"v1.0.0", "v1.1.0"} {
			path, err := r.writePackage(out, packager, version, b.target, list)
			if err != nil {
				t.Fatal(err)
			}
			paths[packager+" "+version] = path
		}
	}
	return paths
}

// TestPackages looks into packages of two versions, and where this machine lets it, installs,
// upgrades, removes and purges them in a copy of its own system. Files that an administrator has
// changed and all data stay.
func TestPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	paths := packages(t)
	files, control := readDeb(t, paths["deb v1.0.0"])
	checkFiles(t, "deb", files)
	if got := control["conffiles"]; got != "/etc/default/dirstorage\n/etc/dirstorage.toml\n" && got != "/etc/dirstorage.toml\n/etc/default/dirstorage\n" {
		t.Errorf("conffiles are %q", got)
	}
	for _, want := range []string{"Package: dirstorage\n", "Version: 1.0.0-1\n", "Architecture: " + runtime.GOARCH + "\n", "Description: ZODB storage server"} {
		if !strings.Contains(control["control"], want) {
			t.Errorf("no %q in\n%s", want, control["control"])
		}
	}
	for _, name := range []string{"preinst", "postinst", "prerm", "postrm"} {
		if control[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	checkFiles(t, "rpm", readRPM(t, paths["rpm v1.0.0"]))
	t.Run("deb", func(t *testing.T) { live(t, "deb", paths) })
	t.Run("rpm", func(t *testing.T) { live(t, "rpm", paths) })
}

// TestScriptsOfPackagesKeepData looks for commands that remove, in all that a package runs.
func TestScriptsOfPackagesKeepData(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("../../dist/package/*.sh")
	if err != nil || len(names) != 4 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?m)^[^#\n]*\b(rm|rmdir|mv|userdel|groupdel|chown|chmod|find|truncate)\b`).Find(b); m != nil {
			t.Errorf("%s: %s", name, m)
		}
		if out, err := exec.Command("sh", "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// live goes through the life of a package in a copy of this system: its files, under a file system
// in memory that takes every change.
func live(t *testing.T, packager string, paths map[string]string) {
	tools := []string{"unshare", "mount", "chroot", "useradd", "getent"}
	tools = append(tools, map[string]string{"deb": "dpkg", "rpm": "rpm"}[packager])
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	dir := t.TempDir()
	for _, version := range []string{"v1.0.0", "v1.1.0"} {
		b, err := os.ReadFile(paths[packager+" "+version])
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version+"."+packager), string(b), 0o644)
	}
	data, err := os.ReadFile("../../testdata/filestorage/undo.fs")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Data.fs"), string(data), 0o644)
	write(t, filepath.Join(dir, "life.sh"), lifeOfPackage, 0o755)
	write(t, filepath.Join(dir, "by-hand.sh"), withoutPackage(t), 0o644)
	// The first line fails where this machine allows no such thing: then, and only then, it skips.
	const outer = `set -e
mount -t tmpfs -o mode=755 none "$1/system" && mkdir "$1/system/upper" "$1/system/work" "$1/system/all" &&
mount -t overlay -o "lowerdir=/,upperdir=$1/system/upper,workdir=$1/system/work" none "$1/system/all" || exit 77
mkdir -p "$1/system/all/packages" && cp "$1"/v1.*.$2 "$1/life.sh" "$1/by-hand.sh" "$1/Data.fs" "$1/system/all/packages"
mount -t tmpfs none "$1/system/all/run"
mount --bind /dev "$1/system/all/dev"
exec chroot "$1/system/all" /bin/sh /packages/life.sh $2`
	if err := os.Mkdir(filepath.Join(dir, "system"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "sh", "-c", outer, "sh", dir, packager)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C.UTF-8"}
	out, err := c.CombinedOutput()
	if code := c.ProcessState.ExitCode(); code == 77 || code == 1 && strings.Contains(string(out), "unshare failed") {
		t.Skipf("no copy of this system can be made here: %s", out)
	}
	if err != nil || !strings.HasSuffix(string(out), "\nall was well\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// withoutPackage returns the commands of docs/migrate.md that make user and directories.
func withoutPackage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^.*Without the package:\n\n((?:    .*\n)+)`).FindSubmatch(b)
	if m == nil || strings.Count(string(m[1]), "    sudo ") != 2 {
		t.Fatalf("docs/migrate.md does not tell how to do without the package: %q", m)
	}
	return strings.ReplaceAll(string(m[1]), "    sudo ", "")
}

// lifeOfPackage runs in the copy, as root.
const lifeOfPackage = `set -ex
kind=$1
case $kind in
deb) install="dpkg -i" upgrade="dpkg -i" remove="dpkg -r dirstorage" purge="dpkg -P dirstorage" ;;
rpm) install="rpm -i --nodeps --dbpath /rpmdb" upgrade="rpm -U --nodeps --dbpath /rpmdb" remove="rpm -e --nodeps --dbpath /rpmdb dirstorage" purge=true
	mkdir /rpmdb ;;
esac
# set -e passes over a line with an exclamation mark.
no() { if "$@"; then exit 1; fi; }
as() { setpriv --reuid dirstorage --regid dirstorage --clear-groups "$@"; }
data() { find /var/lib/dirstorage /var/backups/dirstorage -type f ! -path '*/zodb/misc/*' -exec sha256sum {} + | sort; }
no getent passwd dirstorage
# systemd seems to run, and each call is noted.
mkdir -p /run/systemd/system /etc/systemd/system/timers.target.wants
printf '#!/bin/sh\necho "$*" >> /calls\n' > /packages/systemctl
chmod 755 /packages/systemctl
rm -f /usr/bin/systemctl /bin/systemctl
cp /packages/systemctl /usr/bin/systemctl
calls() { sort /calls; rm /calls; }

# Some install the package after they had a binary alone.
test $kind = deb || sh -ex /packages/by-hand.sh
$install /packages/v1.0.0.$kind
test "$(calls)" = daemon-reload # and starts nothing
getent passwd dirstorage | grep -q ':/var/lib/dirstorage:/usr/sbin/nologin$'
test "$(stat -c %U:%G:%a /var/lib/dirstorage /var/backups/dirstorage)" = "dirstorage:dirstorage:750
dirstorage:dirstorage:750"
dirstorage --version
cd /
as dirstorage import /packages/Data.fs /var/lib/dirstorage/zodb
as dirstorage backup run /var/lib/dirstorage/zodb /var/backups/dirstorage/zodb
as dirstorage backup verify --sample 5% /var/backups/dirstorage/zodb
as dirstorage backup prune --keep-chains 5 /var/backups/dirstorage/zodb
as dirstorage pack --keep 7 /var/lib/dirstorage/zodb
dirstorage config --config /etc/dirstorage.toml | grep -q '^storage .*1=/var/lib/dirstorage/zodb'
gunzip -c /usr/share/man/man1/dirstorage-serve.1.gz | grep -q '^.TH '
grep -v '^#' /etc/default/dirstorage | sh -e
echo '# mine' >> /etc/dirstorage.toml
chmod 700 /var/lib/dirstorage # by the administrator
data > /before
test -s /before

$upgrade /packages/v1.1.0.$kind
calls > /upgrade
grep -qx 'try-restart dirstorage.service' /upgrade # if it runs
no grep -v -e '^try-restart dirstorage.service$' -e '^daemon-reload$' /upgrade
grep -q '^# mine$' /etc/dirstorage.toml
test "$(stat -c %a /var/lib/dirstorage)" = 700
data | cmp - /before
as dirstorage check /var/lib/dirstorage/zodb

ln -s /usr/lib/systemd/system/dirstorage-pack@.timer /etc/systemd/system/timers.target.wants/dirstorage-pack@zodb.timer
$remove
calls > /removal
for call in 'disable --now dirstorage.service' 'stop dirstorage-\*@\*.timer dirstorage-\*@\*.service' 'disable dirstorage-pack@zodb.timer' daemon-reload; do
	grep -qx "$call" /removal
done
no grep -q start /removal
rm /etc/systemd/system/timers.target.wants/dirstorage-pack@zodb.timer
no test -e /usr/bin/dirstorage
no test -e /usr/lib/systemd/system/dirstorage.service
data | cmp - /before
case $kind in
deb) grep -q '^# mine$' /etc/dirstorage.toml ;;
rpm) grep -q '^# mine$' /etc/dirstorage.toml.rpmsave ;;
esac

$purge
test $kind = rpm || no test -e /etc/dirstorage.toml
data | cmp - /before
getent passwd dirstorage # its files are there

$install /packages/v1.1.0.$kind # again, beside the data
data | cmp - /before
as dirstorage check /var/lib/dirstorage/zodb
$remove
$purge
data | cmp - /before
echo all was well
`
