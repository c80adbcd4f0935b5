#!/bin/sh
# tar-newer.sh HOME TARGET STAMP: a full copy the first time, then only what is
# newer than the file STAMP, by tar, unpacked over what is in TARGET.
set -eu
home=$1 target=$2 stamp=$3
exec 9>>"$home/misc/sublock"
flock -n 9
test -f "$home/misc/snapshot"
mkdir -p "$target"
if [ -e "$stamp" ]; then
	tar -C "$home" --newer-mtime="@$(stat -c %.9Y "$stamp")" -cf - config A | tar -C "$target" -xf -
else
	tar -C "$home" -cf - config A | tar -C "$target" -xf -
fi
