// Command release builds the files of a release: static binaries in archives, Linux packages, a bill
// of materials for each binary, licences, and checksums. It publishes nothing and makes no tag.
//
//	go -C tools run ./release -dry-run        # the plan alone
//	go -C tools run ./release -out DIR        # DIR does not exist yet
//
// A release is of a commit, never of a work tree: it is built from a clone of that commit. The
// same commit and the same version of Go give the same bytes, in whichever directory and on
// whichever machine. docs/install.md says how a reader compares them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// program is the name of the program, of its package and of its archives.
const program = "dirstorage"

// allTargets are the systems that the program is built for, as GOOS/GOARCH. It is tested on Linux.
const allTargets = "linux/amd64,linux/arm64,linux/386,linux/arm,linux/riscv64,linux/ppc64le,linux/s390x," +
	"darwin/amd64,darwin/arm64,freebsd/amd64,freebsd/arm64"

// release is one run.
type release struct {
	repo    string    // the clone from which it is built
	commit  string    // its hash
	time    time.Time // of the commit: of everything that is written
	version string    // as Go stamps it: a tag, or a pseudo-version
	targets []target
	out     string
	work    string // scratch
	log     io.Writer
}

type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run is main with everything given.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	f.SetOutput(stderr)
	repo := f.String("repo", "..", "the `DIR` of the repository")
	commit := f.String("commit", "HEAD", "the `COMMIT`, or tag, to build")
	targets := f.String("targets", allTargets, "the systems, as `GOOS/GOARCH,…`")
	out := f.String("out", "", "the `DIR` for the files; it does not exist yet")
	dry := f.Bool("dry-run", false, "print the plan, and build nothing")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if *out == "" && !*dry {
		return errors.New("-out DIR is missing; -dry-run prints the plan")
	}
	r := &release{out: *out, log: stderr}
	if r.targets, err = parseTargets(*targets); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	if err := r.clone(ctx, *repo, *commit); err != nil {
		return err
	}
	if *dry {
		return r.plan(ctx, stdout)
	}
	if err := r.checkTag(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return fmt.Errorf("%w: give a directory that does not exist yet", err)
	}
	if err := r.build(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s %s (commit %s, %s) is in %s\n", program, r.version, r.commit, r.time.Format(time.RFC3339), r.out)
	return nil
}

func parseTargets(text string) (list []target, err error) {
	for _, word := range strings.Split(text, ",") {
		goos, arch, ok := strings.Cut(word, "/")
		if !ok || goos == "" || arch == "" {
			return nil, fmt.Errorf("target %q: want GOOS/GOARCH", word)
		}
		list = append(list, target{goos, arch})
	}
	return list, nil
}

// plan prints the files that a run would write.
func (r *release) plan(ctx context.Context, w io.Writer) error {
	tag, err := r.git(ctx, "tag", "--points-at", r.commit)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "commit   %s\ndate     %s\ngo       %s\n", r.commit, r.time.Format(time.RFC3339), runtime.Version())
	if tag == "" {
		fmt.Fprintf(w, "version  a pseudo-version of Go: the commit has no tag, so this is not a release\n")
	} else {
		fmt.Fprintf(w, "version  %s\n", tag)
		if err := r.checkTag(ctx); err != nil {
			fmt.Fprintf(w, "missing  %v\n", err)
		}
	}
	for _, t := range r.targets {
		fmt.Fprintf(w, "would build %s\n", r.name(t, "VERSION")+".tar.gz")
		fmt.Fprintf(w, "would write %s\n", r.name(t, "VERSION")+".cdx.json")
	}
	for _, t := range r.targets {
		for _, packager := range packagers {
			if packaged(t) {
				fmt.Fprintf(w, "would write a package, %s for %s\n", packager, t.arch)
			}
		}
	}
	fmt.Fprintln(w, "would write SHA256SUMS")
	fmt.Fprintln(w, "nothing was built, and no tag was made")
	return nil
}

// name is that of the archive of a target, without its ending.
func (r *release) name(t target, version string) string {
	return program + "-" + strings.TrimPrefix(version, "v") + "-" + t.os + "-" + t.arch
}

// build makes all files.
func (r *release) build(ctx context.Context) error {
	var binaries []*binary
	for _, t := range r.targets {
		fmt.Fprintln(r.log, "building", t)
		b, err := r.compile(ctx, t)
		if err != nil {
			return err
		}
		binaries = append(binaries, b)
	}
	r.version = binaries[0].info.Main.Version
	licences, err := r.licences(ctx, binaries)
	if err != nil {
		return err
	}
	native, err := r.native(ctx, binaries)
	if err != nil {
		return err
	}
	manual, err := printManual(ctx, native.path)
	if err != nil {
		return err
	}
	common, err := r.commonFiles(licences)
	if err != nil {
		return err
	}
	common = append(common, manual.files()...)
	for _, b := range binaries {
		if err := r.writePackages(b, manual, licences); err != nil {
			return err
		}
		name := r.name(b.target, r.version)
		files := append([]file{{name: program, path: b.path, mode: 0o755}}, common...)
		if err := writeArchive(filepath.Join(r.out, name+".tar.gz"), name, files, r.time); err != nil {
			return err
		}
		if err := writeBill(filepath.Join(r.out, name+".cdx.json"), b, licences, r.time); err != nil {
			return err
		}
	}
	return writeSums(r.out)
}
