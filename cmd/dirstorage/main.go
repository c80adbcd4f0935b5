// Command dirstorage runs and looks after a DirectoryStorage.
package main

import (
	"os"

	"github.com/dirstorage/dirstorage/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
