// Package cli is the command line: one file a subcommand. Each command is a
// struct with its options and a method run(ctx, env); its result goes to env.Stdout, all else to
// env.Stderr. The exit status is a contract, see docs/cli.md and [Main].
package cli
