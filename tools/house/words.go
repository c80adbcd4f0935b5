package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// habits are phrases of comments that a native reader reads twice.
var habits = []struct {
	name  string
	found *regexp.Regexp
}{
	{"what", regexp.MustCompile(`(?i)\bwhat\b`)},
	{"who", regexp.MustCompile(`(?i)\bwho(ever)?\b`)},
	{"is no", regexp.MustCompile(`(?i)\b(is|are|was) no\b`)},
	{"so many", regexp.MustCompile(`(?i)\bso (many|much|often|long)\b`)},
}

// words counts the habits in comments of Go files below directories, tests apart, and
// prints them for each 1,000 words.
func words(dirs []string) error {
	fmt.Print("| directory | words |")
	for _, h := range habits {
		fmt.Printf(" %s |", h.name)
	}
	fmt.Println()
	for _, dir := range dirs {
		total, counts := 0, make([]int, len(habits))
		fset := token.NewFileSet()
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			for _, c := range file.Comments {
				text := c.Text()
				total += len(strings.Fields(text))
				for i, h := range habits {
					counts[i] += len(h.found.FindAllString(text, -1))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d |", dir, total)
		for _, n := range counts {
			fmt.Printf(" %.1f |", 1000*float64(n)/float64(max(total, 1)))
		}
		fmt.Println()
	}
	return nil
}
