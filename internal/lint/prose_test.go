package lint

import (
	"os"
	"os/exec"
	"testing"
)

// TestTextsNameThingsByNouns runs tools/words, which counts clauses in the place of a noun and wide
// lines, over the documents, comments, help texts and messages of the repository.
func TestTextsNameThingsByNouns(t *testing.T) {
	t.Parallel()
	c := exec.Command("go", "run", "-C", root+"/tools", "./words", "-quiet")
	c.Env = append(os.Environ(), "GOFLAGS=") // the tool needs no race detector
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
