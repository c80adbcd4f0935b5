#!/bin/sh
# Before files are unpacked, of deb and rpm: the user has to be there.
set -e
if ! getent group dirstorage >/dev/null; then
	groupadd --system dirstorage
fi
if ! getent passwd dirstorage >/dev/null; then
	useradd --system --gid dirstorage --home-dir /var/lib/dirstorage --no-create-home \
		--shell /usr/sbin/nologin --comment "ZODB storage server" dirstorage
fi
