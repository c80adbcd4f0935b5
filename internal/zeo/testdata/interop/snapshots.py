"""Clients whose snapshot is older, or not older, than the time of a pack: against the Go server of this
repository, and against Python's server with a FileStorage, which has to do the same.

Usage: snapshots.py. Environment: DIRSTORAGE is the binary.
"""

import os
import subprocess
import sys
import tempfile
import time
import traceback
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import copies  # noqa: E402, F401: Python's server finds its version
import dsserver  # noqa: E402
import ZEO  # noqa: E402
from basic import Client, equal, raises, server  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from ZEO.Exceptions import ServerException  # noqa: E402
from ZODB.POSException import DanglingReferenceError, POSKeyError, ReadConflictError  # noqa: E402


def made(writer):
    root = writer.root
    root["gone"] = PersistentMapping(inner=PersistentMapping(x=1))
    root["cached"], root["changed"], root["holder"] = PersistentMapping(x=1), PersistentMapping(v=1), PersistentMapping()
    writer.commit()


def change(writer):
    del writer.root["gone"], writer.root["cached"]
    writer.root["changed"]["v"] = 2
    writer.commit()


def older(s, refuses):
    """A pack to a time after the snapshot removes what only the snapshot needs."""
    with Client(s) as reader, Client(s) as writer:
        made(writer)
        reader.begin()
        root = reader.root
        gone, cached = root["gone"], root["cached"]
        equal(cached["x"], 1)
        change(writer)
        time.sleep(0.05)
        writer.db.pack()
        try:
            gone["inner"]
        except POSKeyError as e:
            equal(e.args[0], gone._p_oid)
        else:
            raise AssertionError("an object that a pack has removed can be loaded")
        with raises(ReadConflictError):
            root["changed"]["v"]
        equal(cached["x"], 1)  # from the memory of the client
        reader.begin()  # the next transaction is as good as any
        equal(sorted(reader.root), ["changed", "holder"])
        equal(reader.root["changed"]["v"], 2)
        # The client still has an object that is gone, and refers to it.
        reader.root["holder"]["again"] = cached
        if refuses:
            with raises(DanglingReferenceError, ServerException):  # the client does not know each class
                reader.commit()
            reader.tm.abort()
            equal(dict(reader.root["holder"]), {})
        else:
            reader.commit()
            with Client(s) as other, raises(POSKeyError):
                other.root["holder"]["again"]["x"]


def not_older(s, _):
    """A pack to a time that is not after the snapshot leaves everything that it needs."""
    with Client(s) as reader, Client(s) as writer:
        made(writer)
        reader.begin()
        root = reader.root
        gone = root["gone"]
        time.sleep(0.05)
        at = time.time()
        time.sleep(0.05)
        change(writer)
        writer.db.pack(at)
        equal(gone["inner"]["x"], 1)
        equal(root["cached"]["x"], 1)
        equal(root["changed"]["v"], 1)
        reader.begin()
        equal(reader.root["changed"]["v"], 2)
        # A later pack removes it.
        time.sleep(0.05)
        writer.db.pack()
        with Client(s) as other, raises(POSKeyError):
            other.storage.load(gone._p_oid)


def older_at_a_restart():
    """A reader waits for its server, which is killed; meanwhile the command packs. The reader goes on with its
    snapshot, which is older than the pack."""
    dsserver.create("home", "--set", "storage.min_pack_time=0", "--set", "storage.delay_delete=0")
    listen = "127.0.0.1:%d" % dsserver.free_port()
    s = dsserver.Server([("1", "home")], listen=listen, log="server.log")
    try:
        with Client(s) as reader, Client(s) as writer:
            made(writer)
            reader.begin()
            gone = reader.root["gone"]
            change(writer)
            s.kill()
            subprocess.run([dsserver.BINARY, "pack", "--keep", "0", "home"], check=True, stdout=subprocess.DEVNULL)
            s = dsserver.Server([("1", "home")], listen=listen, log="server.log")
            with raises(POSKeyError):
                gone["inner"]
            reader.begin()
            equal(sorted(reader.root), ["changed", "holder"])
    finally:
        s.stop()


def go(f):
    dsserver.create("home", *dsserver.PACK_TO_NOW)
    with server() as s:
        f(s, True)


def python(f):
    address, stop = ZEO.server("python.fs")
    try:
        f(types.SimpleNamespace(address=address), False)
    finally:
        stop()


def main():
    work = tempfile.mkdtemp("interop")
    ran = 0
    for f in older, not_older, older_at_a_restart:
        for on in [None] if f is older_at_a_restart else [go, python]:
            name = f.__name__ + (", " + on.__name__ if on else "")
            os.chdir(work)
            os.mkdir(name)
            os.chdir(name)
            began, verdict = time.monotonic(), "pass"
            try:
                on(f) if on else f()
            except BaseException:
                verdict = "fail"
                traceback.print_exc()
            ran += 1
            print("%s\t%s\t%.2f" % (verdict, name, time.monotonic() - began), flush=True)
    print("end\t%d" % ran, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
