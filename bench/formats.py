#!/usr/bin/env python3
"""Measure the five formats side by side: the table of docs/formats.md.

    bench/formats.py --work DIR [--objects N] [--rounds N] [--formats bundled,chunky]

Each format holds the same Data.fs and goes through the same commands. The formats go in turns, and the
table has medians: seconds, and in brackets those of the processors. A command that fails ends the
script with status 1.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FORMATS = ("bundled", "chunky", "bushy", "flat", "lawn")
# The title of a line, and its command; {} is replaced by the path of a name in the directory of --work.
COMMANDS = (
    ("import", "{dirstorage} import --format {format} {data.fs} {home}"),
    ("check, files in the kernel's cache", "{dirstorage} check {home}"),
    ("full backup", "{dirstorage} backup full {home} {repository}"),
    ("restore of it, with the check", "{dirstorage} restore {repository} {restored}"),
    ("export to a Data.fs", "{dirstorage} export {home} {out.fs}"),
    ("`tar -cf` of `config` and A", "tar -C {home} -cf {out.tar} config A"),
    ("`find A -newer`", "find {home}/A -newer {data.fs}"),
    ("pack of the old revisions", "{dirstorage} pack --keep 0 {home}"),
)
MADE = ("home", "repository", "restored", "out.fs", "out.tar")


class Formats:
    def __init__(self, o):
        self.o = o
        self.work = os.path.abspath(o.work)
        self.values = {}  # (line, format): the values of the rounds
        self.env = dict(os.environ, CGO_ENABLED="0")

    def at(self, name):
        return os.path.join(self.work, name)

    def gone(self):
        for name in MADE:
            path = self.at(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.remove(path)

    def run(self, args):
        """Return the seconds of a command, and those of the processors."""
        os.sync()
        begun = time.monotonic()
        p = subprocess.Popen(args, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = p.stderr.read()
        _, status, usage = os.wait4(p.pid, 0)
        spent = time.monotonic() - begun
        p.returncode = os.waitstatus_to_exitcode(status)
        p.stderr.close()
        if p.returncode != 0:
            sys.exit("%s: status %d\n%s" % (" ".join(args), p.returncode, said.decode(errors="replace")))
        return spent, usage.ru_utime + usage.ru_stime

    def prepare(self):
        os.makedirs(self.work, exist_ok=True)
        self.gone()
        for name, package in (("dirstorage", "./cmd/dirstorage"), ("gen", "./bench/gen")):
            subprocess.check_call(["go", "build", "-o", self.at(name), package], cwd=TOP, env=self.env)
        if os.path.exists(self.at("data.fs")):
            os.remove(self.at("data.fs"))
        self.run([self.at("gen"), "--objects", str(self.o.objects), "--changed", "1", self.at("data.fs")])

    def add(self, line, of, value):
        self.values.setdefault((line, of), []).append(value)

    def measure(self, of):
        for line, command in COMMANDS:
            args = [re.sub(r"\{([^}]*)\}", lambda m: of if m[1] == "format" else self.at(m[1]), word) for word in command.split()]
            self.add(line, of, self.run(args))
            if line == "import":
                used, names = 0, 0
                for where, dirs, files in os.walk(self.at("home/A")):
                    names += len(files) + 1
                    used += sum(os.lstat(os.path.join(where, name)).st_blocks * 512 for name in (".", *files))
                self.add("A on the disk, MB", of, used / 1e6)
                self.add("files and directories of A", of, names)
        self.gone()

    def table(self):
        print("| | " + " | ".join(self.o.formats) + " |")
        print("|---" * (1 + len(self.o.formats)) + "|")
        for line in ("A on the disk, MB", "files and directories of A", *(line for line, _ in COMMANDS)):
            cells = []
            for of in self.o.formats:
                got = self.values[line, of]
                if isinstance(got[0], tuple):
                    cells.append("%.2g (%.2g)" % tuple(statistics.median(v) for v in zip(*got)))
                else:
                    cells.append("{:,.0f}".format(statistics.median(got)))
            print("| %s | %s |" % (line, " | ".join(cells)))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--work", required=True, help="a directory with room for three gigabytes for each 100,000 objects")
    p.add_argument("--objects", type=int, default=100000, help="(default 100000)")
    p.add_argument("--rounds", type=int, default=2, help="how often each is measured (default 2)")
    p.add_argument("--formats", type=lambda s: s.split(","), default=list(FORMATS), help="with commas; all by default")
    f = Formats(p.parse_args())
    for of in f.o.formats:
        if of not in FORMATS:
            p.error("there is no format %r" % of)
    f.prepare()
    for turn in range(f.o.rounds):
        for of in f.o.formats if turn % 2 == 0 else reversed(f.o.formats):
            f.measure(of)
        print("round %d of %d is done" % (turn + 1, f.o.rounds), file=sys.stderr)
    f.table()


if __name__ == "__main__":
    main()
