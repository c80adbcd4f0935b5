// Package dist has the files that packages and images put beside the program.
package dist

import _ "embed"

// Settings is the sample of settings for a server, with all of them.
//
//go:embed dirstorage.toml
var Settings string
