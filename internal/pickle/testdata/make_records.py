"""Writes records.json: ZODB data records made by Python's own pickle module.

Run with Python 3 in this directory: python3 make_records.py > records.json
Only the standard library is needed. The Python 2 records are put together by
hand, opcode by opcode, as cPickle of Python 2 writes them.
"""
import datetime
import fractions
import io
import json
import pickle
import zlib


class Ref:
    """Stands for a persistent object; pid is what persistent_id returns."""

    def __init__(self, pid):
        self.pid = pid


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Ref) else None


def oid(n):
    return n.to_bytes(8, "big")


def record(protocol, meta, state):
    out = io.BytesIO()
    p = Pickler(out, protocol)
    p.dump(meta)
    p.dump(state)
    return out.getvalue()


Class = fractions.Fraction  # any class that can be imported
LATIN = b"\x00\xff\xfe\x80\x7f\n'\\"


def state():
    shared = oid(7)
    pair = (shared, Class)
    return {
        "plain": Ref(oid(1)),
        "with class": Ref((oid(2), Class)),
        "with old class": Ref((oid(3), ("old.module", "Old"))),
        "with arguments": Ref((oid(4), (Class, (1, 2)))),
        "other db": Ref(["m", ("other", oid(5), Class)]),
        "other db, no class": Ref(["n", ("other", oid(6))]),
        "weak": Ref(["w", (shared,)]),
        "weak, other db": Ref(["w", (oid(8), "other")]),
        "old weak": Ref([oid(9)]),
        "memo": [Ref(pair), Ref(pair), Ref((shared, Class))],
        "latin": Ref(LATIN),
        "when": datetime.datetime(2024, 3, 1, 10, 0, 5, 500000),
        "day": datetime.date(2024, 3, 1),
        "numbers": [0, 1, 255, 256, -1, 65536, 2**31, -(2**40), 2**70, 1.5, -1e300, True, False, None],
        "text": "snow \u2603 \U0001f600 'quoted' \\ \n",
        "bytes": bytes(range(256)),
        "set": {3},
        "frozen": frozenset([4]),
        "array": bytearray(b"abc"),
        "nested": {"a": {"b": [(), (1,), [[]]]}},
        "exception": ValueError("reduced", 1),
        "many": list(range(1001)),
    }


ALL = [(1, "", "", 0), (2, "", "fractions.Fraction", 0), (3, "", "old.module.Old", 0), (4, "", "fractions.Fraction", 0),
       (5, "other", "fractions.Fraction", 0), (6, "other", "", 0), (7, "", "", 1), (8, "other", "", 1), (9, "", "", 1),
       (7, "", "fractions.Fraction", 0), (7, "", "fractions.Fraction", 0), (7, "", "fractions.Fraction", 0),
       (int.from_bytes(LATIN, "big"), "", "", 0)]


def refs(rows):
    return [{"oid": "%016X" % o, "database": d, "class": c, "weak": bool(w)} for o, d, c, w in rows]


def main():
    rows = []

    def add(name, data, cls, found=()):
        rows.append({"name": name, "hex": data.hex(), "class": cls, "refs": refs(found)})

    name = Class.__module__ + "." + Class.__name__
    for protocol in range(1, 6):
        data = record(protocol, Class, state())
        add("protocol %d" % protocol, data, name, ALL)
        add("protocol %d, arguments" % protocol, record(protocol, (Class, (1, "x")), [Ref(oid(1))]), name, ALL[:1])
        add("protocol %d, old class" % protocol, record(protocol, (("a.b", "C"), None), None), "a.b.C")
        add("protocol %d, pair of names" % protocol, record(protocol, ("a.b", "C"), None), "a.b.C")
        if protocol == 3:
            add("zlib", b".z" + zlib.compress(data), name, ALL)
    add("protocol 0", record(0, Class, {"a": Ref("\x00\x00\x00\x00\x00\x00\x00\x05"), "b": ["é☃", 1.5, 2**70, -3, True, None]}),
        name, [(5, "", "", 0)])

    string = lambda b: b"U" + bytes([len(b)]) + b
    head = b"cpersistent.mapping\nPersistentMapping\nq\x01."
    python2 = [
        ("plain", string(oid(1)) + b"q\x02Q", (1, "", "", 0)),
        ("class", b"(" + string(oid(2)) + b"q\x02h\x01tq\x03Q", (2, "", "persistent.mapping.PersistentMapping", 0)),
        ("protocol 2 class", string(oid(2)) + b"q\x02h\x01\x86q\x03Q", (2, "", "persistent.mapping.PersistentMapping", 0)),
        ("weak", b"]q\x02(U\x01w(" + string(oid(3)) + b"teQ", (3, "", "", 1)),
        ("weak by append", b"]q\x02U\x01wa" + string(oid(3)) + b"\x85aQ", (3, "", "", 1)),
        ("old weak", b"]q\x02" + string(oid(3)) + b"aQ", (3, "", "", 1)),
        ("database", b"(U\x01mU\x02db" + string(oid(4)) + b"h\x01\x87lQ", (4, "db", "persistent.mapping.PersistentMapping", 0)),
        ("long string", b"T\x08\0\0\0" + oid(5) + b"Q", (5, "", "", 0)),
        ("quoted string", b"S'\\x00\\000\\0\\0\\0\\0\\n\\t'\nQ", (0x0A09, "", "", 0)),
        ("text", b"X\x08\0\0\0" + oid(6) + b"Q", (6, "", "", 0)),
    ]
    for title, code, found in python2:
        add("Python 2, " + title, head + b"}(U\x01a" + code + b"u.", "persistent.mapping.PersistentMapping", [found])
    add("newobj call", b"ccopy_reg\n__newobj__\n(ca.b\nC\nt\x86.N.", "a.b.C")
    add("reconstructor call", b"ccopy_reg\n_reconstructor\n(ca.b\nC\nc__builtin__\nobject\nNtR.N.", "a.b.C")
    add("reconstructor pair", b"ccopy_reg\n_reconstructor\n(ca.b\nC\nc__builtin__\nobject\nNt\x86.N.", "a.b.C")
    add("newobj opcode in class", b"ccopy_reg\n__newobj__\nca.b\nC\n\x85R.N.", "a.b.C")
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


main()
