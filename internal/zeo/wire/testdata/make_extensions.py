"""Writes extensions.json: pickled dicts as transactions' extensions are stored.

    python3 make_extensions.py > extensions.json

Each entry: name, protocol, hex, and want, which is the repr of what can be read
of it. The entries of Python 2 are typed in below: they are what Python 2.7's
cPickle and pickle write for the dicts in the comments.
"""
import collections
import datetime
import decimal
import json
import pickle

shared = ["same"]

DICTS = {
    "empty": {},
    "simple": {"user": "joe", "n": 1, "none": None, "t": True, "f": False},
    "numbers": {"a": 0, "b": 255, "c": 256, "d": 65536, "e": -1, "f": 2**31, "g": -2**31 - 1,
                "h": 2**63 - 1, "i": 2**63, "j": -2**63, "k": -2**63 - 1, "l": 2**2100, "m": 1.5, "n": -0.0, "o": 1e300},
    "text": {"ascii": "abc", "latin": "\u00e9\u00ff", "wide": "\u20ac", "astral": "\U0001f600",
             "lines": "a\nb\\u0041\x1a\0", "long": "x" * 300, "": ""},
    "bytes": {"empty": b"", "some": b"\x00\xff'\"\\\n", "long": bytes(range(256)), b"key": 1},
    "bytearray": {"empty": bytearray(), "some": bytearray(b"\x00\xff"), "long": bytearray(300)},
    "containers": {"list": [1, [2, []]], "tuple": (1, (2, ()), (1, 2, 3), (1, 2, 3, 4)), "dict": {"a": {"b": {}}},
                   "long": list(range(1003)), 3: 4, (1, "x"): None, None: 1.5},
    "sets": {"set": {1}, "frozen": frozenset(["a"]), "empty": set(), "emptyfrozen": frozenset(),
             frozenset([1]): "key"},
    "complex": {"c": 1.5 - 2j},
    "shared": {"a": shared, "b": shared, "c": (shared, shared)},
    "objects": {"keep": 1, "date": datetime.datetime(2020, 1, 2), "list": [decimal.Decimal("1.5")],
                "od": collections.OrderedDict(a=1), "class": dict, "function": len, "keep2": "2", datetime.date(2020, 1, 2): 3},
    "many": {"k%d" % i: i for i in range(1002)},
}

PYTHON2 = [
    # {'user': 'joe', 'raw': '\xff\x00\n', u'u': u'\xe9\u20ac\U0001f600', 'n': 1, 'l': 2L**70, 't': True, 'f': 1.5}
    (0, r"""(dp0
S'user'
p1
S'joe'
p2
sS'raw'
p3
S'\xff\x00\n'
p4
sVu
p5
V{e9}\u20ac\ud83d\ude00
p6
sS'n'
p7
I1
sS'l'
p8
L1180591620717411303424L
sS't'
p9
I01
sS'f'
p10
F1.5
s.""", {"user": "joe", "raw": b"\xff\0\n", "u": "\xe9\u20ac\U0001f600", "n": 1, "l": 2**70, "t": True, "f": 1.5}),
    # the same keys, cPickle, which counts from 1
    (0, "(dp1\nS'user'\np2\nS\"jo'e\"\np3\ns.", {"user": "jo'e"}),
    # {'user': 'joe', 'set': set(['a']), 'time': <instance of an old-style class>}
    (1, "}q\x01(U\x04userq\x02U\x03joeq\x03U\x04timeq\x04(imodule\nOld\nq\x05}q\x06U\x01aq\x07K\x01sbu.", {"user": "joe"}),
    (1, "}q\x01(U\x04userq\x02U\x03joeq\x03U\x04timeq\x04(cmodule\nOld\nq\x05oq\x06}bu.", {"user": "joe"}),
    (2, "\x80\x02}q\x01(U\x04userq\x02U\x03joeq\x03U\x03setq\x04c__builtin__\nset\nq\x05]q\x06U\x01aq\x07a\x85q\x08Rq\x09u.",
     {"user": "joe", "set": {"a"}}),
    (2, "\x80\x02}q\x01(U\x01rT\x03\x00\x00\x00\xff\xfe\xfdU\x01tT\x02\x00\x00\x00\xc3\xa9u.", {"r": b"\xff\xfe\xfd", "t": "\xe9"}),
    # an object and a persistent reference
    (2, "\x80\x02}q\x01(U\x01ac__main__\nObj\nq\x02)\x81q\x03}q\x04U\x01xK\x01sbU\x01bU\x03oidQU\x01cK\x01u.", {"c": 1}),
]


def entry(name, protocol, data, want):
    return {"name": name, "protocol": protocol, "hex": data.hex(), "want": describe(want)}


def describe(v):
    """A text that the Go test makes of its values, too."""
    if isinstance(v, (bytes, bytearray)):
        return "b:" + bytes(v).hex()
    if isinstance(v, str):
        return "t:" + v.encode("utf-8", "surrogatepass").hex()
    if isinstance(v, (bool, int, type(None))):
        return str(v)
    if isinstance(v, float):
        return "f:" + v.hex() if v != 0 else "f:0"
    if isinstance(v, complex):
        return "c:%s,%s" % (describe(v.real), describe(v.imag))
    if isinstance(v, tuple):
        return "(" + " ".join(map(describe, v)) + ")"
    if isinstance(v, list):
        return "[" + " ".join(map(describe, v)) + "]"
    if isinstance(v, dict):
        return "{" + " ".join(describe(k) + "=" + describe(x) for k, x in v.items()) + "}"
    if isinstance(v, set):
        return "set[" + " ".join(map(describe, v)) + "]"
    if isinstance(v, frozenset):
        return "frozenset[" + " ".join(map(describe, v)) + "]"
    raise TypeError(v)


def main():
    out = []
    for name, d in DICTS.items():
        want = d
        if name == "objects":
            want = {"keep": 1, "keep2": "2"}
        for protocol in range(6):
            out.append(entry(name, protocol, pickle.dumps(d, protocol), want))
    for i, (protocol, text, want) in enumerate(PYTHON2):
        data = text.replace("{e9}", "\xe9").encode("latin-1")
        out.append(entry("python 2, %d" % (i + 1), protocol, data, want))
    print("[\n" + ",\n".join(json.dumps(e) for e in out) + "\n]")


main()
