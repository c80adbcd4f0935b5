package settings

import (
	"fmt"
	"net/url"
	"strings"
)

// MethodKind is a way to bring a storage into snapshot mode.
type MethodKind string

// The ways, by the words of config/snapshot.conf.
const (
	MethodHTTP   MethodKind = "http"   // ask the server over XML-RPC, as the original does
	MethodSocket MethodKind = "socket" // ask the process that has it open over its control socket
	MethodDirect MethodKind = "direct" // nobody has it open: open it and close it again
)

// SnapshotMethod is one line of config/snapshot.conf.
type SnapshotMethod struct {
	Kind       MethodKind
	URL        string // MethodHTTP: where the server listens
	AccessFile string // MethodHTTP: file with “user:password”, relative to the configuration
}

// ParseSnapshotConf reads config/snapshot.conf. The methods are to be tried in
// order until one works. Lines are “http URL ACCESSFILE”, “socket”, “direct” and
// “nodirect”; empty lines and those that begin with “#” are passed over. If no line says “nodirect”,
// the last method is always direct; a missing file is the same as no data. A line that can't be
// read is left out, and problems says why.
func ParseSnapshotConf(data []byte) (methods []SnapshotMethod, problems []string) {
	noDirect := false
	for i, line := range splitLines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) == 1 && words[0] == "nodirect" {
			noDirect = true
			continue
		}
		m, reason := parseMethod(words)
		if reason != "" {
			problems = append(problems, fmt.Sprintf("line %d: %s", i+1, reason))
			continue
		}
		methods = append(methods, m)
	}
	if n := len(methods); !noDirect && (n == 0 || methods[n-1].Kind != MethodDirect) {
		methods = append(methods, SnapshotMethod{Kind: MethodDirect})
	}
	return methods, problems
}

// parseMethod reads the words of a line. It returns the fault, empty if there is none.
func parseMethod(words []string) (SnapshotMethod, string) {
	m := SnapshotMethod{Kind: MethodKind(words[0])}
	switch m.Kind {
	case MethodSocket, MethodDirect:
		if len(words) != 1 {
			return m, fmt.Sprintf("nothing may follow “%s”", m.Kind)
		}
	case MethodHTTP:
		if len(words) != 3 {
			return m, "want “http URL ACCESSFILE”"
		}
		u, err := url.Parse(words[1])
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return m, fmt.Sprintf("%q is not an http or https URL", words[1])
		}
		m.URL, m.AccessFile = words[1], words[2]
	default:
		return m, fmt.Sprintf("unknown method %q: want http, socket, direct or nodirect", words[0])
	}
	return m, ""
}
