#!/bin/sh
# find-newer.sh HOME TARGET STAMP: the same by find -newer.
set -eu
home=$1 target=$2 stamp=$3
exec 9>>"$home/misc/sublock"
flock -n 9
test -f "$home/misc/snapshot"
mkdir -p "$target"
cd "$home"
if [ -e "$stamp" ]; then
	find config A -type f -newer "$stamp" -print0
else
	find config A -type f -print0
fi | tar --null -T - -cf - | tar -C "$target" -xf -
