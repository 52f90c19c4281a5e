#!/bin/sh
# Archive one file of the write-ahead log: whole and on the disk, or not there at all. In postgresql.conf:
#
#   archive_mode = on
#   archive_command = '/path/to/wal_archive.sh /path/to/archive %p %f'
#
# usage: wal_archive.sh DIRECTORY PATH NAME
#
# The directory must be there already: one that is not mounted is no place to archive to. A file that is there with the
# same content is archived already, as after a crash of the server; with other content it is never overwritten.
#
# exit: 0 archived, 2 wrong usage, 3 another file of that name is there, 4 it cannot be written; the server tries again
set -eu
umask 027 # the server's group may read, to restore as somebody else

fail() {
    code=$1
    shift
    printf 'wal_archive: %s\n' "$*" >&2
    exit "$code"
}
[ $# -eq 3 ] || fail 2 "usage: wal_archive.sh DIRECTORY PATH NAME"
case $3 in */* | .* | '') fail 2 "$3 is no name of a file" ;; esac
[ -d "$1" ] || fail 4 "there is no directory $1"

target=$1/$3
partial=$1/.$3.partial
if [ -e "$target" ]; then
    cmp -s -- "$2" "$target" || fail 3 "another file $3 is in $1 already: do two servers archive there?"
else
    cp -- "$2" "$partial" || fail 4 "cannot write into $1"
    sync -- "$partial" 2>/dev/null || sync
    mv -- "$partial" "$target" || fail 4 "cannot rename $partial"
fi
sync -- "$target" "$1" 2>/dev/null || sync
