#!/bin/sh
# Before files are removed. deb: remove or upgrade; rpm: 0 for a removal, 1 for an upgrade.
set -e
case "$1" in
remove | deconfigure | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now dirstorage.service || true
	# Patterns name what is loaded, and only for stop. Enabled timers are found by their links.
	systemctl stop 'dirstorage-*@*.timer' 'dirstorage-*@*.service' || true
	for timer in /etc/systemd/system/timers.target.wants/dirstorage-*@*.timer; do
		if [ -L "$timer" ]; then
			systemctl disable "$(basename "$timer")" || true
		fi
	done
fi
