package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fencedCode   = regexp.MustCompile("(?ms)^ *```[a-z]*\n(.*?)^ *```")
	inlineCode   = regexp.MustCompile("`([^`]+)`")
	shellQuoted  = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	placeholders = regexp.MustCompile(`^[A-Z][A-Z_.…]*$`)
	listItem     = regexp.MustCompile(`^ *(-|\d+\.) `)
	// ahead is the text before a command: a prompt, another user, a container, a unit.
	ahead = regexp.MustCompile(`^(\$ |sudo -u \S+ |time |docker compose run --rm \w+ |ExecStart\w*=/usr/bin/)*`)
)

// shown is a command of this program as a document shows it.
type shown struct {
	text  string
	whole bool // a line of a block, with all of its arguments
}

// commandsIn returns the commands that the code of a document shows: each line of a block with
// “dirstorage ARGUMENTS”, and each piece of inline code that begins with the name of the program or
// of a command.
func commandsIn(doc string, names map[string]bool) (found []shown) {
	add := func(text string, whole bool) {
		before := ahead.FindString(text)
		text = text[len(before):]
		if rest, ok := strings.CutPrefix(text, "dirstorage "); ok {
			found = append(found, shown{rest, whole})
		} else if strings.Contains(before, "docker") && text != "COMMAND" {
			found = append(found, shown{text, whole})
		} else if first, _, more := strings.Cut(text, " "); !whole && more && names[first] {
			found = append(found, shown{text, false})
		}
	}
	block := func(text string) {
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " && ")
			for _, part := range strings.Split(line, "; ") {
				add(strings.TrimSpace(part), true)
			}
		}
	}
	for _, m := range fencedCode.FindAllStringSubmatch(doc, -1) {
		block(m[1])
	}
	doc = fencedCode.ReplaceAllString(doc, "")
	var prose, indented strings.Builder
	list := false // of a list, an indented line belongs to its item
	for line := range strings.Lines(doc) {
		if listItem.MatchString(line) {
			list = true
		} else if strings.TrimSpace(line) != "" && line[0] != ' ' {
			list = false
		}
		if strings.HasPrefix(line, "    ") && !list {
			indented.WriteString(line)
		} else {
			prose.WriteString(line)
		}
	}
	block(indented.String())
	for _, m := range inlineCode.FindAllStringSubmatch(prose.String(), -1) {
		add(strings.Join(strings.Fields(m[1]), " "), false)
	}
	return found
}

// wrongCommand is the error of a command that a document shows; nil if it can be called like that.
func wrongCommand(s shown) error {
	e, _, _ := testEnv()
	root := newRoot(e)
	text, _, _ := strings.Cut(s.text, " | ")
	text, _, _ = strings.Cut(text, " > ")
	args := strings.Fields(shellQuoted.ReplaceAllString(text, "2026-03-01"))
	for i, a := range args {
		if strings.HasPrefix(a, "--") && i+1 < len(args) && placeholders.MatchString(args[i+1]) {
			args[i+1] = "1" // good for each kind of flag
		}
	}
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); err != nil && (s.whole || !strings.HasPrefix(err.Error(), "flag needs an argument")) {
		return err // in a sentence, a flag may stand without its value
	}
	if c.Args != nil && (s.whole || c == root) {
		return c.ValidateArgs(c.Flags().Args())
	}
	return nil
}

// TestCommandsInDocumentsAreRight parses each command that a document shows.
func TestCommandsInDocumentsAreRight(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	names := make(map[string]bool)
	for _, c := range newRoot(e).Commands() {
		names[c.Name()] = c.Name() != "man" // there is another program of that name
	}
	root := filepath.Join("..", "..")
	found := make(map[string]int)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, s := range commandsIn(string(text), names) {
			found[filepath.Base(path)]++
			if err := wrongCommand(s); err != nil {
				t.Errorf("%s: dirstorage %s: %v", path, s.text, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "backup.md", "cli.md", "install.md", "migrate.md", "pack.md", "server-config.md"} {
		if found[name] < 5 {
			t.Errorf("%s shows %d commands", name, found[name])
		}
	}
}

func TestWrongCommandsInDocumentsAreFound(t *testing.T) {
	t.Parallel()
	names := map[string]bool{"backup": true, "check": true, "pack": true}
	for doc, want := range map[string]int{
		"    dirstorage pak /srv/zodb\n": 1, "    dirstorage pack /srv/zodb  # weekly\n": 0, "`pack --kep 7` does": 1, "with `check --since` only": 0,
		"    dirstorage check --since\n": 1, "    dirstorage backup run /srv/a /srv/b /srv/c\n": 1, "`dirstorage\nbakup` is": 1, "`tar -x`": 0,
		"```sh\n$ dirstorage status --wotch /srv/zodb\n```\n": 1, "1. Do:\n\n   ```sh\n   dirstorage chek \"$SITE\"\n   ```\n": 1,
		"    docker compose run --rm pack pack --keep 7 \\\n      --wrong /data/zodb\n": 1, "    sudo -u dirstorage dirstorage create a b\n": 1,
	} {
		got := 0
		for _, s := range commandsIn(doc, names) {
			if wrongCommand(s) != nil {
				got++
			}
		}
		if got != want {
			t.Errorf("%q: %d wrong commands, want %d", doc, got, want)
		}
	}
}
