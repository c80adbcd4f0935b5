package cli

import (
	"embed"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/config"
)

// topic is a text of the help that belongs to no single command. It is also a page of the manual.
//
// The text has paragraphs, each on one line; lines with two blanks before them, which are shown as
// they are; and headings, which are lines of capitals.
type topic struct {
	name, section, short string
	text                 func() (string, error)
}

//go:embed topics/*.txt
var topicFiles embed.FS

// topics are in the order of the help.
func topics() []topic {
	return []topic{
		{"configuration", "5", "settings of the server, and the places that they come from", configurationTopic},
		{"backups", "7", "make, verify and restore backups", embedded("backups")},
		{"home", "5", "the files of a storage", embedded("home")},
		{"environment", "7", "variables that stand for arguments", func() (string, error) { return strings.ReplaceAll(environmentHelp, "\n", " ") + "\n", nil }},
		{"exit-status", "7", "the exit status of all commands", embedded("exit-status")},
	}
}

func embedded(name string) func() (string, error) {
	return func() (string, error) {
		b, err := topicFiles.ReadFile("topics/" + name + ".txt")
		return string(b), err
	}
}

// findTopic returns the topic with a name.
func findTopic(name string) (topic, bool) {
	for _, t := range topics() {
		if t.name == name {
			return t, true
		}
	}
	return topic{}, false
}

// configurationTopic ends with a list of all settings.
func configurationTopic() (string, error) {
	text, err := embedded("configuration")()
	if err != nil {
		return "", err
	}
	conf, err := config.Load(pflag.NewFlagSet("", pflag.ContinueOnError), "HOME", func(string) string { return "" }, nil)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(text + "\nSETTINGS\n")
	for _, s := range conf.Settings() {
		fallback := ""
		if s.Value != "" && s.Name != "storage" {
			fallback = " (" + s.Value + ")"
		}
		fmt.Fprintf(&b, "\n  %s%s\n", s.Name, fallback)
		for _, line := range broken(strings.ReplaceAll(s.Help, "`", ""), 70) {
			b.WriteString("      " + line + "\n")
		}
	}
	return b.String(), nil
}

// broken breaks a text into lines of up to width characters. Longer words stay whole.
func broken(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}

// printTopic shows a topic in a terminal.
func printTopic(c *cobra.Command, t topic) error {
	text, err := t.text()
	if err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		lines := []string{line}
		if line != "" && !strings.HasPrefix(line, "  ") {
			lines = broken(line, usualColumns)
		}
		for _, l := range lines {
			if _, err := fmt.Fprintln(c.OutOrStdout(), l); err != nil {
				return err
			}
		}
	}
	return nil
}

// topicList is the part of the help that names the topics.
func topicList() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, t := range topics() {
		fmt.Fprintf(w, "  %s\t%s\n", t.name, t.short)
	}
	_ = w.Flush() // into memory
	return "Topics, for dirstorage help TOPIC:\n" + strings.TrimRight(b.String(), "\n")
}
