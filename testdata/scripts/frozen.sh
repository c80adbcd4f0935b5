#!/bin/sh
# frozen.sh HOME FILE: proves that nothing below A changes until FILE exists: no
# name, type, mode, owner, size, inode, link count, time of modification, time of
# change of the inode, and no content.
set -eu
home=$1 enough=$2
exec 9>>"$home/misc/sublock"
flock -n 9 || { echo "misc/sublock is taken" >&2; exit 1; }
test -f "$home/misc/snapshot" || { echo "there is no snapshot" >&2; exit 1; }
state() {
	(cd "$home/A" && find . -printf '%p %y %m %U:%G %s %i %n %T@ %C@\n' | LC_ALL=C sort &&
		find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
}
before=$(state)
last=
while [ -z "$last" ]; do
	! test -e "$enough" || last=yes
	after=$(state)
	if [ "$before" != "$after" ]; then
		echo "A changed during a snapshot:" >&2
		printf '%s\n' "$before" >"$home/misc/before.txt"
		printf '%s\n' "$after" | diff "$home/misc/before.txt" - >&2 || true
		exit 1
	fi
done
printf '%s\n' "$before" | wc -l
