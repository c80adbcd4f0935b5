"""Clients with persistent caches come back to a storage that was put back to an earlier state.

What they have seen of the lost time must be gone: at once, after somebody has committed, after a pack,
and when the cache file is opened again. Each way to bring a storage back is tried, also after kill -9.

Usage: history.py [NAME...], or history.py --soak SECONDS [SEED]: clients stay connected, or come back with
their cache files, while the server is killed, packed, and put back to earlier states.
Environment: DIRSTORAGE is the binary.
"""

import collections
import contextlib
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import dsserver  # noqa: E402
import transaction  # noqa: E402
import ZEO  # noqa: E402
import ZEO.ClientStorage  # noqa: E402
import ZODB  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402

SETTINGS = ("--set", "storage.min_pack_time=0", "--set", "storage.delay_delete=0")


def tool(*args):
    subprocess.run([dsserver.BINARY, *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def copy(source, target):
    subprocess.run(["cp", "-a", source, target], check=True)


# Each way has what saves the state (the server is running, or not, as it says), and what brings it back.

def _restore(*args):
    tool("restore", *args, "repo", "home")


def _remove_and_restore():
    shutil.rmtree("home")
    _restore()


def _remove_and_copy(*names):
    shutil.rmtree("home")
    if not names:
        return copy("saved", "home")
    os.mkdir("home")
    for name in names:
        copy("saved/" + name, "home")


def _rsync():
    subprocess.run(["rsync", "-a", "--delete", "saved/", "home"], check=True)


def _import():
    shutil.rmtree("home")
    tool("import", "saved.fs", "home")


def _copy_over():
    """In bundles the newest one counts: the server refuses that, and says what to do."""
    copy("saved/.", "home")
    refused = None
    try:
        dsserver.Server([("1", "home")], log="server.log").kill()
    except dsserver.NotStarted as e:
        refused = str(e)
    assert refused and "an older copy was probably put over a newer HOME. Move the files out" in refused, refused
    moved = set(os.listdir("home/A/bundles")) - set(os.listdir("saved/A/bundles"))
    assert moved
    for name in moved:
        os.remove("home/A/bundles/" + name)


def _save_snapshot():
    tool("snapshot", "run", "home", "--", "sh", "-c", "mkdir saved && cp -a home/config home/A saved")


WAYS = {
    "restore": ("running", lambda: tool("backup", "full", "home", "repo"), _remove_and_restore),
    "restore --delta": ("running", lambda: tool("backup", "full", "home", "repo"), lambda: _restore("--delta")),
    "config and A": ("running", _save_snapshot, lambda: _remove_and_copy("config", "A")),
    "a whole HOME": ("stopped", lambda: copy("home", "saved"), _remove_and_copy),
    "a whole HOME over it": ("stopped", lambda: copy("home", "saved"), _copy_over),
    "a whole HOME of files over it": ("stopped", lambda: copy("home", "saved"), lambda: copy("saved/.", "home")),
    "a whole HOME by rsync": ("stopped", lambda: copy("home", "saved"), _rsync),
    "import": ("running", lambda: tool("export", "home", "saved.fs"), _import),
}


# The journal of a server that was killed would bring back what is lost.
OF_FILES = "a whole HOME of files over it"
NOT_KILLED = ["a whole HOME over it", OF_FILES]


@contextlib.contextmanager
def server(kill=False):
    s = dsserver.Server([("1", "home")], log="server.log")
    try:
        yield s
    finally:
        if kill:
            s.kill()
        else:
            s.stop()


@contextlib.contextmanager
def client(s, name=None):
    """A client; with a name, one whose cache is in a file."""
    storage = ZEO.ClientStorage.ClientStorage(s.address, wait_timeout=20, client=name, var=os.getcwd() if name else None)
    db = ZODB.DB(storage)
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    try:
        yield connection.root(), manager, connection
    finally:
        manager.abort()
        connection.close()
        db.close()


def equal(got, want, what):
    assert got == want, "%s: got %r, want %r" % (what, got, want)


def seen(root):
    return root["a"]["v"], root["b"]["v"]


def commits(s, name, root, manager, connection, known):
    """The client computes with what it reads, and commits: nothing of the lost time gets in."""
    equal(seen(root), known, name)
    root["b"]["v"] = known[1] + 10 * known[0]
    manager.commit()
    known = known[0], known[1] + 10 * known[0]
    connection.cacheMinimize()
    equal(seen(root), known, name + " after its commit")
    root["a"]["v"] += 1
    manager.commit()
    return known[0] + 1, known[1]


def scenario(way, kill):
    when, save, bring_back = WAYS[way]
    dsserver.create("home", *SETTINGS, *(("--format", "chunky") if way == OF_FILES else ()))
    with server(kill and when == "stopped") as s:
        with client(s) as (root, manager, _):
            root["a"], root["b"] = PersistentMapping(v=1), PersistentMapping(v=1)
            manager.commit()
            for v in range(5):
                root["b"]["v"] = v
                manager.commit()
        if when == "running":
            save()
    if when == "stopped":
        save()
    caches = "one", "two", "three"
    with server(kill) as s:
        for i, name in enumerate(caches):
            with client(s, name) as (root, manager, connection):
                root["a"]["v"], root["b"]["v"] = 200 + i, 300 + i
                manager.commit()
                connection.cacheMinimize()
                equal(seen(root), (200 + i, 300 + i), name)
        for name in caches:  # all have seen the last of it
            with client(s, name) as (root, _, connection):
                equal(seen(root), (202, 302), name)
    bring_back()
    known = 1, 4
    with server(kill) as s:
        with client(s, "one") as c:  # at once, before anybody commits
            known = commits(s, "at once", *c, known)
        with client(s, "one") as (root, _, _):
            equal(seen(root), known, "from the cache file")
        with client(s, "two") as c:
            known = commits(s, "after a commit", *c, known)
        with client(s) as (root, manager, _):
            root["b"]["v"] = 7
            manager.commit()
            known = known[0], 7
            root._p_jar.db().pack()
        with client(s, "three") as c:
            known = commits(s, "after a pack", *c, known)
    with server() as s:  # after a kill -9, or a stop
        for name in caches:
            with client(s, name) as (root, _, _):
                equal(seen(root), known, "from the cache file, after a restart")
        with client(s) as (root, _, _):
            equal(seen(root), known, "a client without a cache")
    tool("check", "home") if way != OF_FILES else None  # which leaves files of the lost time
    log = subprocess.run([dsserver.BINARY, "log", "-n", "100", "home"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert log.count("here begins the history") <= 1, log


class Soaked:
    """A client that lives over restarts of the server, with a cache in a file."""

    def __init__(self, name, address):
        self.name, self.manager = name, transaction.TransactionManager()
        self.storage = ZEO.ClientStorage.ClientStorage(address, wait_timeout=60, client=name, var=os.getcwd(),
                                                            min_disconnect_poll=0.1, server_sync=True)
        self.db = ZODB.DB(self.storage)
        self.connection = self.db.open(self.manager)

    def begin(self):
        """Start a transaction on a connection that works and has been told of everything."""
        end = time.monotonic() + 60
        while True:
            try:
                self.manager.abort()
                self.storage.ping()
                self.manager.begin()
                return self.connection.root()["all"]
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def close(self):
        self.manager.abort()
        self.connection.close()
        self.db.close()


class Soak:
    """What is done is chosen at random; `state` is what every client has to see after each step."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.address = "127.0.0.1", dsserver.free_port()
        self.clients, self.saved, self.number, self.counts = {}, [], 0, collections.Counter()
        self.state = dict.fromkeys(range(12), 0)
        dsserver.create("home", *SETTINGS)
        self.server = None
        self.start()
        with client(self.server) as (root, manager, _):
            root["all"] = PersistentMapping({k: PersistentMapping(v=0) for k in self.state})
            manager.commit()

    def start(self):
        self.server = dsserver.Server([("1", "home")], listen="%s:%d" % self.address, log="server.log")

    def end(self):
        if self.random.random() < 0.5:
            self.server.kill()
            self.counts["kills"] += 1
        else:
            self.server.stop()

    def any_client(self):
        name = self.random.choice(["one", "two", "three", "four"])
        if name in self.clients and self.random.random() < 0.2:
            self.clients.pop(name).close()
        if name not in self.clients:
            self.clients[name] = Soaked(name, self.address)
        return self.clients[name]

    def look(self, c):
        root = c.begin()
        got = {k: root[k]["v"] for k in self.state}
        assert got == self.state, "%s sees %s, and there is %s" % (c.name, got, self.state)
        self.counts["looks"] += 1
        return root

    def commit(self):
        c = self.any_client()
        root = self.look(c)
        self.number += 1
        changed = {k: self.number for k in self.random.sample(range(1, 12), self.random.randint(1, 4))}
        changed[0] = sum(root[k]["v"] for k in range(1, 12))  # computed from what it sees
        for k, v in changed.items():
            root[k]["v"] = v
        c.manager.commit()
        self.state.update(changed)
        self.counts["commits"] += 1
        self.look(self.any_client())

    def pack(self):
        tool("pack", "--keep", "0", "home")
        self.counts["packs"] += 1

    def save(self):
        n = len(self.saved)
        kind = self.random.choice(["backup", "snapshot", "home"])
        if kind == "backup":
            tool("backup", "full", "home", "repo%d" % n)
        elif kind == "snapshot":
            tool("snapshot", "run", "home", "--", "sh", "-c", "mkdir saved%d && cp -a home/config home/A saved%d" % (n, n))
        else:
            self.end()
            copy("home", "saved%d" % n)
            self.start()
        self.saved.append((kind, dict(self.state)))

    def restart(self):
        self.end()
        self.start()

    def bring_back(self):
        if not self.saved:
            return
        n = self.random.randrange(len(self.saved))
        kind, state = self.saved[n]
        self.end()
        if kind == "backup" and self.random.random() < 0.5:
            tool("restore", "--delta", "repo%d" % n, "home")
        elif kind == "backup":
            shutil.rmtree("home")
            tool("restore", "repo%d" % n, "home")
        elif kind == "home" and self.random.random() < 0.5:
            subprocess.run(["rsync", "-a", "--delete", "saved%d/" % n, "home"], check=True)
        else:
            shutil.rmtree("home")
            copy("saved%d" % n, "home")
        self.state = dict(state)
        self.start()
        self.counts["brought back"] += 1
        if self.random.random() < 0.5:  # before anybody commits
            self.look(self.any_client())

    def run(self, until):
        steps = [self.commit] * 12 + [self.pack, self.save, self.restart, self.bring_back]
        while time.monotonic() < until:
            self.random.choice(steps)()
        for name in list(self.clients):
            self.look(self.clients[name])
            self.clients.pop(name).close()
        for name in "one", "two", "three", "four":
            self.look(Soaked(name, self.address))
        with client(self.server) as (root, _, _):
            equal({k: v["v"] for k, v in root["all"].items()}, self.state, "a client without a cache")
        self.server.stop()
        tool("check", "home")
        print(dict(self.counts), file=sys.stderr)
        assert self.counts["brought back"] > 1 and self.counts["kills"] > 1 and self.counts["commits"] > 20, self.counts


def soak(seconds, seed):
    print("seed %d" % seed, file=sys.stderr)
    os.chdir(tempfile.mkdtemp("interop"))
    began, verdict = time.monotonic(), "pass"
    try:
        Soak(seed).run(began + seconds)
    except BaseException as e:
        verdict = "fail"
        traceback.print_exc()
        print(getattr(e, "stderr", ""), file=sys.stderr)
    print("%s\tsoak of histories\t%.2f" % (verdict, time.monotonic() - began))
    print("end\t1", flush=True)
    os._exit(0)


def main():
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["--soak"]:
        soak(float(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else int(time.time()))
    work = tempfile.mkdtemp("interop")
    ran = 0
    for way in WAYS:
        for kill in False, True:
            name = way + (", killed" if kill else "")
            if sys.argv[1:] and name not in sys.argv[1:] or kill and way in NOT_KILLED:
                continue
            os.chdir(work)
            os.mkdir(name)
            os.chdir(name)
            began, verdict = time.monotonic(), "pass"
            try:
                scenario(way, kill)
            except BaseException as e:
                verdict = "fail"
                traceback.print_exc()
                print(getattr(e, "stderr", ""), file=sys.stderr)
            ran += 1
            print("%s\t%s\t%.2f" % (verdict, name, time.monotonic() - began), flush=True)
    print("end\t%d" % ran, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
