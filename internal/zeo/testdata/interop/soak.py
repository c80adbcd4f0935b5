"""Three Python clients work on one database whose server is killed again and again, while it is
packed and backed up all the time. Then everything that was acknowledged has to be there, once.

Usage: soak.py [SECONDS]. Environment: DIRSTORAGE is the binary.
"""

import logging
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import dsserver  # noqa: E402
import transaction  # noqa: E402
import ZEO  # noqa: E402
from BTrees.Length import Length  # noqa: E402
from BTrees.OOBTree import OOBTree  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from ZODB.blob import Blob  # noqa: E402
from ZODB.POSException import ConflictError, POSKeyError  # noqa: E402
from ZODB.utils import u64  # noqa: E402

WORKERS, KEYS, REPEAT = 3, 400, 500
LIMIT = 120  # seconds that a client waits for a server before it gives up


def value(v):
    """What is kept under a key, as (kind, text); it raises if the parts do not fit."""
    if v is None:
        return "none", ""
    if isinstance(v, Blob):
        with v.open() as f:
            data = f.read()
        text = data[:len(data) // REPEAT]
        assert text * REPEAT == data, "a blob of %d bytes" % len(data)
        return "blob", text.decode()
    assert v["text"] == v["part"]["text"], "two objects of one transaction"
    return "mapping", v["text"]


def make(kind, text):
    if kind == "blob":
        return Blob(text.encode() * REPEAT)
    v = PersistentMapping(text=text)
    v["part"] = PersistentMapping(text=text)
    return v


def pack_time():
    """The latest time of a pack: it is there before the pack removes anything."""
    for _ in range(100):
        try:
            with open("home/A/x.packed", "rb") as f:
                return u64(f.read()[:8])
        except FileNotFoundError:
            return 0
        except struct.error:  # it is being written
            time.sleep(0.01)
    raise AssertionError("home/A/x.packed is too short")


class Worker:
    """Changes keys of its own in a tree that all share, and counts the transactions."""

    def __init__(self, number, port):
        self.number, self.random = number, random.Random(number)
        self.log = open("log-%d" % number, "w", buffering=1)
        self.db = ZEO.DB(("127.0.0.1", port), wait_timeout=LIMIT, min_disconnect_poll=0.1, blob_dir="blobs-%d" % number)
        self.connection = self.db.open()

    def missing(self, e):
        """A pack may have removed an object from a snapshot that is older than the time of the pack: one of
        a client that had to wait longer than min_pack_time. Otherwise nothing may be missing."""
        packed = pack_time()
        before = u64(self.connection._storage._start)  # the connection sees what is older
        kind = "late" if before <= packed else "bad"
        self.note(kind, repr(e), "as before %016x, packed to %016x" % (before, packed), "".join(traceback.format_exc()).replace("\n", " | "))

    def note(self, *words):
        print(*words, sep="\t", file=self.log)

    def run(self, until):
        n = 0
        while time.time() < until:
            n += 1
            try:
                self.change(n)
            except POSKeyError as e:
                self.missing(e)
                transaction.abort()
            except ConflictError:
                transaction.abort()
            except AssertionError as e:
                self.note("bad", repr(e))
                transaction.abort()
            except Exception as e:  # the server is gone: what the storage then raises is of many kinds
                self.note("lost", type(e).__name__)
                self.reconnect()
        self.note("end")

    def change(self, n):
        tree, count = self.connection.root()["tree"], self.connection.root()["count"]
        key = "%d-%d" % (self.number, self.random.randrange(KEYS))
        text = "%d of %d" % (n, self.number)
        kind = self.random.choices(["mapping", "blob", "none"], [80, 12, 8])[0]
        if kind == "none":
            text = ""
            if key in tree:
                del tree[key]
        else:
            tree[key] = make(kind, text)
        count.change(1)
        self.note("try", key, kind, text)
        transaction.commit()
        self.note("ok", key, kind, text)
        if n % 4 == 0:
            value(tree.get("%d-%d" % (self.random.randrange(WORKERS), self.random.randrange(KEYS))))

    def reconnect(self):
        end = time.time() + LIMIT
        while True:
            try:
                transaction.abort()
                self.connection.close()
                self.connection = self.db.open()
                self.connection.root()["tree"]
                return
            except Exception:
                if time.time() > end:
                    raise
                time.sleep(0.1)


def repeated(stop, seconds, *command):
    """Runs a command again and again. That it fails when the server is killed is expected."""
    def run():
        while not stop.wait(seconds):
            subprocess.run([dsserver.BINARY, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    t = threading.Thread(target=run)
    t.start()
    return t


def start(port):
    """The server. Between two of them the pack may have opened HOME by itself."""
    for _ in range(LIMIT * 2):
        try:
            return dsserver.Server([("1", "home")], listen="127.0.0.1:%d" % port, log="server.log")
        except dsserver.NotStarted:
            time.sleep(0.5)
    raise AssertionError("no server can be started")


def work(seconds):
    dsserver.create("home", "--set", "storage.min_pack_time=1", "--set", "storage.delay_delete=0")
    port = dsserver.free_port()
    server = start(port)
    db = ZEO.DB(server.address)
    with db.transaction() as connection:
        connection.root()["tree"], connection.root()["count"] = OOBTree(), Length()
    db.close()
    until = time.time() + seconds
    workers = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--worker", str(i), str(port), str(until)]) for i in range(WORKERS)]
    stop = threading.Event()
    others = [repeated(stop, 2, "pack", "--keep", "0", "home"), repeated(stop, 3, "backup", "run", "home", "repo")]
    kills = 0
    while time.time() < until - 5:
        time.sleep(random.uniform(4, 9))
        server.kill()
        kills += 1
        server = start(port)
    for w in workers:
        w.wait(2 * LIMIT)
    stop.set()
    for t in others:
        t.join()
    subprocess.run([dsserver.BINARY, "backup", "run", "home", "repo"], check=True, stdout=subprocess.DEVNULL)
    counted = compare(server.address)
    server.stop()
    for command in (["check", "home"], ["backup", "verify", "repo"], ["restore", "repo", "restored"], ["check", "restored"]):
        subprocess.run([dsserver.BINARY, *command], check=True, stdout=subprocess.DEVNULL)
    server = dsserver.Server([("1", "restored")])
    assert compare(server.address) == counted, "the restored database is another one"
    server.stop()
    assert kills > 0 and os.path.exists("repo"), "nothing was killed, or nothing backed up"
    print("%d kills, %d transactions" % (kills, counted), file=sys.stderr)


def compare(address):
    """What there is with what was acknowledged, or may have been committed after it."""
    may, tried, acknowledged = {}, 0, 0
    for i in range(WORKERS):
        with open("log-%d" % i) as f:
            lines = [line.rstrip("\n").split("\t") for line in f]
        assert lines[-1] == ["end"], "worker %d ended with %s" % (i, lines[-1])
        for what, *rest in lines:
            assert what != "bad", "worker %d met %s" % (i, rest)
            if what == "late":
                print("worker %d was late: %s" % (i, rest), file=sys.stderr)
            if what == "try":
                tried += 1
                may.setdefault(rest[0], [("none", "")]).append(tuple(rest[1:]))
            elif what == "ok":
                acknowledged += 1
                may[rest[0]] = [tuple(rest[1:])]
    db = ZEO.DB(address, blob_dir="blobs-compare")
    root = db.open().root()
    for key, states in may.items():
        got = value(root["tree"].get(key))
        assert got in states, "%s is %s, not one of %s" % (key, got, states)
    count = root["count"]()
    db.close()
    dsserver.remove("blobs-compare")
    assert acknowledged > 100 and acknowledged <= count <= tried, "%d transactions are counted; %d were acknowledged, %d begun" % (count, acknowledged, tried)
    return count


def main():
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["--worker"]:
        Worker(int(sys.argv[2]), int(sys.argv[3])).run(float(sys.argv[4]))
        os._exit(0)
    os.chdir(tempfile.mkdtemp("interop"))
    began = time.monotonic()
    work(float(sys.argv[1]) if len(sys.argv) > 1 else 60)
    print("pass\tsoak\t%.2f" % (time.monotonic() - began))
    print("end\t1", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
