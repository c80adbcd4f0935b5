#!/usr/bin/env python3
"""Move a site from Python's ZEO server to dirstorage and back, by the commands of docs/migrate.md.

    ZODB_SRC=DIR bench/hour.py --work DIR [--megabytes N] [--blobs N] [--writers N] [--seconds N]

ZODB_SRC is that of run.py. Python's server has a FileStorage with blobs, and Python clients write to
it all the while, also blobs. Each transaction that a client got acknowledged is looked for after the
move, and again after the way back. The output is a table of the seconds of each step; any difference
ends the script with status 1.
"""

import argparse
import hashlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONF = """
<zeo>
  address 127.0.0.1:%d
</zeo>
<filestorage 1>
  path %s
  blob-dir %s
</filestorage>
"""


# The Python clients; each runs as a process of its own.

def content(name, i):
    return hashlib.sha256(b"%s %d" % (name.encode(), i)).hexdigest().encode() * (40 + i % 60)


def opened(address, name, where):
    import ZEO
    host, port = address.rsplit(":", 1)
    # With cache files that last: nobody removes them at the cut-over.
    return ZEO.DB((host, int(port)), client=name, var=where, blob_dir=os.path.join(where, name + "-blobs"), wait_timeout=60)


def fill(path, blobs, megabytes, count):
    """Make the database of the old server."""
    import BTrees.OOBTree
    import transaction
    import ZODB
    from ZODB.blob import Blob
    from ZODB.FileStorage import FileStorage
    db = ZODB.DB(FileStorage(path, blob_dir=blobs))
    c = db.open()
    root = c.root()
    root["data"] = data = BTrees.OOBTree.OOBTree()
    root["writers"] = BTrees.OOBTree.OOBTree()
    root["files"] = files = BTrees.OOBTree.OOBTree()
    transaction.commit()
    from persistent.mapping import PersistentMapping
    n = 0
    while os.path.getsize(path) < int(megabytes) << 20:
        for _ in range(200):
            data["%09d" % n] = PersistentMapping({"title": "document %d" % n, "text": content("data", n)[:600 + n % 2400].decode()})
            n += 1
        transaction.get().note("page %d" % n)
        transaction.commit()
        c.cacheMinimize()
    for i in range(int(count)):
        files["%06d" % i] = blob = Blob()
        with blob.open("w") as f:
            f.write(content("file", i) * (1 + i % 50))
        if i % 20 == 19:
            transaction.commit()
    transaction.commit()
    db.close()


def write(address, name, where, log):
    """Commit until SIGTERM, and note each commit that returned."""
    import BTrees.IOBTree
    import transaction
    from persistent.mapping import PersistentMapping
    from ZODB.blob import Blob
    from ZODB.POSException import ConflictError
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    db = opened(address, name, where)
    c = db.open()
    while name not in c.root()["writers"]:
        try:
            c.root()["writers"][name] = BTrees.IOBTree.IOBTree()
            transaction.commit()
        except ConflictError:
            transaction.abort()
    tree = c.root()["writers"][name]
    i = 1 + (tree.maxKey() if len(tree) else 0)
    with open(log, "a") as done:
        while not stop:
            one = PersistentMapping({"text": content(name, i).decode()})
            tree[i] = one
            if i % 5 == 0:
                one["blob"] = Blob()
                with one["blob"].open("w") as f:
                    f.write(content(name, i) * 20)
            transaction.get().note("%s %d" % (name, i))
            transaction.commit()
            print(name, i, one._p_serial.hex().upper(), file=done, flush=True)
            i += 1
            time.sleep(0.01)
    db.close()


def verify(address, where, *logs):
    """Look for each commit that was acknowledged."""
    db = opened(address, "verify", where)
    c = db.open()
    seen = 0
    for log in logs:
        for line in open(log):
            name, i, serial = line.split()
            one = c.root()["writers"][name][int(i)]
            assert one["text"].encode() == content(name, int(i)), line
            assert one._p_serial.hex().upper() == serial, (line, one._p_serial.hex())
            if int(i) % 5 == 0:
                with one["blob"].open() as f:
                    assert f.read() == content(name, int(i)) * 20, line
            seen += 1
            if seen % 1000 == 0:
                c.cacheMinimize()
    files = 0
    for i, (key, blob) in enumerate(c.root()["files"].items()):
        with blob.open() as f:
            assert f.read() == content("file", i) * (1 + i % 50), key
        files += 1
    db.close()
    print(seen, files)


def compare(old, oldblobs, new, newblobs):
    """Each transaction of the old file has to be in the new one, with its records and blobs."""
    from ZODB.blob import is_blob_record
    from ZODB.FileStorage import FileStorage
    a, b = FileStorage(old, blob_dir=oldblobs, read_only=True), FileStorage(new, blob_dir=newblobs, read_only=True)
    others = b.iterator()
    count = blobs = 0
    for t in a.iterator():
        o = next(others)
        assert (t.tid, t.user, t.description, t.extension) == (o.tid, o.user, o.description, o.extension), (t.tid, o.tid)
        mine, theirs = [{r.oid: r.data for r in x} for x in (t, o)]
        assert mine == theirs, t.tid
        for oid, data in mine.items():
            if data and is_blob_record(data):
                x, y = [s.loadBlob(oid, t.tid) for s in (a, b)]
                with open(x, "rb") as f, open(y, "rb") as g:
                    assert f.read() == g.read(), (oid, t.tid)
                blobs += 1
        count += 1
    a.close()
    b.close()
    print(count, blobs)


# The script.

class Follow:
    """import --follow on a terminal, as an administrator has it."""

    def __init__(self, text, env):
        master, slave = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(["sh", "-ec", "exec " + text.strip()], env=env, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.thread = threading.Thread(target=self.read, args=(master,))
        self.thread.start()

    def read(self, master):
        try:
            while True:
                self.said += os.read(master, 4096).decode(errors="replace")
        except OSError:
            os.close(master)

    def until(self, pattern, limit=600):
        for _ in range(limit * 50):
            if re.search(pattern, self.said):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit("import --follow does not say %s:\n%s" % (pattern, self.said[-2000:]))

    def end(self):
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait()
        self.thread.join()
        if status != 0:
            sys.exit("import --follow: status %d\n%s" % (status, self.said[-2000:]))


class Hour:
    def __init__(self, o):
        self.o = o
        self.steps = []
        self.phase = ""
        self.env = dict(os.environ, PATH=os.path.dirname(os.path.abspath(o.binary)) + os.pathsep + os.environ["PATH"], PYTHONDONTWRITEBYTECODE="1", TZ="UTC")
        source = os.environ.get("ZODB_SRC")
        if source:
            paths = [os.path.join(source, name, "src") for name in sorted(os.listdir(source))]
            self.env["PYTHONPATH"] = os.pathsep.join(p for p in paths if os.path.isdir(p))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        self.env.update(OLD="zeo://" + self.address, ZEOCONF=self.at("zeo.conf"), DATAFS=self.at("old", "Data.fs"), BLOBS=self.at("old", "blobstorage"),
                        SITE=self.at("site"), REPO=self.at("backups"), BACK=self.at("back"))
        with open(os.path.join(TOP, "docs", "migrate.md")) as f:
            found = re.findall(r"(?m)^( *)```sh\n\1# ([a-z-]+)\n((?:.*\n)*?)\1```$", f.read())
        self.blocks = {name: re.sub("(?m)^" + indent, "", text) for indent, name, text in found}
        self.used = {"settings"}
        self.logs = [self.at("writer%d.log" % i) for i in range(o.writers)]
        self.writers = []
        self.server = None

    def at(self, *names):
        return os.path.join(self.o.work, *names)

    def step(self, name, what, *args):
        begun = time.monotonic()
        result = what(*args)
        self.steps.append((self.phase, name, time.monotonic() - begun))
        return result

    def text(self, name):
        self.used.add(name)
        return self.blocks[name]

    def block(self, name):
        """Run a block of the document."""
        p = subprocess.run(["sh", "-exc", self.text(name)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if p.returncode != 0:
            sys.exit("block %s: status %d\n%s%s" % (name, p.returncode, p.stdout, p.stderr))
        return p.stdout

    def me(self, *args):
        p = subprocess.run([sys.executable, os.path.abspath(__file__), *args], env=self.env, capture_output=True, text=True)
        if p.returncode != 0:
            sys.exit("%s: status %d\n%s%s" % (args[0], p.returncode, p.stdout, p.stderr[-4000:]))
        return [int(n) for n in p.stdout.split()]

    def serve(self, command):
        with open(self.at("server.log"), "ab") as log:
            self.server = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(3000):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.server.poll() is not None:
                    break
                time.sleep(0.02)
        sys.exit("%s does not listen; see server.log" % command)

    def python_server(self, path, blobs):
        conf = self.at("zeo.conf")
        with open(conf, "w") as f:
            f.write(CONF % (self.port, path, blobs))
        self.serve([sys.executable, os.path.join(TOP, "bench", "zeoserver.py"), "-C", conf])

    def stop_server(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()
        self.server = None

    def acknowledged(self):
        return [line for log in self.logs if os.path.exists(log) for line in open(log)]

    def start_writers(self):
        """Start the clients, and wait until each of them has committed."""
        before = {log: os.path.getsize(log) if os.path.exists(log) else 0 for log in self.logs}
        for i, log in enumerate(self.logs):
            with open(self.at("writer%d.err" % i), "ab") as err:
                self.writers.append(subprocess.Popen([sys.executable, os.path.abspath(__file__), "write", self.address, "w%d" % i, self.o.work, log], env=self.env, stdout=err, stderr=err))
        for w, log in zip(self.writers, self.logs):
            while not os.path.exists(log) or os.path.getsize(log) <= before[log]:
                if w.poll() is not None:
                    sys.exit("a client ended with status %d; see writer*.err" % w.returncode)
                time.sleep(0.01)

    def stop_writers(self):
        for w in self.writers:
            w.send_signal(signal.SIGTERM)
        for w in self.writers:
            if w.wait() != 0:
                sys.exit("a client ended with status %d; see writer*.err" % w.returncode)
        self.writers = []

    def verified(self):
        want = len(self.acknowledged())
        seen, files = self.me("verify", self.address, self.o.work, *self.logs)
        if (seen, files) != (want, self.o.blobs):
            sys.exit("%d of %d acknowledged transactions, %d of %d files" % (seen, want, files, self.o.blobs))
        return seen

    def run(self):
        o = self.o
        os.makedirs(self.at("old"))
        self.me("fill", self.env["DATAFS"], self.env["BLOBS"], str(o.megabytes), str(o.blobs))
        self.python_server(self.env["DATAFS"], self.env["BLOBS"])
        self.start_writers()

        self.phase = "the old server runs, clients write"
        print(self.step("dry run of the file and of the server", self.block, "dry-run"))
        self.step("first copy, from Data.fs", self.block, "first-copy")
        follow = self.step("`import --follow` has caught up", self.follow)
        time.sleep(o.seconds)

        self.phase = "**the site is down**"
        self.step("stop the clients", self.stop_writers)
        last = max(line.split()[2] for line in self.acknowledged())
        self.step("the last transaction is copied", follow.until, "(up to date|caught up): the last transaction is " + last)
        self.step("end `import --follow`", follow.end)
        said = self.step("copy the rest", self.block, "rest")
        if "imported 0 transactions" not in said:
            sys.exit("the rest is more than nothing: " + said)
        self.step("stop the old server", self.stop_server)
        self.step("the new server listens", self.serve, ["sh", "-ec", "exec " + self.text("serve").strip()])
        moved = len(self.acknowledged())
        self.step("each client has committed", self.start_writers)

        self.phase = "the new server runs, clients write"
        self.step("check list: `status`, `log`, `check --refs`", self.block, "check")
        self.step("backup, verified with all data", self.block, "backup")
        time.sleep(o.seconds)

        self.phase = "**the site is down, for the way back**"
        self.step("stop the clients", self.stop_writers)
        after = self.step("(each acknowledged transaction, and all files, compared by a client)", self.verified)
        self.step("stop the new server", self.stop_server)
        self.step("export with blobs", self.block, "back")
        self.step("the old server listens", self.python_server, self.at("back", "Data.fs"), self.at("back", "blobstorage"))
        self.step("each client has committed", self.start_writers)

        self.phase = "the old server runs again"
        self.stop_writers()
        end = self.step("each acknowledged transaction, and all files, compared by a client", self.verified)
        self.stop_server()
        count, blobs = self.step("old Data.fs and exported one compared, with blobs", self.me, "compare", self.env["DATAFS"], self.env["BLOBS"], self.at("back", "Data.fs"), self.at("back", "blobstorage"))
        unused = set(self.blocks) - self.used
        if unused:
            sys.exit("docs/migrate.md has blocks that were not run: %s" % ", ".join(sorted(unused)))
        self.table()
        print("%d transactions were acknowledged by the old server while it was followed, %d by the new one, %d by the old one after the way back; all are there. "
              "%d transactions and %d blobs of the old Data.fs are the same in the export." % (moved, after - moved, end - after, count, blobs))

    def follow(self):
        f = Follow(self.text("follow"), self.env)
        f.until("caught up")
        return f

    def table(self):
        print("| step | seconds |\n|---|---|")
        down, phase = {}, None
        for where, name, seconds in self.steps:
            if where != phase:
                print("| *%s* | |" % where.strip("*") if "**" not in where else "| %s | |" % where)
                phase = where
            print("| %s | %.1f |" % (name, seconds))
            if "down" in where and not name.startswith("("):
                down[where] = down.get(where, 0) + seconds
        for where, seconds in down.items():
            print("| %s, together | %.1f |" % (where, seconds))


def main():
    for f in (fill, write, verify, compare):
        if sys.argv[1:2] == [f.__name__]:
            return f(*sys.argv[2:])
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", required=True, help="an empty directory, or one to be made")
    p.add_argument("--binary", help="dirstorage; made by go build if it is not given")
    p.add_argument("--megabytes", type=int, default=200, help="size of the Data.fs")
    p.add_argument("--blobs", type=int, default=500, help="number of blobs in it")
    p.add_argument("--writers", type=int, default=3, help="number of clients that write")
    p.add_argument("--seconds", type=float, default=10, help="how long clients write before each change of servers")
    o = p.parse_args()
    o.work = os.path.abspath(o.work)
    os.makedirs(o.work, exist_ok=True)
    if os.listdir(o.work):
        sys.exit("%s is not empty" % o.work)
    if o.binary is None:
        o.binary = os.path.join(o.work, "bin", "dirstorage")
        subprocess.run(["go", "build", "-o", o.binary, "./cmd/dirstorage"], cwd=TOP, check=True)
    hour = Hour(o)
    try:
        hour.run()
    finally:
        for process in [hour.server, *hour.writers]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if not hour.steps or sys.exc_info()[0] is None:
            shutil.rmtree(o.work, ignore_errors=True)


if __name__ == "__main__":
    main()
