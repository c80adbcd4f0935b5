package lint

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// roomsOf returns the drawing between the markers of a document.
func roomsOf(text string) string {
	_, rest, _ := strings.Cut(text, "<!-- rooms: made by tools/rooms -->\n")
	drawing, _, _ := strings.Cut(rest, "<!-- end of rooms -->")
	return drawing
}

func TestDrawingOfTheRoomsIsUpToDate(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(root + "/docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "tools/rooms/main.go")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := roomsOf(string(doc)); got != string(out) || !strings.Contains(got, "cmd/dirstorage") {
		t.Errorf("the drawing in docs/architecture.md is stale: go run tools/rooms/main.go -w docs/architecture.md")
	}
}
