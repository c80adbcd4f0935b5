#!/bin/sh
# After files are unpacked. deb: configure VERSION; rpm: 1 for an installation, 2 for an upgrade.
set -e
first=no
case "$1:$2" in
configure:?*) ;;
configure: | 1:*) first=yes ;;
[2-9]:*) ;;
*) exit 0 ;; # of deb: something was not completed
esac
# Directories that exist are left as they are, whoever they belong to.
for dir in /var/lib/dirstorage /var/backups/dirstorage; do
	if [ ! -e "$dir" ] && [ ! -L "$dir" ]; then
		mkdir -p "$(dirname "$dir")"
		install -d -o dirstorage -g dirstorage -m 0750 "$dir"
	fi
done
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	if [ "$first" = no ]; then
		systemctl try-restart dirstorage.service || true
	fi
fi
if [ "$first" = yes ]; then
	echo "dirstorage is installed, and not started. Make a storage (or import or restore one), then start it:"
	echo "  sudo -u dirstorage dirstorage create /var/lib/dirstorage/zodb"
	echo "  sudo systemctl enable --now dirstorage dirstorage-backup@zodb.timer dirstorage-verify@zodb.timer dirstorage-pack@zodb.timer"
fi
