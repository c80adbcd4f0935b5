"""Run Python's ZEO server, also from source trees, which have no metadata of their versions."""

import importlib.metadata
import sys

_version = importlib.metadata.version


def version(name):
    try:
        return _version(name)
    except importlib.metadata.PackageNotFoundError:
        return "0"


importlib.metadata.version = version

from ZEO.runzeo import main  # noqa: E402

main(sys.argv[1:])
