package cli

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestIncrementsByTimeOfAHomeThatConvertMakes: a HOME is converted again and again while it is in use,
// and after each time the new one is copied by the time stamps of the copy before, with tar and with
// find. The increments laid over each other are the new HOME, in each format.
func TestIncrementsByTimeOfAHomeThatConvertMakes(t *testing.T) {
	t.Parallel()
	if !have("tar", "touch", "stat", "find", "cp") {
		t.Skip("tar or find is not on this machine")
	}
	const copyNew = `
		cd "$1"; mkdir -p tar find; home=$2
		touch -r "$home/misc/snapshot" stamp.new
		newer=; if [ -e stamp ]; then newer=--newer-mtime=@$(stat -c %.9Y stamp); fi
		tar -C "$home" $newer -cf new.tar config A; tar -C tar -xf new.tar
		newer=; if [ -e stamp ]; then newer="-newer $PWD/stamp"; fi
		to=$PWD/find; cd "$home"
		find config A -type f $newer -print0 | xargs -0 -r cp -p --parents -t "$to"
		mv "$1/stamp.new" "$1/stamp"; tar -tf "$1/new.tar" | grep -c -v '/$'`
	rounds, formats := 5, append(layout.Formats(), layout.Bundled)
	if testing.Short() {
		rounds, formats = 3, []layout.Format{layout.Chunky, layout.Bundled}
	}
	l := loadtest.New(t, 60, engine.CreateOptions{Format: "bundled", Set: map[string]string{"storage.min_pack_time": "0"}})
	l.Start(t, 2)
	works := make(map[string]string)
	for _, format := range formats {
		works[format.String()] = t.TempDir()
	}
	for round := range rounds {
		l.Write(t, 25)
		if round == 2 {
			if _, err := l.Storage.Pack(t.Context(), zodb.PackOptions{NoGC: true}); err != nil {
				t.Fatal(err)
			}
		}
		for format, work := range works {
			made := filepath.Join(work, "new")
			want(t, 0, "and compared ", "convert", "--format", format, l.Home, made)
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", copyNew, "sh", work, made)
			var warnings bytes.Buffer // tar has some about times in the future
			cmd.Stderr = &warnings
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &warnings)
			}
			// Files of the round before may be among them: a time is rounded up, to be safe.
			if copied, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || copied == 0 {
				t.Errorf("round %d, format %s: %d files are newer, %v", round, format, copied, err)
			}
			s := enginetest.Open(t, made, engine.Options{ReadOnly: true})
			all, err := state(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			for _, tool := range []string{"tar", "find"} {
				if err := isHeapOf(t.Context(), filepath.Join(work, tool), all); err != nil {
					t.Fatalf("round %d, format %s, %s: %v", round, format, tool, err)
				}
			}
		}
	}
}
