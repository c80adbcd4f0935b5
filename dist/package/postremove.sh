#!/bin/sh
# After files were removed. Storages, backups and their user stay, also when the package is purged:
# people's data is theirs to remove.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
