package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// zoneColumns is the width of a terminal from which on the lists of transactions show the offset of local time.
const zoneColumns = 100

// printEntry prints a transaction or revision in a list: its tid and time, columns of numbers, and texts, some
// of which may be empty. On a terminal the texts stand in a line of their own if they have no room beside the
// others.
func (e *env) printEntry(tid zodb.TID, columns string, texts ...string) error {
	width := e.outColumns()
	if width <= 0 {
		_, err := fmt.Fprintf(e.Stdout, "%s  %s  %s  %s\n", tid, formatTID(tid), columns, strings.Join(texts, "  "))
		return err
	}
	at := formatTID(tid)
	if width < zoneColumns {
		at = tid.Time().In(time.Local).Format(time.DateTime)
	}
	line, text := fmt.Sprintf("%s  %s  %s", tid, at, columns), joinTexts(texts)
	if columnsOf(line) > width { // without the blanks before numbers
		line = fmt.Sprintf("%s  %s  %s", tid, at, joinTexts(strings.Split(columns, "  ")))
	}
	switch {
	case text == "":
	case columnsOf(line)+tableGap+columnsOf(text) <= width:
		line += strings.Repeat(" ", tableGap) + text
	default:
		for i, text := range texts {
			if r, most := []rune(text), width-tableIndent-tableGap; len(r) > most {
				texts[i] = string(r[:max(most, 1)-1]) + "…" // a long word has no place to be broken at
			}
		}
		line += "\n" + strings.Repeat(" ", tableIndent) + joinTexts(texts)
	}
	_, err := io.WriteString(e.Stdout, fold(line+"\n", width))
	return err
}

func joinTexts(texts []string) string {
	var given []string
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			given = append(given, text)
		}
	}
	return strings.Join(given, "  ")
}
