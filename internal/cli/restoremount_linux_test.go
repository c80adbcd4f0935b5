package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestDeltaOntoAMountPointIsRefusedAtOnce: nothing can take the place of a mounted volume, and
// nothing is made or changed before that is said.
func TestDeltaOntoAMountPointIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo, volume := filepath.Join(dir, "home"), filepath.Join(dir, "repo"), filepath.Join(dir, "volume")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	want(t, exitOK, "", "backup", "full", home, repo)
	script := func(text string) (string, int) {
		t.Helper()
		self := program(t)
		c := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-e", "-c", text, "sh", self.Path, home, repo, volume)
		c.Env = self.Env
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	const mountIt = `mount -t tmpfs -o size=64m none "$4"; `
	if out, status := script(mountIt); status != 0 {
		t.Skip("nothing can be mounted here: ", out)
	}
	for _, how := range []string{mountIt, `mount --bind "$2" "$4"; `} {
		out, status := script(how + `cp -a "$2/." "$4" || true; rm -f "$4"/A/x.packed; before=$(find "$4" -type f | sort | xargs md5sum)
			s=0; "$1" restore --delta "$3" "$4" || s=$?
			test "$(find "$4" -type f | sort | xargs md5sum)" = "$before" || echo CHANGED
			test ! -e "$4.restoring" || echo MADE
			exit $s`)
		if status != exitFailed || !strings.Contains(out, "mounted there") || !strings.Contains(out, "hint: restore without --delta") || strings.Contains(out, "CHANGED") || strings.Contains(out, "MADE") {
			t.Errorf("%sstatus %d, want %d: %s", how, status, exitFailed, out)
		}
		if _, err := os.Stat(volume + ".restoring"); err == nil {
			t.Error("it left volume.restoring")
		}
	}
	out, status := script(mountIt + `cp -a "$2" "$4/below"; "$1" restore --delta "$3" "$4/below"; "$1" check "$4/below"`)
	if status != exitOK || !strings.Contains(out, " 0 damaged") {
		t.Errorf("a HOME below the mount point: status %d, %s", status, out)
	}
	out, status = script(mountIt + `"$1" restore "$3" "$4"; "$1" check "$4"`) // the way out
	if status != exitOK || !strings.Contains(out, " 0 damaged") {
		t.Errorf("into an empty volume: status %d, %s", status, out)
	}
}

// TestPackAfterAnImportThatIgnoresSpace: there is the reserve, so a pack works with nothing free, if it is
// told to although it frees nothing.
func TestPackAfterAnImportThatIgnoresSpace(t *testing.T) {
	t.Parallel()
	volume := t.TempDir()
	self := program(t)
	c := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-e", "-c", `mount -t tmpfs -o size=128m none "$2" || { echo NOT MOUNTED; exit 0; }
		"$1" import --ignore-space "$3" "$2/home"
		# Where memory is short for a moment, it ends before the volume is full.
		for try in 1 2 3 4 5 6 7 8 9; do
			dd if=/dev/zero bs=64k 2>/dev/null >> "$2/full" || true
			[ "$(df --output=avail "$2" | tail -n 1)" -gt 0 ] || break
			sleep 1
		done
		df --output=avail "$2"
		"$1" pack --ignore-space --keep 0 "$2/home"
		rm "$2/full"
		"$1" check "$2/home"`, "sh", self.Path, volume, hometest.FileStorage(t, "undo.fs"))
	c.Env = self.Env
	out, err := c.CombinedOutput()
	if _, exited := err.(*exec.ExitError); strings.Contains(string(out), "NOT MOUNTED") || strings.Contains(string(out), "unshare:") || err != nil && !exited {
		t.Skip("nothing can be mounted here: ", err, string(out))
	}
	if err != nil || !strings.Contains(string(out), "\n    0\n") || !strings.Contains(string(out), "packed to") || !strings.Contains(string(out), " 0 damaged") {
		t.Errorf("%v: %s", err, out)
	}
}
