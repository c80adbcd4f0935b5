"""Run ZEO's own tests against the Go server of this repository.

Usage: zeosuite.py [--level N] [--list] OUTPUT GROUP [PATTERN]

GROUP is a module of ZEO.tests, or module:Class, or module:doctests. PATTERN, a regular
expression, is searched in the names of the tests. Each test is a line in OUTPUT:
"pass", "fail" or "skip", the name, and the time in seconds, separated by tabs.

ZEO starts its servers through one function. It is replaced here.
"""

import argparse
import doctest
import importlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import time
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import dsserver  # noqa: E402
import ZEO._forker  # noqa: E402
import ZEO.StorageServer  # noqa: E402
import ZODB.event  # noqa: E402

# Kinds of storages of the configuration in whose place a HOME can be served.
SERVED = {"filestorage", "mappingstorage", "blobstorage", "loaddelayed_storage"}


class Unserved(unittest.SkipTest):
    """The configuration asks for a storage that exists only in Python."""


def sections(text):
    """Yield (depth, kind, name, settings) of a configuration in the format of ZConfig."""
    stack, found = [], []
    for line in text.splitlines():
        line = line.strip()
        empty = re.fullmatch(r"<(\w+)\s*([^>/]*?)\s*/>", line)
        opened = re.fullmatch(r"<(\w+)\s*([^>/]*?)\s*>", line)
        if empty:
            found.append((len(stack), empty[1], empty[2], {}))
        elif opened:
            settings = {}
            found.append((len(stack), opened[1], opened[2], settings))
            stack.append(settings)
        elif line.startswith("</"):
            stack.pop()
        elif line and stack and line[0] not in "#%":
            key, _, value = line.partition(" ")
            stack[-1][key] = value.strip()
    return found


def storages_of(text):
    """Return the storages, as (name, HOME, create), and the directory of blobs."""
    found, blobs = [], None
    for depth, kind, name, settings in sections(text):
        if kind not in SERVED:
            raise Unserved("<%s> exists only in Python" % kind)
        blobs = settings.get("blob-dir", blobs)
        if depth == 0:
            found.append([name or "1", None, False])
        if "path" in settings:
            found[-1][1] = os.path.abspath(settings["path"]) + ".home"
        if settings.get("create") in ("yes", "true", "on"):
            found[-1][2] = True
        if settings.get("read-only") in ("yes", "true", "on"):
            found[-1].append("read-only")
        if settings.get("pack-gc") in ("no", "false", "off"):
            found[-1].append("no pack-gc")
    for s in found:
        if s[1] is None:
            s[1] = tempfile.mkdtemp(".memory") + "/home"
            s[2] = True
    return found, blobs


def start_zeo_server(storage_conf=None, zeo_conf=None, port=None, keep=False, path="Data.fs", protocol=None,
                     blob_dir=None, suicide=True, debug=False, threaded=False, start_timeout=33, name=None,
                     log=None, show_config=False):
    """Stand in for the function of the same name; returns the address and a function that stops the server."""
    if "<zeoclient>" in (storage_conf or ""):  # a Python server that is a client of ours
        return start_python_server(storage_conf, zeo_conf, port, keep)
    if protocol:  # a test of the client alone: what it makes of a server that is too old
        return start_python_server(storage_conf, zeo_conf, port, keep, protocol=protocol)
    if not storage_conf:
        storage_conf = "<filestorage>\npath %s\n</filestorage>" % path
    if blob_dir:
        storage_conf = "<blobstorage>\nblob-dir %s\n%s\n</blobstorage>" % (blob_dir, storage_conf)
    if zeo_conf is None or isinstance(zeo_conf, dict):
        address = port if isinstance(port, (str, tuple)) else ("127.0.0.1", port or 0)
        conf = ZEO._forker.ZEOConfig(address, log=log)
        for key, value in (zeo_conf or {}).items():
            setattr(conf, key, value)
        zeo_conf = conf
    zeo_conf = str(zeo_conf)

    listen, logpath, env = "", None, {}
    for _, kind, _, settings in sections(zeo_conf):
        if kind == "zeo":
            listen = settings["address"].replace(": ", ":")
        if kind == "logfile":
            logpath = settings["path"]
        if "password-function" in settings:  # the password comes from where a server finds it that is not in Python
            module, _, function = settings["password-function"].rpartition(".")
            env["DIRSTORAGE_TLS_KEY_PASSWORD"] = getattr(importlib.import_module(module), function)()
            zeo_conf = re.sub(r"(?m)^\s*password-function .*\n", "", zeo_conf)
    if listen.isdigit():
        listen = "127.0.0.1:" + listen
    served, blobs = storages_of(storage_conf)
    for s in served:
        if s[2]:
            dsserver.remove(s[1])
        dsserver.create(s[1], *dsserver.AS_FILESTORAGE)
    fd, conf_path = tempfile.mkstemp(".conf", "zeo-")
    with os.fdopen(fd, "w") as f:
        f.write(zeo_conf)
        for s in served:  # the rest of a storage is told by flags
            f.write("\n<filestorage %s>\npath unused\n" % s[0])
            if "read-only" in s:
                f.write("read-only true\n")
            if "no pack-gc" in s:
                f.write("pack-gc false\n")
            f.write("</filestorage>\n")
    # The class whose undo is merged in ZODB's tests; its subclasses are those that cannot be.
    args = ["--zeo-conf", conf_path, "--undo-merge-classes", "ZODB.tests.ConflictResolution.PCounter"]
    if blobs:
        args += ["--blob-dir", os.path.abspath(blobs)]
    server = dsserver.Server([s[:2] for s in served], listen=listen, log=logpath, args=args, env=env)
    # What a server in this process would tell whoever waits for it.
    told = types.SimpleNamespace(addr=port if isinstance(port, tuple) else server.address)
    ZODB.event.notify(ZEO.StorageServer.Serving(told, address=server.address))

    def stop(stop_timeout=99):
        server.stop()
        ZODB.event.notify(ZEO.StorageServer.Closed(told))
        dsserver.remove(conf_path)
        if not keep:
            dsserver.remove(*[s[1] for s in served])  # not the blobs, as there

    return server.address, stop


start_python_server = ZEO._forker.start_zeo_server
ZEO._forker.start_zeo_server = start_zeo_server

_version = importlib.metadata.version


def version(name):
    """The Python server asks for the version of an installed zdaemon."""
    return "source" if name == "zdaemon" else _version(name)


importlib.metadata.version = version


def load_entry_point(_, group, name):
    """ZEO's scripts, where it is not installed."""
    module = {"zeo-nagios": "ZEO.nagios"}[name]
    return importlib.import_module(module).main


try:
    import pkg_resources
    pkg_resources.load_entry_point = load_entry_point
except ImportError:
    pass


class Result(unittest.TestResult):
    """Write one line for each test, and what failed to standard error."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.seen = {}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.told = False

    def tell(self, verdict, test, text=""):
        if self.told:
            return
        self.told = True
        self.out.write("%s\t%s\t%.2f\n" % (verdict, test.unique, time.monotonic() - self.began))
        self.out.flush()
        if text:
            sys.stderr.write("=== %s %s\n%s\n" % (verdict, test.unique, text))
            sys.stderr.flush()

    def addSuccess(self, test):
        self.tell("pass", test)

    def addError(self, test, err):
        self.tell("fail", test, self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err:
            self.tell("fail", test, self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self.tell("skip", test, reason)

    def addExpectedFailure(self, test, err):
        self.tell("pass", test)

    def addUnexpectedSuccess(self, test):
        self.tell("fail", test, "unexpected success")


def flatten(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from flatten(one)
        else:
            yield one


def of_class(case):
    """Load the tests of a class, which begin with check or test."""
    for prefix in "check", "test":
        loader = unittest.TestLoader()
        loader.testMethodPrefix = prefix
        yield from loader.loadTestsFromTestCase(case)


def tests_of(group):
    module, _, part = group.partition(":")
    module = importlib.import_module("ZEO.tests." + module)
    if part and part != "doctests":
        return list(of_class(getattr(module, part)))
    tests = list(flatten(module.test_suite()))
    if part == "doctests":
        tests = [t for t in tests if isinstance(t, doctest.DocTestCase)]
    return tests


def short(test):
    name = test.id().replace("\n", " ")
    return re.sub(r".*\.(\w+\.\w+)$", r"\1", name) if not isinstance(test, doctest.DocTestCase) else name


def unprivileged(*paths):
    """Give files to a user who is not root, and become that one: root can write what is read-only."""
    if os.getuid() != 0:
        return
    for path in paths:
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    reachable = all(map(os.path.exists, (*paths, dsserver.BINARY, __file__, ZEO.__file__, ZODB.__file__)))
    os.seteuid(0)
    if not reachable:
        sys.stderr.write("the tests are run by root: others cannot read their files\n")
        return
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


NOBODY = 65534


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--level", type=int, default=1)
    p.add_argument("--list", action="store_true")
    p.add_argument("output")
    p.add_argument("group")
    p.add_argument("pattern", nargs="?", default="")
    a = p.parse_args()
    counts, tests = {}, []
    for t in tests_of(a.group):
        name = short(t)
        counts[name] = counts.get(name, 0) + 1
        t.unique = name if counts[name] == 1 else "%s#%d" % (name, counts[name])
        if getattr(t, "level", 1) <= a.level and re.search(a.pattern, t.unique):
            tests.append(t)
    if a.list:
        print("\n".join(t.unique for t in tests))
        return
    work = tempfile.mkdtemp("zeosuite")
    os.chdir(work)
    tempfile.tempdir = work
    try:
        with open(a.output, "w") as out:
            unprivileged(work)
            result = Result(out)
            for t in tests:
                t.run(result)
                os.chdir(work)
            out.write("end\t%d\n" % len(tests))
    finally:
        os.chdir("/")
        shutil.rmtree(work, ignore_errors=True)  # the directory itself may be root's
    # Threads of a test that failed must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
