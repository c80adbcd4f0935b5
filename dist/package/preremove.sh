#!/bin/sh
# Before files are removed. deb: remove or upgrade; rpm: 0 for a removal, 1 for an upgrade.
set -e
case "$1" in
remove | deconfigure | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now dirstorage.service 'dirstorage-*@*.timer' || true
	systemctl stop 'dirstorage-*@*.service' || true
fi
