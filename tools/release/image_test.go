package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// imageTest is an image that was built, and a container of it.
type imageTest struct {
	t         *testing.T
	flags     []string // of buildah
	container string   // of the volumes
	volumes   []string
	env       []string
	argv      []string // entry point
}

func (i *imageTest) buildah(args ...string) string {
	i.t.Helper()
	c := exec.CommandContext(i.t.Context(), "buildah", append(append([]string(nil), i.flags...), args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		i.t.Fatalf("buildah %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// command is one run of the image.
func (i *imageTest) command(args ...string) *exec.Cmd {
	all := append(append([]string(nil), i.flags...), "run", "--isolation", "chroot")
	for _, v := range i.volumes {
		all = append(all, "--volume", v)
	}
	for _, e := range i.env {
		all = append(all, "--env", e)
	}
	all = append(all, i.container, "--")
	return exec.CommandContext(i.t.Context(), "buildah", append(append(all, i.argv...), args...)...)
}

// expect runs the image once, and compares the exit status.
func (i *imageTest) expect(status int, text string, args ...string) {
	i.t.Helper()
	c := i.command(args...)
	c.SysProcAttr, c.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, 10*time.Second
	late := time.AfterFunc(3*time.Minute, func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	out, err := c.CombinedOutput()
	got := 0
	if err != nil {
		got = -1
		if exit, ok := err.(*exec.ExitError); ok {
			got = exit.ExitCode()
		}
	}
	if got != status || !strings.Contains(string(out), text) {
		i.t.Errorf("%s has status %d, want %d and %q: %s", strings.Join(args, " "), got, status, text, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func newImageTest(t *testing.T) *imageTest {
	t.Helper()
	dir := t.TempDir()
	return &imageTest{t: t, flags: []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "runroot"), "--storage-driver", "vfs"}}
}

// needContainers skips a test where the machine runs no containers: a program that does nothing is put into
// an image, and run.
func needContainers(t *testing.T) {
	t.Helper()
	context := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module nothing\n", "main.go": "package main\n\nfunc main() {}\n", "Containerfile": "FROM scratch\nCOPY nothing /nothing\n",
	} {
		if err := os.WriteFile(filepath.Join(context, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-o", "nothing", ".")
	c.Dir, c.Env = context, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	i := newImageTest(t)
	for _, args := range [][]string{
		append(append([]string{"unshare", "--net", "buildah"}, i.flags...), "build", "--isolation", "chroot", "--tag", "nothing", context),
		append(append([]string{"buildah"}, i.flags...), "from", "--name", "nothing", "--pull-never", "nothing"),
		append(append([]string{"buildah"}, i.flags...), "run", "--isolation", "chroot", "nothing", "--", "/nothing"),
	} {
		if said, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no container can run here: %s: %v: %s", strings.Join(args, " "), err, said)
		}
	}
}

// buildImage builds the image from an unpacked archive, without a network.
func buildImage(t *testing.T) *imageTest {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("there is no buildah here")
	}
	if os.Getuid() != 0 {
		t.Skip("buildah wants root here")
	}
	repository(t) // skips without git
	needContainers(t)
	out := filepath.Join(t.TempDir(), "out")
	if err := run(t.Context(), []string{"-repo", "../..", "-out", out, "-targets", "linux/" + runtime.GOARCH}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(out, "*.tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("%v, %v", archives, err)
	}
	if said, err := exec.Command("tar", "-C", out, "-xzf", archives[0]).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	i := newImageTest(t)
	context := strings.TrimSuffix(archives[0], ".tar.gz")
	build := append([]string{"--net", "buildah"}, i.flags...)
	build = append(build, "build", "--isolation", "chroot", "--format", "docker", "--tag", "dirstorage", "--file", filepath.Join(context, "dist", "image", "Containerfile"), context)
	if said, err := exec.CommandContext(t.Context(), "unshare", build...).CombinedOutput(); err != nil { // in a network of its own, without a way out
		t.Fatalf("buildah build: %v\n%s", err, said)
	}
	return i
}

// mount makes a container with volumes.
func (i *imageTest) mount(volumes ...string) {
	i.t.Helper()
	i.volumes, i.container = volumes, i.buildah("from", "--pull-never", "dirstorage")
}

// TestImageTakesThePlaceOfPloneZEO builds the image and uses it: the variables, port, user and
// volume of plone-zeo, a server that is healthy, and one run each of backup, pack, check and restore
// beside it.
func TestImageTakesThePlaceOfPloneZEO(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	i := buildImage(t)
	var inspected struct {
		Docker struct {
			Config struct {
				User         string
				ExposedPorts map[string]struct{}
				Volumes      map[string]struct{}
				Env          []string
				Entrypoint   []string
				Cmd          []string
				Healthcheck  struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(i.buildah("inspect", "--type", "image", "dirstorage")), &inspected); err != nil {
		t.Fatal(err)
	}
	c := inspected.Docker.Config
	_, port := c.ExposedPorts["8100/tcp"]
	_, volume := c.Volumes["/data"]
	if c.User != "500:500" || !port || !volume || fmt.Sprint(c.Cmd) != "[serve /data/zodb]" || fmt.Sprint(c.Healthcheck.Test) != "[CMD /usr/bin/dirstorage health]" {
		t.Errorf("the image has %+v", c)
	}
	for _, want := range []string{"ZEO_PORT=8100", "ZEO_READ_ONLY=false", "ZEO_PACK_KEEP_OLD=true"} {
		if !strings.Contains(strings.Join(c.Env, "\n"), want) {
			t.Errorf("the image has no %s in %v", want, c.Env)
		}
	}
	i.argv = c.Entrypoint
	data, backups := t.TempDir(), t.TempDir()
	for _, dir := range []string{data, backups} {
		if err := os.Chown(dir, 500, 500); err != nil {
			t.Fatal(err)
		}
	}
	i.mount(data+":/data", backups+":/backups")
	// Not the default ports: another process of this machine may have them. The clients of this site share
	// the blobs of the volume, as with ZEO_SHARED_BLOB_DIR=on of plone-backend.
	zeo, health := freePort(t), freePort(t)
	i.env = []string{"ZEO_PORT=" + zeo, "DIRSTORAGE_HTTP_LISTEN=127.0.0.1:" + health, "DIRSTORAGE_BLOB_DIR=/data/blobstorage"}
	i.expect(0, "dirstorage v", "--version")

	content, err := os.ReadFile("../../testdata/filestorage/undo.fs")
	if err != nil {
		t.Fatal(err)
	}
	// The volume of plone-zeo: clients must not find an empty database in place of theirs.
	write(t, filepath.Join(data, "filestorage", "Data.fs"), string(content), 0o644)
	i.expect(5, "dirstorage import /data/filestorage/Data.fs /data/zodb", c.Cmd...)
	i.expect(0, "imported", "import", "/data/filestorage/Data.fs", "/data/zodb")

	stop := i.serve(data, c.Cmd...)
	i.expect(0, `"ready":true`, "health")
	i.expect(0, "commit-1", "bench", "zeo://127.0.0.1:"+zeo, "--yes", "--objects", "200", "--duration", "1s", "--only", "commit-1")
	i.expect(0, "", "backup", "run", "/data/zodb", "/backups/zodb")
	i.expect(0, "", "backup", "verify", "--restore", "/backups/zodb")
	i.expect(0, "", "pack", "--keep", "0", "/data/zodb")
	i.expect(0, "", "check", "/data/zodb")
	i.expect(0, "", "restore", "/backups/zodb", "/data/restored")
	i.expect(0, "", "check", "/data/restored")
	damageBundle(t, filepath.Join(data, "restored"))
	i.expect(3, "damage", "check", "/data/restored")
	i.expect(4, "/data/zodb", "recover", "/data/zodb")
	i.expect(0, "", "every", "--times", "1", "1h", "backup", "run", "/data/zodb", "/backups/zodb")
	i.expect(2, "usage", "check")
	i.expect(5, "not a DirectoryStorage", "check", "/data/nowhere")
	stop()
	i.expect(1, "refused", "health")
	for _, name := range []string{"zodb/config/settings", "blobstorage/.layout"} {
		info, err := os.Stat(filepath.Join(data, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 500 {
			t.Errorf("%v, %v", info, err)
		}
	}

	// Read-only, by the variable of plone-zeo.
	i.env = append(i.env, "ZEO_READ_ONLY=true")
	i.expect(0, "/app/etc/zeo.conf:5", "config", "/data/zodb")
}

// damageBundle flips a byte in the middle of the first bundle of a HOME.
func damageBundle(t *testing.T, home string) {
	t.Helper()
	bundles, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("%v, %v", bundles, err)
	}
	b, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(bundles[0], b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// serve starts the server and waits until it is healthy. stop ends it as a supervisor of containers
// does, and wants a clean end.
func (i *imageTest) serve(data string, args ...string) (stop func()) {
	i.t.Helper()
	c := i.command(args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		i.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if err := i.command("health").Run(); err == nil {
			break
		}
		select {
		case err := <-ended:
			i.t.Fatalf("the server ended: %v\n%s", err, said.String())
		default:
		}
		if time.Since(began) > 3*time.Minute {
			_ = c.Process.Kill()
			i.t.Fatalf("the server is not healthy\n%s", said.String())
		}
	}
	return func() {
		i.t.Helper()
		// The lock of the storage names the process, which is one of this system.
		b, err := os.ReadFile(filepath.Join(data, "zodb", "misc", "lock"))
		if err != nil {
			i.t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGTERM)
		}
		if err != nil {
			i.t.Fatal(err)
		}
		late := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
		defer late.Stop()
		if err := <-ended; err != nil {
			i.t.Errorf("the server ended with %v\n%s", err, said.String())
		}
		if !strings.Contains(said.String(), "stopping") {
			i.t.Errorf("no clean end:\n%s", said.String())
		}
	}
}
