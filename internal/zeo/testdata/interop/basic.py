"""Check what applications do through ZEO against the Go server of this repository.

Usage: basic.py [NAME...]; without names, all checks run. Environment: DIRSTORAGE is the binary.
"""

import contextlib
import os
import signal
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
import ZEO.cache  # noqa: E402
import ZODB  # noqa: E402
import ZODB.blob  # noqa: E402
from BTrees.IOBTree import IOBTree  # noqa: E402
from BTrees.Length import Length  # noqa: E402
from BTrees.OOBTree import OOBTree  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from ZODB.POSException import (ConflictError, MultipleUndoErrors, POSKeyError, ReadOnlyError,  # noqa: E402
                               StorageError, UndoError)
from ZODB.utils import p64, u64  # noqa: E402

CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


def equal(got, want):
    assert got == want, "got %r, want %r" % (got, want)


@contextlib.contextmanager
def raises(*kinds):
    try:
        yield
    except kinds:
        return
    raise AssertionError("nothing was raised, want %s" % (kinds,))


@contextlib.contextmanager
def server(*args, home="home", **kw):
    s = dsserver.Server([("1", home)], args=args, **kw)
    try:
        yield s
    finally:
        s.stop()


class Client:
    """A database with one connection and a transaction manager of its own."""

    count = 0

    def __init__(self, s, **options):
        Client.count += 1
        options.setdefault("blob_dir", "blobs-%d" % Client.count)
        options.setdefault("server_sync", True)  # begin() sees what others have committed
        options.setdefault("wait_timeout", 20)
        options.setdefault("min_disconnect_poll", 0.1)
        self.db = ZEO.DB(s.address, **options)
        self.tm = transaction.TransactionManager(explicit=False)
        self.connection = self.db.open(self.tm)
        self.storage = self.db.storage

    @property
    def root(self):
        return self.connection.root()

    def commit(self, note=None):
        if note:
            self.tm.get().note(note)
        self.tm.commit()
        return self.storage.lastTransaction()

    def begin(self):
        self.tm.begin()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tm.abort()
        self.db.close()


def read(blob):
    with blob.open() as f:
        return f.read()


@check
def create_and_read():
    with server() as s, Client(s) as a:
        a.root["m"] = PersistentMapping({"x": 1, "text": "gr\u00fc\u00df dich", "big": b"z" * 3000000})
        first = a.commit("first")
        a.root["m"]["x"] = 2
        second = a.commit("second")
        assert first < second
        with Client(s) as b:
            equal(b.root["m"]["x"], 2)
            equal(b.root["m"]["text"], "gr\u00fc\u00df dich")
            equal(len(b.root["m"]["big"]), 3000000)
            equal(b.storage.lastTransaction(), second)
            oid = b.root["m"]._p_oid
            data, serial = b.storage.load(oid)
            equal(serial, second)
            old, serial, end = b.storage.loadBefore(oid, second)
            equal((serial, end), (first, second))
            equal(b.storage.loadSerial(oid, first), old)
            assert old != data
            equal(b.storage.loadBefore(oid, p64(1)), None)
            with raises(POSKeyError):
                b.storage.load(p64(123456789))
            before = b.db.open(before=second, transaction_manager=transaction.TransactionManager())
            equal(before.root()["m"]["x"], 1)
            before.close()
            assert len(b.storage) >= 2
            assert b.storage.getSize() > 0
            equal(b.storage.getTid(oid), second)


@check
def resolved_conflicts():
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["t"], a.root["n"] = OOBTree(), Length()
        a.commit()
        b.begin()
        for i in range(10):  # a bucket that is split is a conflict that cannot be resolved
            a.root["n"].change(5)
            b.root["n"].change(7)
            a.root["t"]["a%d" % i] = i
            b.root["t"]["b%d" % i] = -i
            a.commit()
            b.commit()
            a.begin()
            b.begin()
            equal(a.root["n"](), 12 * (i + 1))
            equal(b.root["n"](), 12 * (i + 1))
            equal(len(a.root["t"]), 2 * (i + 1))
            equal(sorted(a.root["t"]), sorted(b.root["t"]))
        with Client(s) as c:
            equal(c.root["n"](), 120)
            equal(len(c.root["t"]), 20)


@check
def unresolvable_conflict():
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["m"] = PersistentMapping(x=1)
        a.commit()
        b.begin()
        equal(b.root["m"]["x"], 1)
        a.root["m"]["x"] = 2
        current = a.commit()
        b.root["m"]["x"] = 3
        try:
            b.commit()
        except ConflictError as e:
            equal(e.oid, a.root["m"]._p_oid)
            equal(e.serials[0], current)
        else:
            raise AssertionError("no conflict")
        b.tm.abort()
        equal(b.root["m"]["x"], 2)
        b.root["m"]["x"] = 3
        b.commit()
        a.begin()
        equal(a.root["m"]["x"], 3)


@check
def read_current_conflict():
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["x"], a.root["y"] = PersistentMapping(v=1), PersistentMapping(v=1)
        a.commit()
        b.begin()
        equal(b.root["x"]["v"], 1)  # readCurrent does nothing for an object that is not loaded
        b.connection.readCurrent(b.root["x"])
        b.root["y"]["v"] = b.root["x"]["v"] + 1
        a.root["x"]["v"] = 2
        a.commit()
        with raises(ConflictError):
            b.commit()
        b.tm.abort()
        equal(b.root["x"]["v"], 2)
        b.connection.readCurrent(b.root["x"])
        b.root["y"]["v"] = b.root["x"]["v"] + 1
        b.commit()
        a.begin()
        equal(a.root["y"]["v"], 3)


def _blobs(s, options_a, options_b):
    content = b"0123456789" * 100000 + b"."
    with Client(s, **options_a) as a:
        a.root["b"] = ZODB.blob.Blob(content)
        a.root["empty"] = ZODB.blob.Blob(b"")
        first = a.commit()
        with Client(s, **options_b) as b:
            equal(read(b.root["b"]), content)
            equal(read(b.root["empty"]), b"")
            with a.root["b"].open("w") as f:
                f.write(b"changed")
            second = a.commit()
            b.begin()
            equal(read(b.root["b"]), b"changed")
            oid = b.root["b"]._p_oid
            with open(b.storage.loadBlob(oid, first), "rb") as f:
                equal(f.read(), content)
            with open(b.storage.loadBlob(oid, second), "rb") as f:
                equal(f.read(), b"changed")
            with raises(POSKeyError):
                b.storage.loadBlob(p64(999999), first)
            # A conflict of blobs cannot be resolved.
            with a.root["b"].open("w") as f:
                f.write(b"by a")
            with b.root["b"].open("w") as f:
                f.write(b"by b")
            a.commit()
            with raises(ConflictError):
                b.commit()
            b.tm.abort()
            equal(read(b.root["b"]), b"by a")
            # What is aborted leaves nothing.
            with b.root["b"].open("w") as f:
                f.write(b"never")
            b.tm.abort()
            equal(read(b.root["b"]), b"by a")
            # Undo brings the blob back too.
            a.db.undo(a.db.undoLog(0, 1)[0]["id"], a.tm.get())
            a.commit()
            a.begin()
            b.begin()
            equal(read(a.root["b"]), b"changed")
            equal(read(b.root["b"]), b"changed")


@check
def blobs_downloaded():
    with server() as s:
        _blobs(s, {}, {})


@check
def blobs_shared():
    with server("--blob-dir", os.path.abspath("shared")) as s:
        shared = dict(blob_dir="shared", shared_blob_dir=True)
        _blobs(s, shared, shared)


@check
def blobs_shared_and_downloaded():
    with server("--blob-dir", os.path.abspath("shared")) as s:
        shared = dict(blob_dir="shared", shared_blob_dir=True)
        _blobs(s, shared, {})
    with server("--blob-dir", os.path.abspath("shared")) as s:
        _blobs(s, {}, shared)


@check
def blob_while_the_server_stops():
    """SIGTERM comes in the middle of the download: what is cut off would spoil the client's next download."""
    content = b"0123456789" * 10_000_000
    with server("--drain-timeout", "60s") as s:
        with Client(s) as a:
            a.root["b"] = ZODB.blob.Blob(content)
            a.commit()
        with Client(s) as b:
            got = []
            t = threading.Thread(target=lambda: got.append(read(b.root["b"])))
            t.start()
            while not any(f.endswith(".dl") for _, _, files in os.walk(".") for f in files):
                assert t.is_alive(), "it was too fast to be stopped"
            s.process.send_signal(signal.SIGTERM)
            t.join()
            assert got == [content], "%s bytes" % [len(x) for x in got]


@check
def blobs_after_restart():
    with server() as s, Client(s) as a:
        a.root["b"] = ZODB.blob.Blob(b"kept")
        a.commit()
    with server() as s, Client(s) as a:
        equal(read(a.root["b"]), b"kept")


@check
def undo_history_iteration():
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["m"], a.root["o"] = PersistentMapping(x=1), PersistentMapping(y=1)
        tids = [a.commit("made")]
        for i in range(2, 6):
            a.root["m"]["x"] = i
            tids.append(a.commit("step %d" % i))
        log = a.db.undoLog(0, 3)
        equal([e["description"] for e in log], ["step 5", "step 4", "step 3"])
        equal(len(a.db.undoLog(0, 100)), len(tids) + 1)

        a.db.undo(log[0]["id"], a.tm.get())
        a.commit("undo")
        b.begin()
        equal(b.root["m"]["x"], 4)
        a.begin()
        equal(a.root["m"]["x"], 4)
        # What was changed later cannot be undone.
        a.db.undo(log[2]["id"], a.tm.get())
        with raises(UndoError, MultipleUndoErrors):
            a.commit()
        a.tm.abort()
        equal(a.root["m"]["x"], 4)

        oid = a.root["m"]._p_oid
        history = a.db.history(oid, 10)
        equal([e["tid"] for e in history[1:]], tids[::-1])
        equal(history[1]["description"], "step 5")
        equal(len(a.db.history(oid, 2)), 2)

        seen = [(t.tid, t.description, [r.oid for r in t]) for t in a.storage.iterator(tids[0], tids[-1])]
        equal([x[0] for x in seen], tids)
        equal([x[1] for x in seen[1:]], [b"step %d" % i for i in range(2, 6)])
        equal([x[2] for x in seen[1:]], [[oid]] * 4)
        equal(len(list(a.storage.iterator())), len(tids) + 2)

        found, following = {}, None
        while True:
            oid, tid, data, following = a.storage.record_iternext(following)
            found[oid] = (tid, data)
            if following is None:
                break
        assert {p64(0), a.root["m"]._p_oid, a.root["o"]._p_oid} <= set(found)
        for oid, (tid, data) in found.items():
            equal(a.storage.load(oid), (data, tid))


@check
def undo_of_what_was_changed_later():
    for announce in "pickle", "msgpack":
        home = "merged-" + announce
        with server("--announce", announce, home=home) as s, Client(s) as a, Client(s) as b:
            a.root["t"], a.root["n"], a.root["big"] = OOBTree({"x": 1, "y": 1}), Length(0), IOBTree({i: i for i in range(0, 3000, 2)})
            a.commit("made")
            undone = {}
            for i in range(1, 6):
                a.root["t"]["zk%d" % i] = i
                a.root["n"].change(10 ** i)
                a.root["big"][2 * i * 100 + 1] = -i
                a.commit("step %d" % i)
            a.root["t"]["x"] = 2
            a.commit("x is 2")
            a.root["t"]["x"] = 3
            a.commit("x is 3")
            for e in a.db.undoLog(0, 20):
                undone[e["description"]] = e["id"]
            b.begin()
            equal(b.root["n"](), 111110)

            def undo(*steps):
                a.db.undoMultiple([undone[x] for x in steps], a.tm.get())
                a.commit("undo")
                for c in a, b:
                    c.begin()

            undo("step 3")
            undo("step 5", "step 4", "step 1")  # two that follow each other, and one
            for c in a, b:
                equal(dict(c.root["t"]), {"x": 3, "y": 1, "zk2": 2})
                equal(c.root["n"](), 100)
                equal([k for k in c.root["big"] if k % 2], [401])
            # And the undo of an undo, with the change of another client that came between.
            b.root["n"].change(1)
            b.root["t"]["z"] = 1
            b.commit()
            a.begin()
            undone["the undo"] = a.db.undoLog(1, 2)[0]["id"]
            undo("the undo")
            for c in a, b:
                equal(c.root["n"](), 100 + 1 + 110010)
                equal(dict(c.root["t"]), {"x": 3, "y": 1, "z": 1, "zk1": 1, "zk2": 2, "zk4": 4, "zk5": 5})
            # What the class cannot merge is a conflict, and leaves nothing behind.
            with raises(ConflictError):
                undo("x is 2")
            a.tm.abort()
            b.root["t"]["x"] = 4
            b.commit("the locks are free")
            with Client(s) as c:  # with an empty cache
                equal(c.root["n"](), 110111)
                equal(c.root["t"]["x"], 4)
                c.root["t"]._check()
                c.root["big"]._check()
        with server("--undo-merge=false", home=home) as s, Client(s) as a:
            a.db.undo(undone["step 2"], a.tm.get())
            with raises(UndoError, MultipleUndoErrors):
                a.commit()
            a.tm.abort()


@check
def pack():
    dsserver.create("home", *dsserver.PACK_TO_NOW)
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["kept"], a.root["gone"] = PersistentMapping(x=1), PersistentMapping(inner=PersistentMapping())
        a.root["blob"], a.root["gone blob"] = ZODB.blob.Blob(b"kept"), ZODB.blob.Blob(b"gone")
        a.commit()
        kept, gone, inner = a.root["kept"]._p_oid, a.root["gone"]._p_oid, a.root["gone"]["inner"]._p_oid
        gone_blob, blob_tid = a.root["gone blob"]._p_oid, a.root["gone blob"]._p_serial
        for i in range(2, 6):
            a.root["kept"]["x"] = i
            a.commit()
        del a.root["gone"], a.root["gone blob"]
        last = a.commit()
        b.begin()
        b.storage.load(gone)
        equal(len(a.db.history(kept, 10)), 5)
        before = len(a.storage), a.storage.getSize()

        a.db.pack()
        a.storage.sync()
        b.storage.sync()
        with Client(s) as c:  # nobody is told to forget what nobody reaches
            for oid in gone, inner, gone_blob:
                with raises(POSKeyError):
                    c.storage.load(oid)
            with raises(POSKeyError):
                c.storage.loadBlob(gone_blob, blob_tid)
        equal(len(a.db.history(kept, 10)), 1)
        equal((len(b.storage), b.storage.getSize()), (len(a.storage), a.storage.getSize()))
        assert len(b.storage) == before[0] - 3 and b.storage.getSize() < before[1], "the size after the pack was not told"
        equal(a.storage.lastTransaction(), last)
        for c in a, b:
            c.begin()
            c.connection.cacheMinimize()
            equal((c.root["kept"]["x"], read(c.root["blob"])), (5, b"kept"))
            assert "gone" not in c.root

        # What a transaction refers to again, it may.
        a.root["new"] = PersistentMapping(x=1)
        a.commit()
        a.db.undo(a.db.undoLog(0, 1)[0]["id"], a.tm.get())
        a.commit()
        a.root["kept"]["x"] = 6
        a.commit()
        a.storage.pack(time.time() + 1000, wait=0)  # answered at once
        deadline = time.time() + 20
        while len(a.db.history(kept, 10)) > 1:
            assert time.time() < deadline, "it was not packed"
            time.sleep(0.01)
        for wrong in float("nan"), float("inf"), -1.0, 1e12:
            with raises(Exception):
                a.storage.pack(wrong)
        b.begin()
        equal(b.root["kept"]["x"], 6)
    with server() as s, Client(s) as a:
        equal((a.root["kept"]["x"], read(a.root["blob"])), (6, b"kept"))


@check
def pack_while_writing():
    dsserver.create("home", *dsserver.PACK_TO_NOW)
    with server() as s, Client(s) as a, Client(s) as b:
        a.root["n"], a.root["tree"] = PersistentMapping(n=0), OOBTree()
        a.commit()
        ended, errors = threading.Event(), []

        def write():
            try:
                while not ended.is_set():
                    a.root["n"]["n"] += 1
                    a.root["tree"][a.root["n"]["n"] % 50] = PersistentMapping(n=a.root["n"]["n"])
                    a.commit()
            except Exception:
                errors.append(traceback.format_exc())

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(20):
            b.storage.pack()
        ended.set()
        writer.join()
        equal(errors, [])
        b.begin()
        equal(b.root["n"]["n"], a.root["n"]["n"])
        for value in b.root["tree"].values():
            assert value["n"] > 0


@check
def pack_that_fails():
    dsserver.create("home", "--format", "flat", *dsserver.PACK_TO_NOW)
    with server() as s, Client(s) as a:
        a.root["m"], a.root["gone"] = PersistentMapping(x=1), PersistentMapping()
        first = a.commit()
        m, gone = a.root["m"]._p_oid, a.root["gone"]._p_oid
        del a.root["gone"]
        a.commit()
    with open("home/A/o%s.%s" % (m.hex().upper(), first.hex().upper()), "r+b") as f:
        f.write(b"damaged")
    with server() as s, Client(s) as a:
        for wait in 1, 0:
            try:
                a.storage.pack(wait=wait)
            except StorageError as e:
                assert m.hex() in str(e).lower(), e
                assert wait
            else:
                assert not wait
        a.storage.load(gone)
        equal(len(a.db.history(p64(0), 10)), 3)


@check
def read_only():
    with server() as s, Client(s) as a:
        a.root["m"] = PersistentMapping(x=1)
        a.commit()
        with Client(s, read_only=True) as b:
            equal(b.root["m"]["x"], 1)
            assert b.storage.isReadOnly()
            b.root["m"]["x"] = 2
            with raises(ReadOnlyError):
                b.commit()
            b.tm.abort()
            a.root["m"]["x"] = 3
            a.commit()
            b.begin()
            equal(b.root["m"]["x"], 3)
        with Client(s, read_only_fallback=True) as c:
            assert not c.storage.isReadOnly()
            c.root["m"]["x"] = 4
            c.commit()
    with server("--read-only") as s:
        with Client(s, read_only_fallback=True) as c:
            assert c.storage.isReadOnly()
            equal(c.root["m"]["x"], 4)
            c.root["m"]["x"] = 5
            with raises(ReadOnlyError):
                c.commit()
        with raises(Exception):  # a client that must write gets no connection
            Client(s, wait_timeout=1)


@check
def encodings():
    with server() as s, Client(s) as a:
        equal(a.storage.protocol_version, b"Z5")
        a.root["m"] = PersistentMapping(x=1)
        a.commit("by pickle")
    with server("--announce", "msgpack") as s, Client(s) as a, Client(s) as b:
        equal(a.storage.protocol_version, b"M5")
        equal(a.root["m"]["x"], 1)
        a.root["m"]["x"], a.root["n"] = 2, Length()
        a.root["blob"] = ZODB.blob.Blob(b"b" * 100000)
        a.commit("by msgpack")
        b.begin()
        a.root["n"].change(1)
        b.root["n"].change(2)
        a.commit()
        b.commit()
        a.begin()
        equal(a.root["n"](), 3)
        equal(read(b.root["blob"]), b"b" * 100000)
        a.db.undo(a.db.undoLog(0, 1)[0]["id"], a.tm.get())
        a.commit()
        a.begin()
        equal(a.root["n"](), 1)
        equal(len(list(a.storage.iterator())), 6)
        assert a.storage.history(a.root["m"]._p_oid, 2)
        with raises(POSKeyError):
            a.storage.load(p64(123456))


@check
def restart_and_verification():
    """A client whose server is restarted comes back, and keeps what it has in its cache."""
    port = dsserver.free_port()
    listen = "127.0.0.1:%d" % port
    options = dict(client="kept", var=".")
    with server(listen=listen) as s:
        a = Client(s, **options)
        for i in range(50):
            a.root[i] = PersistentMapping(v=i)
        last = a.commit()
        for i in range(50):
            equal(a.root[i]["v"], i)
    deadline = time.time() + 10
    while a.storage.is_connected():
        assert time.time() < deadline, "the client has not noticed"
        time.sleep(0.01)
    equal(a.root[3]["v"], 3)
    with server(listen=listen) as s:
        deadline = time.time() + 20
        while not a.storage.is_connected():
            assert time.time() < deadline, "the client has not come back"
            time.sleep(0.01)
        loads = a.storage.server_status()["loads"]
        a.begin()
        a.connection.cacheMinimize()
        for i in range(50):
            equal(a.root[i]["v"], i)
        equal(a.storage.lastTransaction(), last)
        equal(a.storage.server_status()["loads"], loads)
        with Client(s) as b:
            b.root[7]["v"] = -7
            b.commit()
        a.storage.sync()
        a.begin()
        equal(a.root[7]["v"], -7)
        a.db.close()
        with Client(s) as b:  # while a is away
            b.root[8]["v"] = -8
            b.commit()
        a = Client(s, **options)
        loads = a.storage.server_status()["loads"]
        values = [a.root[i]["v"] for i in range(50)]
        equal(values, [-i if i in (7, 8) else i for i in range(50)])
        new = a.storage.server_status()["loads"] - loads
        assert new <= 2, "%d loads though the cache was kept" % new
        a.db.close()


@check
def caches_far_behind():
    """A client that missed more than the queue has verifies against the server, and sees nothing old."""
    options = dict(client="behind", var=".")
    with server("--invalidation-queue-size", "5") as s:
        with Client(s, **options) as a:
            for i in range(20):
                a.root[i] = PersistentMapping(v=0)
            a.commit()
            equal([a.root[i]["v"] for i in range(20)], [0] * 20)
        with Client(s) as b:
            for i in range(20):
                b.root[i]["v"] = 1
                b.commit()
        with Client(s, **options) as a:
            equal([a.root[i]["v"] for i in range(20)], [1] * 20)


@check
def wrong_entry_in_a_cache():
    """An entry that is wrong goes when a commit with it fails; a tid of nowhere makes the whole cache go."""
    for own in True, False:
        name = "wrong-%s" % own
        with server(home=name) as s:
            with Client(s) as writer:
                writer.root["x"] = PersistentMapping()
                writer.commit()
                with Client(s, client=name) as reader:
                    equal(dict(reader.root["x"]), {})
                writer.root["x"]["x"] = 1
                writer.commit()
                changed = u64(writer.root["x"]._p_serial)
                writer.root["y"] = 1
                writer.commit()
                later = u64(writer.root._p_serial)
                # Both are later than the change that the cache has missed.
                cache = ZEO.cache.ClientCache("%s-1.zec" % name)
                cache.setLastTid(p64(later if own else changed + 1))
                cache.close()
                writer.root["y"] = 2
                writer.commit()
                with Client(s, client=name) as reader:
                    equal(reader.root["y"], 2)
                    if own:
                        equal(dict(reader.root["x"]), {})
                        reader.root["x"]["y"] = 1
                        with raises(ConflictError):
                            reader.commit()
                        reader.tm.abort()
                    equal(dict(reader.root["x"]), {"x": 1})
                    reader.root["x"]["y"] = 1
                    reader.commit()
                    equal(dict(reader.root["x"]), {"x": 1, "y": 1})


@check
def timeout_of_a_voted_transaction():
    from ZODB.Connection import TransactionMetaData
    from ZEO.Exceptions import ClientDisconnected
    with server("--transaction-timeout", "1s") as s, Client(s) as b:
        b.root["m"] = PersistentMapping(x=0)
        b.commit()
        a = ZEO.client(s.address, wait_timeout=20)
        t = TransactionMetaData()
        a.tpc_begin(t)
        data, serial = a.load(b.root["m"]._p_oid)
        a.store(b.root["m"]._p_oid, serial, data, "", t)
        a.tpc_vote(t)
        b.root["m"]["x"] = 1
        b.commit()  # waits until the other one is thrown out
        with raises(ClientDisconnected, StorageError):
            a.tpc_finish(t)
        a.tpc_abort(t)
        a.close()
        b.begin()
        equal(b.root["m"]["x"], 1)


WRITERS, STEPS = 16, 10


def increment(address):
    """Body of a process: increment one counter, the conflict of which is resolved, and one of which it is not."""
    with Client(type("S", (), dict(address=address)), blob_dir=None) as c:
        for _ in range(STEPS):
            while True:
                c.begin()
                c.root["length"].change(1)
                c.root["plain"]["n"] += 1
                try:
                    c.commit()
                    break
                except ConflictError:
                    c.tm.abort()
            c.begin()
            c.root["resolved"].change(1)
            c.commit()


def _counted(start, address, s):
    with Client(s) as a:
        a.root["length"], a.root["resolved"], a.root["plain"] = Length(), Length(), PersistentMapping(n=0)
        a.commit()
        start(address)
        a.storage.sync()
        a.begin()
        equal(a.root["plain"]["n"], WRITERS * STEPS)
        equal(a.root["length"](), WRITERS * STEPS)
        equal(a.root["resolved"](), WRITERS * STEPS)
    with Client(s) as a:
        equal(a.root["plain"]["n"], WRITERS * STEPS)
        equal(a.root["resolved"](), WRITERS * STEPS)


@check
def many_threads():
    errors = []

    def one(address):
        try:
            increment(address)
        except BaseException:
            errors.append(traceback.format_exc())

    def run(address):
        threads = [threading.Thread(target=one, args=(address,)) for _ in range(WRITERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(300)
        equal(errors, [])
        assert not any(t.is_alive() for t in threads), "threads hang"

    with server() as s:
        _counted(run, s.address, s)


@check
def many_processes():
    def run(address):
        me = [sys.executable, os.path.abspath(__file__), "--increment", str(address[1])]
        processes = [subprocess.Popen(me, stderr=subprocess.PIPE) for _ in range(WRITERS)]
        for p in processes:
            _, err = p.communicate(timeout=300)
            assert p.returncode == 0, err.decode()

    with server() as s:
        _counted(run, s.address, s)


def main():
    if sys.argv[1:2] == ["--increment"]:
        increment(("127.0.0.1", int(sys.argv[2])))
        return
    names, failed = sys.argv[1:], []
    for f in CHECKS:
        if names and f.__name__ not in names:
            continue
        work = tempfile.mkdtemp("interop")
        os.chdir(work)
        began = time.monotonic()
        try:
            f()
            verdict = "pass"
        except Exception:
            traceback.print_exc()
            failed.append(f.__name__)
            verdict = "fail"
        transaction.abort()
        os.chdir("/")
        dsserver.remove(work)
        print("%s\t%s\t%.2f" % (verdict, f.__name__, time.monotonic() - began), flush=True)
    print("end\t%d" % len(CHECKS), flush=True)
    sys.stderr.flush()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
