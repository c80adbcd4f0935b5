#!/usr/bin/env python3
"""Measure dirstorage against FileStorage, repozo and Python's ZEO server, on this machine.

    ZODB_SRC=DIR bench/run.py --work DIR [--objects N] [--rounds N] [--only NAMES]

ZODB_SRC names a directory with ZODB, ZEO, ZConfig and zdaemon side by side, as their
repositories are; without it the modules that are installed are used. The two take turns, round by
round, and the table has medians. What is measured, and what each line has to reach, is in LINES.
"""

import argparse
import collections
import json
import mmap
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# name, title, unit, which way is better, (limit of the ratio, or of the value itself).
# A ratio is ours by theirs, whichever way is better.
Line = collections.namedtuple("Line", "name title unit less ratio value")
LINES = [
    Line("import", "import / copyTransactionsFrom", "s", True, 0.8, None),
    Line("disk", "bytes on the disk / Data.fs", "MB", True, 0.6, None),
    Line("inodes", "files and directories", "", True, None, 100),
    Line("backup", "full backup / repozo -B -F", "s", True, 1.0, None),
    Line("restore", "restore with its check / repozo -R", "s", True, 1.5, None),
    Line("restore-proven", "restore with its check / repozo -R -w, which compares sums", "s", True, None, None),
    Line("incremental", "backup of 1 % / repozo -B", "s", True, None, 0.3),
    Line("pack", "pack, 1 % old revisions / FileStorage", "s", True, 0.4, None),
    Line("check", "check of everything", "s", True, None, 6),
    Line("load-disk", "load that no cache of ours has, one processor", "µs", True, None, 25),
    Line("memory-load", "memory of these loads, resident", "MB", True, None, None),
    Line("open", "open and clean close, whole process", "s", True, None, 0.1),
    Line("memory", "server after its start, resident", "MB", True, None, 64),
    Line("memory-pack", "memory of a pack, resident", "MB", True, None, 128),
    Line("commit-1", "commits, 1 connection", "1/s", False, 2, None),
    Line("commit-8", "commits, 8 connections", "1/s", False, 5, None),
    Line("load-1x1", "loads, 1 connection", "1/s", False, None, None),
    Line("load-pinned", "loads, 1 connection, one processor", "1/s", False, 2.5, None),
    Line("load-4x16", "loads, 4 connections, 16 deep", "1/s", False, None, None),
    Line("mixed-loads", "loads beside commits", "1/s", False, 5, None),
    Line("mixed-commits", "and the commits", "1/s", False, None, None),
    Line("blob-up", "blob of 100 MB, up", "MB/s", False, 1.5, None),
    Line("blob-down", "blob of 100 MB, down", "MB/s", False, 1.5, None),
    Line("disk-write", "105 MB to the disk and synced, past the page cache, no network", "MB/s", False, None, None),
    Line("sustain", "commits, 8 connections, sustained", "1/s", False, None, None),
    Line("sustain-share", "rate of all of it / of its first two seconds", "", False, None, 0.9),
    Line("stall", "longest stall of it", "s", True, None, 0.1),
]

COPY = """
import sys
from ZODB.FileStorage import FileStorage
source, copy = FileStorage(sys.argv[1], read_only=True), FileStorage(sys.argv[2], create=True)
copy.copyTransactionsFrom(source)
copy.close()
"""

PACK = """
import sys, time
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf
s = FileStorage(sys.argv[1])
s.pack(time.time(), referencesf)
s.close()
"""

SERVER = """
<zeo>
  address 127.0.0.1:%(port)d
</zeo>
<filestorage 1>
  path %(dir)s/Data.fs
  blob-dir %(dir)s/blobs
</filestorage>
"""


class Bench:
    def __init__(self, o):
        self.o = o
        self.values = {line.name: ([], []) for line in LINES}
        self.ds = os.path.join(o.work, "dirstorage")
        self.env = dict(os.environ)
        source = os.environ.get("ZODB_SRC")
        if source:
            paths = [os.path.join(source, name, "src") for name in sorted(os.listdir(source))]
            self.env["PYTHONPATH"] = os.pathsep.join(p for p in paths if os.path.isdir(p))

    # Files and processes.

    def at(self, *names):
        return os.path.join(self.o.work, *names)

    def gone(self, *names):
        for name in names:
            path = self.at(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.remove(path)
        return self.at(names[0])

    def run(self, *args):
        """Return the seconds of a program, and its greatest memory in MB."""
        os.sync()
        begun = time.monotonic()
        _, memory = self.output(*args)
        return time.monotonic() - begun, memory

    def output(self, *args):
        """Return the output of a program, and its greatest memory in MB."""
        p = subprocess.Popen(args, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = p.stdout.read()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        p.stdout.close()
        if p.returncode != 0:
            sys.exit("%s: status %d\n%s" % (" ".join(args), p.returncode, said.decode(errors="replace")))
        return said, usage.ru_maxrss / 1024

    def python(self, text, *args):
        return self.run(sys.executable, "-c", text, *args)

    def repozo(self, *args):
        return self.run(sys.executable, "-m", "ZODB.scripts.repozo", *args)

    def add(self, name, ours, theirs=None):
        for values, value in zip(self.values[name], (ours, theirs)):
            if value is not None:
                values.append(value)

    def wants(self, *names):
        return any(not self.o.only or name in self.o.only for name in names)

    # What works on files.

    def prepare(self):
        os.makedirs(self.o.work, exist_ok=True)
        self.env["CGO_ENABLED"] = "0"
        subprocess.check_call(["go", "build", "-o", self.ds, "./cmd/dirstorage"], cwd=TOP, env=self.env)
        gen = self.at("gen")
        for name in ("gen", "loads"):
            subprocess.check_call(["go", "build", "-o", self.at(name), "./bench/" + name], cwd=TOP, env=self.env)
        for name, changed in (("base.fs", 0), ("data.fs", 1)):
            mark = self.at("%s.%d" % (name, self.o.objects))
            if not os.path.exists(mark):
                self.gone(name)
                self.run(gen, "--objects", str(self.o.objects), "--changed", str(changed), self.at(name))
                open(mark, "w").close()

    def home(self, source, name="home"):
        """Make a home of a Data.fs; return the seconds."""
        self.gone(name)
        return self.run(self.ds, "import", "--format", self.o.format, self.at(source), self.at(name))[0]

    def files(self):
        data, home = self.at("data.fs"), self.at("home")
        if self.wants("import"):
            self.add("import", self.home("data.fs"), self.python(COPY, data, self.gone("copy.fs", "copy.fs.index"))[0])
        else:
            self.home("data.fs")
        if self.wants("disk", "inodes"):
            size, count = tree(os.path.join(home, "A"))
            self.add("disk", size / 1e6, os.path.getsize(data) / 1e6)
            self.add("inodes", count)
        if self.wants("open"):
            self.add("open", self.run(self.ds, "recover", home)[0])
        if self.wants("load-disk", "memory-load"):
            self.loads(home)
        if self.wants("memory"):
            self.add("memory", self.resident(home))
        if self.wants("check"):
            self.add("check", self.run(self.ds, "check", home)[0])
        if self.wants("backup", "restore", "restore-proven"):
            ours, theirs = self.gone("repo"), self.gone("repozo")
            os.mkdir(theirs)
            self.add("backup", self.run(self.ds, "backup", "full", home, ours)[0],
                     self.repozo("-B", "-F", "-f", data, "-r", theirs)[0])
            if self.wants("restore", "restore-proven"):
                spent = self.run(self.ds, "restore", ours, self.gone("restored"))[0]
                for name, flags in (("restore", ()), ("restore-proven", ("-w",))):
                    if self.wants(name):
                        self.add(name, spent, self.repozo("-R", *flags, "-r", theirs, "-o", self.gone("restored.fs"))[0])
        if self.wants("incremental"):
            self.incremental()
        if self.wants("pack", "memory-pack"):
            spent, memory = self.run(self.ds, "pack", "--keep", "0", home)
            shutil.copyfile(data, self.gone("packed.fs", "packed.fs.index", "packed.fs.old"))
            self.add("pack", spent, self.python(PACK, self.at("packed.fs"))[0])
            self.add("memory-pack", memory)
        self.gone("home", "repo", "repozo", "restored", "restored.fs", "copy.fs", "copy.fs.index",
                  "packed.fs", "packed.fs.old", "packed.fs.index", "packed.fs.lock")

    def incremental(self):
        self.home("base.fs", "grown")
        ours, theirs, grown = self.gone("repo2"), self.gone("repozo2"), self.at("grown.fs")
        os.mkdir(theirs)
        shutil.copyfile(self.at("base.fs"), grown)
        self.run(self.ds, "backup", "full", self.at("grown"), ours)
        self.repozo("-B", "-F", "-f", grown, "-r", theirs)
        self.run(self.ds, "import", self.at("data.fs"), self.at("grown"))
        shutil.copyfile(self.at("data.fs"), grown)
        # repozo names files by seconds
        time.sleep(1.1)
        self.add("incremental", self.run(self.ds, "backup", "inc", self.at("grown"), ours)[0],
                 self.repozo("-B", "-f", grown, "-r", theirs)[0])
        self.gone("repo2", "repozo2", "grown", "grown.fs")

    def loads(self, home):
        """Measure loads while the kernel has all files in memory."""
        for where, _, files in os.walk(os.path.join(home, "A")):
            for name in files:
                with open(os.path.join(where, name), "rb") as f:
                    while f.read(1 << 20):
                        pass
        said, memory = self.output(self.at("loads"), home)
        said = json.loads(said)
        self.add("load-disk", said["microseconds_each"])
        self.add("memory-load", memory)

    def resident(self, home):
        server = Server(self, ours=True, home=home)
        try:
            time.sleep(1)
            with open("/proc/%d/status" % server.process.pid) as f:
                return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))
        finally:
            server.stop()

    # What goes over the wire.

    def wire(self, turn):
        if self.wants("disk-write"):
            self.disk_write()
        for ours in (True, False) if turn % 2 == 0 else (False, True):
            for names, cpu in ((WIRE, None), (("load-pinned",), 0)):
                names = [name for name in names if self.wants(name)]
                if not names:
                    continue
                server = Server(self, ours, cpu=cpu)
                try:
                    self.load(server, ours, names, cpu)
                finally:
                    server.stop()
            if self.wants("sustain", "sustain-share", "stall") and self.o.sustain and turn == 0:
                self.sustained(ours)

    def touch(self):
        """Make a virtual machine own the memory that files are about to take.

        The host gives pages on their first use, and takes them back some seconds after they are
        free. Without this, the speed of blobs is that of the host.
        """
        path = self.gone("touched")
        block = bytes(1 << 20)
        with open(path, "wb", buffering=0) as f:
            for _ in range(self.o.touch << 10):
                f.write(block)
        self.gone("touched")

    def disk_write(self):
        """The rate that no server can exceed that has a blob on the disk before its vote."""
        block = mmap.mmap(-1, 1 << 20)  # in whole pages, as O_DIRECT wants it
        block.write(os.urandom(len(block)))
        rates = []
        for _ in range(5):
            f = os.open(self.gone("written"), os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
            began = time.perf_counter()
            for _ in range(100):
                os.write(f, block)
            os.fdatasync(f)
            rates.append(100 * len(block) / 1e6 / (time.perf_counter() - began))
            os.close(f)
        self.gone("written")
        self.values["disk-write"][0].append(statistics.median(rates))

    def client(self, server, *args, cpu=None):
        command = [self.ds, "bench", "--json", "--yes", "zeo://127.0.0.1:%d" % server.port, *args]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        out = subprocess.run(command, env=self.env, stdout=subprocess.PIPE, check=True).stdout
        return {r["name"]: r for r in json.loads(out)["results"]}

    def load(self, server, ours, names, cpu):
        for blobs, runs in ((False, 1), (True, 5)):
            group = [name for name in names if (name in BLOBS) == blobs]
            if not group:
                continue
            if blobs:
                self.touch()
            only = ",".join("load-1x1" if name == "load-pinned" else name for name in group)
            got = self.client(server, "--only", only, "--runs", str(runs), "--duration", "%ds" % self.o.seconds, cpu=cpu)
            for name in group:
                r = got["load-1x1" if name == "load-pinned" else name]
                value = r["bytes_per_second"] / 1e6 if blobs else r["rate"]
                self.values[name][0 if ours else 1].append(value)

    def sustained(self, ours):
        for name, seconds in (("first", 2), ("sustain", self.o.sustain)):
            server = Server(self, ours)
            try:
                r = self.client(server, "--only", "sustain", "--sustain", "%ds" % seconds)["sustain"]
            finally:
                server.stop()
            if name == "first":
                first = r["rate"]
        side = 0 if ours else 1
        self.values["sustain"][side].append(r["rate"])
        self.values["sustain-share"][side].append(r["rate"] / first)
        self.values["stall"][side].append(r["longest_stall_seconds"])


BLOBS = ("blob-up", "blob-down")  # one blob a run: a server's first is not its usual one
WIRE = ("commit-1", "commit-8", "load-1x1", "load-4x16", "mixed-loads", "mixed-commits", *BLOBS)


class Server:
    """A server of one of the two, with a new storage, or with a home."""

    def __init__(self, bench, ours, home=None, cpu=None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        where = bench.gone("served")
        os.mkdir(where)
        if ours:
            home = home or os.path.join(where, "home")
            command = [bench.ds, "serve", "--format", bench.o.format, "--listen", "127.0.0.1:%d" % self.port, home]
        else:
            config = os.path.join(where, "zeo.conf")
            with open(config, "w") as f:
                f.write(SERVER % {"port": self.port, "dir": where})
            command = [sys.executable, os.path.join(TOP, "bench", "zeoserver.py"), "-C", config]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        self.log = open(os.path.join(where, "log"), "wb")
        self.process = subprocess.Popen(command, env=bench.env, stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit("%s does not listen; see %s" % (" ".join(command), self.log.name))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def tree(top):
    """Return the bytes that a directory takes up on the disk, and its files and directories."""
    size = count = 0
    for where, dirs, files in os.walk(top):
        for name in files + dirs:
            size += os.lstat(os.path.join(where, name)).st_blocks * 512
            count += 1
    return size, count


def results(bench):
    for line in LINES:
        ours, theirs = (statistics.median(v) if v else None for v in bench.values[line.name])
        if ours is None:
            continue
        ratio = ours / theirs if theirs else None
        measure, limit = (ratio, line.ratio) if line.ratio else (ours, line.value)
        reached = None
        if limit is not None and measure is not None:
            reached = measure <= limit if line.less else measure >= limit
        yield {"name": line.name, "title": line.title, "unit": line.unit, "ours": ours, "theirs": theirs,
               "ratio": ratio, "goal": limit, "goal_of": "ratio" if line.ratio else "value", "less": line.less,
               "reached": reached, "runs": bench.values[line.name]}


def figure(x):
    if x is None:
        return ""
    return "%d" % round(x) if x >= 100 else "%.3g" % x


def table(rows):
    print("| | dirstorage | Python | ratio | goal | |\n|---|---|---|---|---|---|")
    for r in rows:
        sign = "≤" if r["less"] else "≥"
        goal = "" if r["goal"] is None else "%s %s%s" % (sign, figure(r["goal"]), " x" if r["goal_of"] == "ratio" else "")
        word = {True: "reached", False: "missed", None: ""}[r["reached"]]
        print("| %s, %s | %s | %s | %s | %s | %s |" % (r["title"], r["unit"], figure(r["ours"]), figure(r["theirs"]),
                                                  figure(r["ratio"]), goal, word))


def plot(rows, name):
    """Write bars of how many times better than Python's each line is, as SVG."""
    bars = [(r, 1 / r["ratio"] if r["less"] else r["ratio"]) for r in rows if r["ratio"]]
    height = 22 * len(bars) + 30
    widest = max([b for _, b in bars] + [1])
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="760" height="%d" font-family="sans-serif" font-size="12">' % height]
    for i, (r, better) in enumerate(bars):
        y = 20 + 22 * i
        width = max(1, 360 * better / widest)
        out.append('<text x="290" y="%d" text-anchor="end">%s</text>' % (y + 12, r["title"].replace("&", "&amp;")))
        out.append('<rect x="300" y="%d" width="%.1f" height="14" fill="%s"/>' % (y, width, "#2a7" if better >= 1 else "#c53"))
        out.append('<text x="%.1f" y="%d">%s times as good</text>' % (305 + width, y + 12, figure(better)))
    one = 300 + 360 / widest
    out.append('<line x1="%.1f" y1="10" x2="%.1f" y2="%d" stroke="black"/></svg>' % (one, one, height - 10))
    with open(name, "w") as f:
        f.write("\n".join(out) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", required=True, help="a directory for everything; what is in it may be used again")
    p.add_argument("--objects", type=int, default=1_000_000)
    p.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    p.add_argument("--seconds", type=int, default=5, help="of each measurement over the wire (default 5)")
    p.add_argument("--touch", type=int, default=4, help="GiB that are written and removed before the blobs (default 4)")
    p.add_argument("--sustain", type=int, default=0, help="seconds of sustained commits; 0: none")
    p.add_argument("--format", default="bundled", help="of the homes (default bundled)")
    p.add_argument("--only", type=lambda s: s.split(","), help="names of lines, with commas: " + ", ".join(line.name for line in LINES))
    p.add_argument("--json", help="write the results into this file")
    p.add_argument("--plot", help="draw them into this file, as SVG")
    o = p.parse_args()
    for name in o.only or ():
        if name not in [line.name for line in LINES]:
            p.error("there is no line %r" % name)
    o.work = os.path.abspath(o.work)
    bench = Bench(o)
    bench.prepare()
    files = {"import", "disk", "inodes", "backup", "restore", "restore-proven", "incremental", "pack", "check", "open", "memory", "memory-pack",
             "load-disk", "memory-load"}
    for turn in range(o.rounds):
        if bench.wants(*files):
            bench.files()
        bench.wire(turn)
        print("round %d of %d is done" % (turn + 1, o.rounds), file=sys.stderr)
    rows = list(results(bench))
    table(rows)
    if o.json:
        about = {"machine": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version(),
                 "objects": o.objects, "format": o.format, "rounds": o.rounds,
                 "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
                 "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
        with open(o.json, "w") as f:
            json.dump({"about": about, "lines": rows}, f, indent=1)
            f.write("\n")
    if o.plot:
        plot(rows, o.plot)


if __name__ == "__main__":
    main()
