"""Check that copies between FileStorages, Python servers and the Go server of this repository lose nothing.

Usage: copies.py [NAME...]; without names, all checks run. Environment: DIRSTORAGE is the binary.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import dsserver  # noqa: E402
import transaction  # noqa: E402
import ZEO  # noqa: E402
import ZODB  # noqa: E402
from basic import equal, raises, server  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from ZEO.ClientStorage import ClientStorage  # noqa: E402
from ZODB.blob import Blob, is_blob_record  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402
from ZODB.POSException import POSKeyError  # noqa: E402
from ZEO.Exceptions import ServerException  # noqa: E402
from ZODB.utils import u64  # noqa: E402

_version = importlib.metadata.version


def version(name):
    """Python's server asks for that of zdaemon, which is not there if it runs from its sources."""
    try:
        return _version(name)
    except importlib.metadata.PackageNotFoundError:
        return "0"


importlib.metadata.version = version


def call(*args):
    subprocess.run([dsserver.BINARY, *args], check=True, stdout=subprocess.DEVNULL)


def show(storage):
    """Everything that an iteration tells, comparable over kinds of storages."""
    return [(t.tid, t.status, t.user, t.description,
             [(u64(r.oid), r.tid, r.data, r.data_txn) for r in t]) for t in storage.iterator()]


def undoable(db):
    return [(e["id"], e["description"]) for e in db.undoLog(0, 100)]


def change(db, note, f):
    tm = transaction.TransactionManager(explicit=False)
    c = db.open(tm)
    f(c.root())
    tm.get().note(note)
    tm.commit()
    c.close()


def undo(db, id):
    tm = transaction.TransactionManager(explicit=False)
    try:
        db.undo(id, tm.get())
        tm.commit()
    finally:
        tm.abort()


def history(db):
    """A root, an object with revisions, an undo and an undone undo, a creation that is undone."""
    def first(root):
        root["a"] = PersistentMapping(x=0)
    change(db, "first", first)
    for i in range(1, 4):
        change(db, "x=%d" % i, lambda root: root["a"].update(x=i))
    undo(db, db.undoLog(0, 1)[0]["id"])
    undo(db, db.undoLog(0, 1)[0]["id"])

    def second(root):
        root["b"] = PersistentMapping(y="z" * 100)
    change(db, "second", second)
    undo(db, db.undoLog(0, 1)[0]["id"])


def made(path, pack=False):
    """A Data.fs, with a transaction that has no records at its end."""
    db = ZODB.DB(FileStorage(path))
    history(db)
    if pack:
        time.sleep(0.01)
        db.pack(time.time())
    change(db, "later", lambda root: root.update(n=1))
    change(db, "last", lambda root: root["a"].update(x=99))
    undo(db, db.undoLog(0, 1)[0]["id"])
    storage = db.storage
    t = ZODB.Connection.TransactionMetaData(b"somebody", b"empty")
    storage.tpc_begin(t)
    storage.tpc_vote(t)
    storage.tpc_finish(t)
    db.close()
    return FileStorage(path, read_only=True)


def copies_twice(pack):
    source = made("source.fs", pack)
    want = show(source)
    assert any(r[3] for t in want for r in t[4]), "the source has no back pointers"
    equal({t[1] for t in want}, {" ", "p"} if pack else {" "})
    assert not want[-1][4], "the source has no empty transaction"
    before = source
    for i in range(2):
        with server(home="home%d" % i) as s:
            c = ClientStorage(s.address, wait_timeout=20)
            c.copyTransactionsFrom(before)
            equal(show(c), want)
            address, stop = ZEO.server("python%d.fs" % i)
            p = ClientStorage(address, wait_timeout=20)
            p.copyTransactionsFrom(c)
            equal(show(p), want)
            p.close()
            stop()
            f = FileStorage("file%d.fs" % i, create=True)
            f.copyTransactionsFrom(c)
            f.close()
            c.close()
        before.close()
        before = FileStorage("file%d.fs" % i, read_only=True)
        equal(show(before), want)
        call("export", "home%d" % i, "export%d.fs" % i)
        with open("export%d.fs" % i, "rb") as a, open("file%d.fs" % i, "rb") as b:
            assert a.read() == b.read(), "the export is not the file that Python writes"
    before.close()


def copies_of_what_was_not_packed():
    copies_twice(False)


def copies_of_what_was_packed():
    copies_twice(True)


def packed_file_stays_packed():
    """Undo of what FileStorage packed would take the root away."""
    db = ZODB.DB(FileStorage("Data.fs"))
    history(db)
    ids = [id for id, _ in undoable(db)]
    db.pack(time.time() + 1)
    equal(undoable(db), [])
    db.close()
    call("import", "Data.fs", "home")
    with server() as s:
        db = ZEO.DB(s.address, wait_timeout=20)
        begun = [text for _, text in undoable(db)]  # with which the history of what was imported begins
        equal((len(begun), "here begins the history" in begun[0]), (1, True))
        for id in ids:
            with raises(ServerException):  # as of a Python server
                undo(db, id)
        c = db.open()
        equal(c.root()["a"]["x"], 3)
        c.close()
        db.close()
    call("check", "home")
    call("export", "home", "again.fs")
    with open("Data.fs", "rb") as a, open("again.fs", "rb") as b:
        assert b.read().startswith(a.read()), "the export is another file"
    for name, n in ("Data.fs", 0), ("again.fs", 1):
        f = FileStorage(name, read_only=True)
        equal([len(list(t)) for t in f.iterator() if t.description.startswith(b"DirectoryStorage")], [0] * n)
        f.close()


def packed_home_is_exported_packed():
    """FileStorage offers to undo what the server offers."""
    dsserver.create("home", *dsserver.PACK_TO_NOW)
    with server() as s:
        db = ZEO.DB(s.address, wait_timeout=20)
        history(db)
        for i in range(3):
            change(db, "root %d" % i, lambda root: root.update(n=i))
        db.pack(time.time())
        change(db, "after 1", lambda root: root.update(n=5))
        change(db, "after 2", lambda root: root["a"].update(x=7))
        offered = [(id.strip(), text) for id, text in undoable(db)]
        whole = show(db.storage)
        db.close()
    equal([text for _, text in offered], ["after 2", "after 1"])
    call("export", "home", "Data.fs")
    db = ZODB.DB(FileStorage("Data.fs"))
    equal([(id.strip(), text) for id, text in undoable(db)], offered)
    equal(show(db.storage), whole)
    undo(db, undoable(db)[0][0])
    c = db.open()
    equal((c.root()["a"]["x"], c.root()["n"]), (3, 5))
    c.close()
    db.close()


def copy_after_undo_and_pack():
    """A record of an undo whose source was packed away names nothing, as in a FileStorage."""
    dsserver.create("home", *dsserver.PACK_TO_NOW)
    with server() as s:
        db = ZEO.DB(s.address, wait_timeout=20)
        history(db)
        db.pack(time.time())
        want = show(db.storage)
        f = FileStorage("copy.fs", create=True)
        f.copyTransactionsFrom(db.storage)
        equal(show(f), want)
        f.close()
        address, stop = ZEO.server("python.fs")
        p = ClientStorage(address, wait_timeout=20)
        p.copyTransactionsFrom(db.storage)
        equal(show(p), want)
        p.close()
        stop()
        db.close()


def blobs_of(storage):
    """The content of the blob of each revision that has one."""
    found = {}
    for t in storage.iterator():
        for r in t:
            if r.data and is_blob_record(r.data):
                with open(storage.loadBlob(r.oid, r.tid), "rb") as f:
                    found[u64(r.oid), r.tid] = f.read()
    return found


def copies_with_blobs_and_deletions():
    source = FileStorage("source.fs", blob_dir="source.blobs")
    db = ZODB.DB(source)
    history(db)

    def first(root):
        root["blob"] = Blob(b"first " * 1000)
        root["other"] = Blob(b"other")
    change(db, "blobs", first)

    def second(root):
        with root["blob"].open("w") as f:
            f.write(b"second")
    change(db, "second", second)
    undo(db, db.undoLog(0, 1)[0]["id"])

    gone = {}

    def drop(root):
        gone["blob"], gone["a"] = root.pop("other"), root.pop("a")
    change(db, "dropped", drop)
    # What a garbage collector from outside does.
    t = ZODB.Connection.TransactionMetaData(b"gc", b"deleted")
    source.tpc_begin(t)
    for ob in gone.values():
        source.deleteObject(ob._p_oid, source.load(ob._p_oid, "")[1], t)
    source.tpc_vote(t)
    source.tpc_finish(t)
    change(db, "later", lambda root: root.update(n=1))
    want, blobs = show(source), blobs_of(source)
    equal(len([r for t in want for r in t[4] if r[2] is None]), 3)  # and one of the undone creation
    equal(sorted(len(b) for b in blobs.values()), [5, 6, 6000, 6000])
    source.close()
    for i in range(2):
        call("import", "--blobs", "source.blobs", "source.fs", "home%d" % i)
        # Shared by client and server, or sent.
        args = ["--blob-dir", os.path.abspath("shared")] if i else []
        options = {"blob_dir": "shared", "shared_blob_dir": True} if i else {"blob_dir": "client"}
        with server(*args, home="home%d" % i) as s:
            c = ClientStorage(s.address, wait_timeout=20, **options)
            got = show(c)
            assert b"here begins the history" in got[-1][3], got[-1]
            equal((got[:-1], blobs_of(c)), (want, blobs))
            for ob in gone.values():
                with raises(POSKeyError):
                    c.load(ob._p_oid)
            f = FileStorage("file%d.fs" % i, blob_dir="file%d.blobs" % i, create=True)
            f.copyTransactionsFrom(c)
            equal((show(f)[:-1], blobs_of(f)), (want, blobs))
            f.close()
            # Python's client copies no blobs into a server, of either kind.
            with server(home="bare%d" % i) as bare:
                b = ClientStorage(bare.address, blob_dir="bare.client", wait_timeout=20)
                b.copyTransactionsFrom(c)
                equal(show(b), got)
                b.close()
            c.close()
        address, stop = ZEO.server("file%d.fs" % i, "file%d.blobs" % i)
        call("import", "zeo://%s:%d" % address, "imported%d" % i)
        stop()
        for home in "home%d" % i, "imported%d" % i:
            call("check", home)
            call("export", "--blobs", "out.blobs", home, "out.fs")
            f = FileStorage("out.fs", blob_dir="out.blobs", read_only=True)
            equal((show(f)[:len(want)], blobs_of(f)), (want, blobs))
            f.close()
            dsserver.remove("out.fs", "out.blobs", "out.fs.index")


CHECKS = [copies_with_blobs_and_deletions, copies_of_what_was_not_packed, copies_of_what_was_packed,
          packed_file_stays_packed, packed_home_is_exported_packed, copy_after_undo_and_pack]


def main():
    names, failed = sys.argv[1:], False
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
            verdict, failed = "fail", True
        transaction.abort()
        os.chdir("/")
        dsserver.remove(work)
        print("%s\t%s\t%.2f" % (verdict, f.__name__, time.monotonic() - began), flush=True)
    print("end\t%d" % len(CHECKS), flush=True)
    sys.stderr.flush()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
