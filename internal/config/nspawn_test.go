package config

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guest is a system with systemd as its first process, in a container.
type guest struct {
	t      *testing.T
	leader string // its systemd, as the pid is here
}

// TestUnitUnderSystemd starts the unit with its sample of settings under a real systemd and works
// through the acts of an administrator and the watchdog: reload, kill -9, a process that hangs,
// stop. $NSPAWN_ROOT names a system tree with systemd and a shell, made by debootstrap
// --variant=minbase --include=systemd,systemd-sysv,dbus bookworm DIR for instance. It is not
// changed. The test needs root.
func TestUnitUnderSystemd(t *testing.T) {
	root := os.Getenv("NSPAWN_ROOT")
	if root == "" {
		t.Skip("NSPAWN_ROOT does not name a tree of a system with systemd")
	}
	g := boot(t, root, nil)
	g.run("mkdir /var/lib/dirstorage && dirstorage import /Data.fs /var/lib/dirstorage/zodb")
	g.run("systemctl start dirstorage")
	g.expect("systemctl show -p ActiveState,StatusText dirstorage", "ActiveState=active", "StatusText=serving on 127.0.0.1:8100")
	// The unit hides the files of /proc that tell it.
	if out := g.run("journalctl -u dirstorage | grep 'memory limit'"); !strings.Contains(out, `from="the machine"`) && !strings.Contains(out, `from="the control group"`) {
		t.Errorf("the server does not know its memory: %s", out)
	}
	g.run("dirstorage bench zeo://127.0.0.1:8100 --yes --objects 200 --duration 1s --only commit-1,blob-up --blob-size 1000000")

	g.run("systemctl reload dirstorage")
	g.wait("journalctl -u dirstorage", "reloaded level=info")

	last := g.last()
	g.kill("KILL")
	g.wait("systemctl show -p NRestarts,ActiveState dirstorage", "NRestarts=1", "ActiveState=active")
	if got := g.last(); got != last {
		t.Errorf("the last transaction is %s after kill -9, and was %s", got, last)
	}

	g.kill("STOP") // the watchdog has to notice
	g.wait("systemctl show -p NRestarts,ActiveState dirstorage", "NRestarts=2", "ActiveState=active")
	g.expect("journalctl -u dirstorage", "Failed with result 'watchdog'")
	if got := g.last(); got != last {
		t.Errorf("the last transaction is %s after a hang, and was %s", got, last)
	}

	g.run("dirstorage bench zeo://127.0.0.1:8100 --yes --objects 200 --duration 1s --only commit-1")
	g.run("systemctl stop dirstorage")
	g.expect("systemctl show -p Result,ExecMainStatus dirstorage", "Result=success", "ExecMainStatus=0")
	g.expect("dirstorage check /var/lib/dirstorage/zodb", " 0 damaged, 0 warnings")
	// Work of root meanwhile leaves nothing that the service cannot open.
	g.run("dirstorage pack --keep 0 --refs /var/lib/dirstorage/zodb && dirstorage backup run /var/lib/dirstorage/zodb")
	g.run("systemctl start dirstorage")
	g.expect("systemctl show -p ActiveState dirstorage", "ActiveState=active")
}

// TestTimersUnderSystemd installs the units of the package, and lets each timer fire soon: a
// backup, its verification and a pack beside the running server, then a backup that fails. It has
// the needs of [TestUnitUnderSystemd].
func TestTimersUnderSystemd(t *testing.T) {
	root := os.Getenv("NSPAWN_ROOT")
	if root == "" {
		t.Skip("NSPAWN_ROOT does not name a tree of a system with systemd")
	}
	soon := filepath.Join(t.TempDir(), "soon.conf")
	if err := os.WriteFile(soon, []byte("[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	binds := map[string]string{
		"/etc/systemd/system/dirstorage.service.d/10-package.conf": "systemd/package.conf",
		"/etc/default/dirstorage":                                  "dirstorage.default",
		"/packages/preinstall.sh":                                  "package/preinstall.sh",
		"/packages/postinstall.sh":                                 "package/postinstall.sh",
		"/packages/preremove.sh":                                   "package/preremove.sh",
	}
	jobs := []string{"backup", "verify", "pack"}
	for _, job := range jobs {
		for _, kind := range []string{"service", "timer"} {
			unit := "dirstorage-" + job + "@." + kind
			binds["/etc/systemd/system/"+unit] = "systemd/" + unit
		}
		binds["/etc/systemd/system/dirstorage-"+job+"@.timer.d/soon.conf"] = soon
	}
	g := boot(t, root, binds)
	g.run("sh -e /packages/preinstall.sh && sh -e /packages/postinstall.sh configure")
	g.run("setpriv --reuid dirstorage --regid dirstorage --clear-groups dirstorage import /Data.fs /var/lib/dirstorage/zodb")
	g.run("systemctl start dirstorage")
	g.run("dirstorage bench zeo://127.0.0.1:8100 --yes --objects 200 --duration 1s --only commit-1")
	last, _, _ := strings.Cut(g.last(), " ")
	for _, job := range jobs {
		g.run("systemctl enable --now dirstorage-" + job + "@zodb.timer")
		g.wait("systemctl show -p Result,ExecMainStatus,ExecMainExitTimestamp,ActiveState dirstorage-"+job+"@zodb.service; systemctl show -p ExecMainExitTimestampMonotonic --value dirstorage-"+job+"@zodb.service | grep -v '^0$' && echo ran",
			"ran", "Result=success", "ExecMainStatus=0", "ActiveState=inactive")
	}
	g.expect("dirstorage backup list --json /var/backups/dirstorage/zodb", last)
	g.expect("journalctl -u dirstorage-verify@zodb.service", "Finished")
	g.expect("systemctl show -p NRestarts,ActiveState dirstorage", "NRestarts=0", "ActiveState=active")
	g.expect("find /var/lib/dirstorage /var/backups/dirstorage ! -user dirstorage | wc -l", "0\n")

	// A repository that cannot be written to: the unit fails, and says so.
	g.run("chown -R root /var/backups/dirstorage/zodb && chmod -R go= /var/backups/dirstorage/zodb")
	if out, err := g.try("systemctl start dirstorage-backup@zodb.service"); err == nil {
		t.Errorf("a backup into a directory of root is said to have been good: %s", out)
	}
	g.expect("systemctl --failed --plain", "dirstorage-backup@zodb.service")
	g.expect("journalctl -u dirstorage-backup@zodb.service", "/var/backups/dirstorage/zodb", "permission denied")

	// An upgrade starts the server again; its timers stay.
	before, serial := g.run("systemctl show -p InvocationID dirstorage"), g.last()
	g.run("sh -e /packages/postinstall.sh configure 0.9.0")
	if after := g.run("systemctl show -p InvocationID dirstorage"); after == before {
		t.Error("the server of the older version goes on after an upgrade")
	}
	g.wait("systemctl show -p ActiveState dirstorage; systemctl list-timers --plain", "ActiveState=active", "dirstorage-pack@zodb.timer")
	if got := g.last(); got != serial {
		t.Errorf("the last transaction is %s after an upgrade, and was %s", got, serial)
	}

	// The package goes while timers are enabled: nothing of it runs on, the data stays.
	g.run("sh -e /packages/preremove.sh remove")
	g.expect("systemctl show -p ActiveState dirstorage", "ActiveState=inactive")
	for _, line := range []string{"systemctl list-timers --all --plain", "find /etc/systemd/system/*.wants -name 'dirstorage*'"} {
		if out := g.run(line); strings.Contains(out, "dirstorage") {
			t.Errorf("timers of a removed package are left:\n%s", out)
		}
	}
	g.expect("dirstorage check /var/lib/dirstorage/zodb", " 0 damaged, 0 warnings")
}

// boot starts the system, with the program, the unit, the sample and binds in it: from
// paths below dist, or absolute ones, by their places inside. The watchdog of the unit waits less long there.
func boot(t *testing.T, root string, binds map[string]string) *guest {
	t.Helper()
	program := filepath.Join(t.TempDir(), "dirstorage")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/dirstorage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dist, err := filepath.Abs("../../dist")
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../../testdata/filestorage/undo.fs")
	if err != nil {
		t.Fatal(err)
	}
	soon := filepath.Join(t.TempDir(), "soon.conf")
	if err := os.WriteFile(soon, []byte("[Service]\nWatchdogSec=4s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	args := []string{"--directory=" + root, "--volatile=overlay", "--register=no", "--keep-unit", "--private-network", "--boot",
		"--bind-ro=" + program + ":/usr/bin/dirstorage",
		"--bind-ro=" + dist + "/systemd/dirstorage.service:/etc/systemd/system/dirstorage.service",
		"--bind-ro=" + soon + ":/etc/systemd/system/dirstorage.service.d/soon.conf",
		"--bind-ro=" + dist + "/dirstorage.toml:/etc/dirstorage.toml",
		"--bind-ro=" + data + ":/Data.fs"}
	for inside, from := range binds {
		if !filepath.IsAbs(from) {
			from = filepath.Join(dist, from)
		}
		args = append(args, "--bind-ro="+from+":"+inside)
	}
	cmd := exec.Command("systemd-nspawn", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil && t.Failed() {
			t.Logf("systemd-nspawn: %v\n%s", err, said.String())
		}
	})
	g := &guest{t: t}
	var out string
	for range 600 {
		g.leader = child(t, cmd.Process.Pid) // one that only starts systemd is the first
		if out, _ = g.try("systemctl list-units --all multi-user.target"); strings.Contains(out, " active ") {
			return g
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the system does not come up:\n%s", out)
	return nil
}

// child returns the first child of a process, when there is one.
func child(t *testing.T, pid int) string {
	t.Helper()
	for range 200 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		if pids := strings.Fields(string(b)); len(pids) > 0 {
			return pids[0]
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("systemd-nspawn has no child")
	return ""
}

// try runs a command line in the guest.
func (g *guest) try(line string) (string, error) {
	out, err := exec.CommandContext(g.t.Context(), "nsenter", "--target="+g.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "sh", "-c", line).CombinedOutput()
	return string(out), err
}

func (g *guest) run(line string) string {
	g.t.Helper()
	out, err := g.try(line)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// expect fails unless the output of a command has all words.
func (g *guest) expect(line string, words ...string) {
	g.t.Helper()
	out := g.run(line)
	for _, w := range words {
		if !strings.Contains(out, w) {
			g.t.Fatalf("%s says nothing of %q:\n%s", line, w, out)
		}
	}
}

// wait waits until the output of a command has all words.
func (g *guest) wait(line string, words ...string) {
	g.t.Helper()
	var out string
	for range 300 {
		out, _ = g.try(line) // the guest may not have come so far
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(out, w)
		}
		if !missing {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.t.Fatalf("%s goes on without %q:\n%s", line, words, out)
}

// kill sends a signal to the main process of the unit.
func (g *guest) kill(signal string) {
	g.t.Helper()
	pid := strings.TrimSpace(g.run("systemctl show -p MainPID --value dirstorage"))
	if n, err := strconv.Atoi(pid); err != nil || n <= 1 {
		g.t.Fatalf("the unit has no process: %q", pid)
	}
	g.run("kill -" + signal + " " + pid)
}

// last returns the last transaction of the storage.
func (g *guest) last() string {
	g.t.Helper()
	in := bufio.NewScanner(strings.NewReader(g.run("dirstorage status /var/lib/dirstorage/zodb || test $? = 6")))
	for in.Scan() {
		if tid, ok := strings.CutPrefix(in.Text(), "last transaction:"); ok {
			return strings.TrimSpace(tid)
		}
	}
	g.t.Fatal("status tells no last transaction")
	return ""
}
