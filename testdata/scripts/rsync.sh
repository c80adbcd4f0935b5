#!/bin/sh
# rsync.sh HOME TARGET PREVIOUS: a tree for each backup; what did not change is a
# hard link to the one before.
set -eu
home=$1 target=$2 previous=$3
exec 9>>"$home/misc/sublock"
flock -n 9
test -f "$home/misc/snapshot"
mkdir -p "$target"
if [ -d "$previous" ]; then
	rsync -a --link-dest="$previous" "$home/config" "$home/A" "$target/"
else
	rsync -a "$home/config" "$home/A" "$target/"
fi
