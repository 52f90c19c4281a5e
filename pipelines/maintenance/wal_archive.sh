#!/bin/sh
# Archive one WAL file: complete and synced to disk, or not at all. In postgresql.conf:
#
#   archive_mode = on
#   archive_command = '/path/to/wal_archive.sh /path/to/archive %p %f'
#
# usage: wal_archive.sh DIRECTORY PATH NAME
#
# The directory must exist, so that nothing is archived below an unmounted mount point. An existing file with the same
# content counts as archived, as after a server crash; one with other content is never overwritten.
#
# exit: 0 archived, 2 wrong usage, 3 a different file with this name exists, 4 write error; the server retries
set -eu
umask 027 # the server's group may read it, for a restore by another user

fail() {
    code=$1
    shift
    printf 'wal_archive: %s\n' "$*" >&2
    exit "$code"
}
[ $# -eq 3 ] || fail 2 "usage: wal_archive.sh DIRECTORY PATH NAME"
case $3 in */* | .* | '') fail 2 "$3 is not a file name" ;; esac
[ -d "$1" ] || fail 4 "directory $1 does not exist"

target=$1/$3
partial=$1/.$3.partial
if [ -e "$target" ]; then
    cmp -s -- "$2" "$target" || fail 3 "a different file $3 exists in $1: do two servers use this archive?"
else
    cp -- "$2" "$partial" || fail 4 "cannot write to $1"
    sync -- "$partial" 2>/dev/null || sync
    mv -- "$partial" "$target" || fail 4 "cannot rename $partial"
fi
sync -- "$target" "$1" 2>/dev/null || sync
