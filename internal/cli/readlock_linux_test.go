package cli

import (
	"os"
	"strings"
	"testing"
)

// TestCheckByAUserWhoMayOnlyReadSeesWhoHasItOpen: the files of a storage that is in use are not read as if
// they stood still.
func TestCheckByAUserWhoMayOnlyReadSeesWhoHasItOpen(t *testing.T) {
	t.Parallel()
	h := newOfNobody(t)
	h.sh("chown -R 0 %[1]s && chmod -R go=u-w %[1]s", h.home)
	if text := h.run(exitOK, "check", h.home); !strings.Contains(text, " 0 damaged") {
		t.Errorf("nobody has it open: %s", text)
	}
	s := startServe(t, "--listen", "127.0.0.1:0", h.home)
	s.await(&s.out, "Stop it with")
	if err := os.Chmod(h.home+"/misc/lock", 0o644); err != nil {
		t.Fatal(err)
	}
	text := h.run(exitFailed, "check", h.home)
	if strings.Contains(text, "damaged") || !strings.Contains(text, "permission denied") {
		t.Errorf("a server has it open: %s", text)
	}
	s.end()
}
