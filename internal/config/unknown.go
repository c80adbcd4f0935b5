package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/human"
)

const environmentPrefix = "DIRSTORAGE_"

// HomeVariable has the HOME of commands that are called without one. It is not a setting.
const HomeVariable = environmentPrefix + "HOME"

// UnknownVariables returns a warning for each variable of an environment (NAME=VALUE) that looks
// like a setting and is none, in alphabetical order. Variables that Kubernetes sets for a service
// named dirstorage are not meant for this program.
func UnknownVariables(environment []string) []string {
	known := []string{HomeVariable}
	for _, s := range table() {
		known = append(known, s.environment())
	}
	ofService := regexp.MustCompile(`^DIRSTORAGE_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)$`)
	var warnings []string
	for _, pair := range environment {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, environmentPrefix) || slices.Contains(known, name) || ofService.MatchString(name) {
			continue
		}
		text := "environment " + name + ": there is no such setting"
		for _, k := range known {
			if human.Similar(strings.TrimPrefix(name, environmentPrefix), strings.TrimPrefix(k, environmentPrefix)) {
				text += fmt.Sprintf("; did you mean %s?", k)
				break
			}
		}
		warnings = append(warnings, text)
	}
	slices.Sort(warnings)
	return warnings
}
