"""Start and stop the Go server of this repository for the tests beside this file."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BINARY = os.environ.get("DIRSTORAGE", "dirstorage")
_LISTENING = re.compile(r"\blistening address=(\S+)")


class NotStarted(Exception):
    """The server ended, or did not say in time where it listens."""


def create(home, *args):
    """Make a HOME, unless there is one. args are those of `dirstorage create`."""
    if not os.path.exists(home):
        subprocess.run([BINARY, "create", *args, os.path.abspath(home)], check=True, stdout=subprocess.DEVNULL)


# FileStorage packs to any time, a HOME only to what is older than 10 minutes unless it is told otherwise.
PACK_TO_NOW = ("--set", "storage.min_pack_time=0")

# Nor does a FileStorage look at references: ZEO's tests store objects that refer to others that come later.
AS_FILESTORAGE = PACK_TO_NOW + ("--set", "storage.check_dangling_references=0")


class Server:
    """A running server. args are those of `dirstorage serve` after the storages."""

    def __init__(self, storages, listen="127.0.0.1:0", log=None, args=(), timeout=30, env=()):
        self.log = os.path.abspath(log or tempfile.mktemp(".log", "dirstorage-"))
        self._own_log = log is None
        command = [BINARY, "serve", "--listen", listen, "--drain-timeout", "300ms"]
        for name, home in storages:
            command += ["--storage", "%s=%s" % (name, os.path.abspath(home))]
        start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as err:
            self.process = subprocess.Popen(
                command + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                env=dict(os.environ, **dict(env)))
        self.address = self._learn(start, timeout)

    def _learn(self, start, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            text = self._text(start)
            found = _LISTENING.search(text)
            if found and _answers(found.group(1)):
                return _parse(found.group(1))
            if ended:
                raise NotStarted(text)
            time.sleep(0.01)
        self.kill()
        raise NotStarted("no address after %ss: %s" % (timeout, self._text(start)))

    def _text(self, start):
        with open(self.log, "rb") as f:
            f.seek(start)
            return f.read().decode("utf-8", "replace")

    def stop(self, timeout=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server did not end after SIGTERM: " + self._text(0)[-2000:])
        code = self.process.returncode
        text = self._text(0)
        if self._own_log:
            os.unlink(self.log)
        if code != 0 or "bug in the server" in text or "DATA RACE" in text:
            raise AssertionError("the server ended with %s: %s" % (code, text[-4000:]))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _parse(text):
    if "/" in text:
        return text
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _answers(text):
    """The address is logged a moment before connections are accepted, which does not matter for TCP."""
    return "/" not in text or os.path.exists(text)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def remove(*paths):
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)
