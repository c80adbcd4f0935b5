package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// printHelp is the help of a command, within usualColumns, whatever the terminal: so it is the same in a
// pipe. Examples are shown as they are.
func printHelp(w io.Writer, c *cobra.Command) error {
	var b strings.Builder
	text := c.Long
	if text == "" {
		text = c.Short
	}
	for _, line := range reflowed(text, usualColumns) {
		b.WriteString(line + "\n")
	}
	b.WriteByte('\n')
	writeUsage(&b, c)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeUsage lists the forms of a command, its examples, the commands below it, and the flags.
func writeUsage(b *strings.Builder, c *cobra.Command) {
	below := c.HasAvailableSubCommands()
	b.WriteString("Usage:\n")
	if c.Runnable() && !below {
		writeHanging(b, "  ", c.UseLine(), 6)
	}
	if below {
		fmt.Fprintf(b, "  %s COMMAND\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(b, "\nExamples:\n%s\n", c.Example)
	}
	if below {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				writeShort(b, sub, sub.NamePadding())
			}
		}
	}
	if c.HasAvailableLocalFlags() {
		writeFlags(b, c.LocalFlags())
	}
	if c.HasAvailableInheritedFlags() {
		b.WriteString("\nGlobal flags:\n" + c.InheritedFlags().FlagUsagesWrapped(usualColumns))
	}
	if below {
		fmt.Fprintf(b, "\n%s COMMAND --help has more about a command.\n", c.CommandPath())
	}
}

// writeShort writes the line of a command in a list of commands.
func writeShort(b *strings.Builder, c *cobra.Command, column int) {
	writeHanging(b, fmt.Sprintf("  %-*s ", column, c.Name()), c.Short, column+3)
}

// writeHanging writes a text behind a beginning. Its other lines are indented.
func writeHanging(b *strings.Builder, beginning, text string, indent int) {
	for i, line := range wrap(text, usualColumns, columnsOf(beginning), indent, false) {
		if i > 0 {
			beginning = strings.Repeat(" ", indent)
		}
		b.WriteString(beginning + line + "\n")
	}
}

// reflowed breaks those paragraphs of a text anew that have a line that is too wide. Lines with two blanks
// before them stay as they are.
func reflowed(text string, width int) (lines []string) {
	var paragraph []string
	end := func() {
		for _, line := range paragraph {
			if columnsOf(line) > width {
				paragraph = broken(strings.Join(paragraph, " "), width)
				break
			}
		}
		lines, paragraph = append(lines, paragraph...), nil
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "  ") {
			end()
			lines = append(lines, line)
			continue
		}
		paragraph = append(paragraph, line)
	}
	end()
	return lines
}
