#!/bin/sh
# One backup of one PostgreSQL database with pg_dump: whole and read back, or not there at all.
#
# usage: pg_backup.sh [-n NAME] [-r ROLE] [-p PROGRAMS] [-z METHOD] DIRECTORY
#   -n NAME      what the backup is called; by default the database's name
#   -r ROLE      role to read as, such as strikecast_backup; by default the login's own
#   -p PROGRAMS  folder of pg_dump, pg_restore, pg_dumpall and psql; by default the oldest that is not older than the
#                server, of PATH and the usual places
#   -z METHOD    compression as pg_dump takes it, such as zstd:3 or gzip:6; by default zstd where pg_dump can, else gzip
#
# The database is named as for every PostgreSQL program: PGHOST, PGPORT, PGDATABASE, PGUSER, PGSERVICE. A password belongs
# into a passfile (~/.pgpass or PGPASSFILE), which nobody else may read: neither arguments nor logs ever hold one.
#
# Makes DIRECTORY/NAME-YYYYMMDDTHHMMSSZ/ with database.dump (custom format), roles.sql (without passwords) and
# manifest.json (sizes, SHA-256, versions, and of each table the rows and a checksum, of the dump's own snapshot). It is
# made as NAME-....partial and renamed in one step; what a killed run left is removed by the next.
#
# exit: 0 done, 2 wrong usage, 3 no pg_dump that can, 4 the server cannot be used, 5 another backup of this database runs,
#       6 the directory cannot be written or is too full, 7 the dump failed, 8 what was written cannot be read back,
#       130 and 143 interrupted
set -eu
umask 077
LC_ALL=C
export LC_ALL
PGAPPNAME=${PGAPPNAME:-strikecast backup}
PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10}
export PGAPPNAME PGCONNECT_TIMEOUT

# Advisory locks: of schema changes, which a backup shares, and of backups, of which there is one at a time.
MAINTENANCE_LOCK=7319001
BACKUP_LOCK=7319004

say() { printf '%s\n' "$*" >&2; }
fail() {
    code=$1
    shift
    say "pg_backup: $*"
    exit "$code"
}
usage() {
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
    exit "$1"
}
# Of a program's messages the lines that say what is wrong, on one line.
words_of() { tr '\n' ' ' <"$1" | cut -c 1-500; }

name='' role='' programs='' method=''
while getopts n:r:p:z:h option; do
    case $option in
        n) name=$OPTARG ;;
        r) role=$OPTARG ;;
        p) programs=$OPTARG ;;
        z) method=$OPTARG ;;
        h) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage 2 >&2
directory=$1
case $name in */* | .* | *'
'*) fail 2 "a name has neither slashes nor line breaks and begins with no dot: $name" ;; esac

mkdir -p -- "$directory" 2>/dev/null || fail 6 "cannot create $directory"
directory=$(cd -- "$directory" && pwd) || fail 6 "cannot enter $1"
[ -w "$directory" ] || fail 6 "cannot write into $directory"

# --- programs that suit the server

any_psql=${programs:+$programs/psql}
for candidate in "$(command -v psql)" /usr/lib/postgresql/*/bin/psql /usr/pgsql-*/bin/psql; do
    [ -n "$any_psql" ] || [ ! -x "$candidate" ] || any_psql=$candidate
done
[ -x "$any_psql" ] || fail 3 "there is no psql: install the PostgreSQL client programs, or name their folder with -p"
# What programs say goes elsewhere than the dump: a full disk must not swallow that it is full.
scratch=$(mktemp -d) || fail 6 "there is no room for a few lines in ${TMPDIR:-/tmp}"
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
errors=$scratch/errors
ask() { "$any_psql" -X -A -t -q -w -v ON_ERROR_STOP=1 "$@" </dev/null 2>"$errors"; }
server=$(ask -c 'SHOW server_version_num') || fail 4 "the server cannot be used: $(words_of "$errors")"
database=$(ask -c 'SELECT current_database()') || fail 4 "the server cannot be used: $(words_of "$errors")"
name=${name:-$database}

major_of() { "$1" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p'; }
find_programs() {
    best=''
    for candidate in "$(dirname -- "$(command -v pg_dump || echo none)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$candidate/pg_dump" ] && [ -x "$candidate/pg_restore" ] || continue
        major=$(major_of "$candidate/pg_dump")
        [ "${major:-0}" -ge $((server / 10000)) ] || continue
        if [ -z "$best" ] || [ "$major" -lt "$best" ]; then
            best=$major
            programs=$candidate
        fi
    done
}
[ -n "$programs" ] || find_programs
[ -n "$programs" ] ||
    fail 3 "no pg_dump here is as new as the server, which is $((server / 10000)): install postgresql-client-$((server / 10000))"
client=$(major_of "$programs/pg_dump")
[ "${client:-0}" -ge $((server / 10000)) ] ||
    fail 3 "pg_dump in $programs is ${client:-missing}, the server $((server / 10000)): an older pg_dump cannot dump it"

# --- room: a compressed dump has never been larger than the database

need=$(($(ask -c 'SELECT pg_database_size(current_database())') / 1024))
free=$(df -Pk -- "$directory" | awk 'NR == 2 { print $4 }')
last=$(find "$directory" -path "*/$name-[0-9]*T*Z*/database.dump" ! -path '*.partial/*' -exec ls -1tk -s -- {} + 2>/dev/null |
    awk 'NR == 1 { print $1 }')
[ -z "$last" ] || need=$((last * 3 / 2))
[ "$free" -gt "$need" ] || fail 6 "$directory has $free kB free, a backup may take $need kB"

# --- a place of its own, and a way to clean up

stamp=$(date -u +%Y%m%dT%H%M%SZ)
base=$name-$stamp
number=1
while [ -e "$directory/$base" ] || [ -e "$directory/$base.partial" ]; do # two in a second, or a clock set back
    number=$((number + 1))
    base=$name-$stamp-$number
done
partial=$directory/$base.partial
keeper='' dump=''
clean_up() {
    code=$?
    trap '' INT TERM HUP
    [ -z "$dump" ] || kill "$dump" 2>/dev/null || :
    [ -z "$keeper" ] || kill "$keeper" 2>/dev/null || :
    wait
    cd /
    rm -rf -- "$partial" "$scratch"
    exit "$code"
}
trap clean_up EXIT
mkdir -- "$partial" 2>/dev/null || fail 6 "cannot create $partial"
cd -- "$scratch"

# --- one psql keeps the locks and the snapshot, and counts in it while pg_dump dumps from it

mkfifo orders
"$programs/psql" -X -A -t -q -w -v ON_ERROR_STOP=1 -d "$database" <orders >said 2>complaints &
keeper=$!
exec 3>orders
order() { printf '%s\n' "$*" >&3 2>/dev/null || :; }
# Wait for a file that the keeper writes; it is there when it ends with a line break.
await() {
    until [ -s "$1" ]; do
        kill -0 "$keeper" 2>/dev/null || return 1
        sleep 0.05 2>/dev/null || sleep 1
    done
}
trap '' PIPE
order "\\set QUIET on"
order "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = '60s';"
[ -z "$role" ] || order "SET ROLE \"$(printf %s "$role" | sed 's/"/""/g')\";"
order "SELECT pg_try_advisory_lock($BACKUP_LOCK) \\g locked"
await locked || fail 4 "the server cannot be used: $(words_of complaints)"
[ "$(cat locked)" = t ] || fail 5 "another backup of $database is running"
order "SELECT pg_advisory_lock_shared($MAINTENANCE_LOCK);"
for left in "$directory/$name"-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*Z*.partial; do # nobody else is at it
    [ "$left" = "$partial" ] || [ ! -d "$left" ] || rm -rf -- "$left"
done
started=$(date +%s)
order "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
order "SELECT pg_export_snapshot() \\g snapshot"
await snapshot || fail 4 "no snapshot: $(words_of complaints)"
order "\\o tables"
order "SELECT format('SELECT json_build_object(''table'', %L, ''rows'', count(*), ''checksum'', coalesce(sum(hash_record_extended(t, 0)::numeric), 0)::text) FROM ONLY %I.%I AS t', nspname || '.' || relname, nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r' AND relpersistence = 'p' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY nspname, relname \\gexec"
order "\\o"
order "SELECT json_build_object('database', current_database(), 'server_version', current_setting('server_version'), 'server_size_bytes', pg_database_size(current_database()), 'snapshot_at', to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')) \\g facts"

# --- the dump

if [ -z "$method" ]; then
    method=gzip:6
    if [ "$client" -ge 16 ]; then # whether it was built with zstd, only trying tells
        "$programs/pg_dump" --compress=zstd --schema=- --file=/dev/null -d "$database" -w 2>&1 | grep -q 'not support' ||
            method=zstd:3
    fi
fi
[ "$client" -ge 16 ] || method=${method#gzip:}
"$programs/pg_dump" --format=custom --compress="$method" --snapshot="$(cat snapshot)" --lock-wait-timeout=60000 \
    ${role:+--role="$role"} --no-password --file="$partial/database.dump" -d "$database" 2>complaints-dump &
dump=$!
code=0
wait "$dump" || code=$?
dump=''
[ "$code" -eq 0 ] || fail 7 "pg_dump ended with $code: $(words_of complaints-dump)"
"$programs/pg_dumpall" --roles-only --no-role-passwords --no-password ${role:+--role="$role"} -l "$database" \
    --file="$partial/roles.sql" 2>complaints-dump || fail 7 "pg_dumpall ended with $?: $(words_of complaints-dump)"

# --- read back: pg_restore reads all data and throws it away

"$programs/pg_restore" --file=/dev/null "$partial/database.dump" 2>complaints-dump &
reading=$!
(cd -- "$partial" && sha256sum database.dump roles.sql) >sums || fail 8 "cannot read what was written"
wait "$reading" || fail 8 "pg_restore cannot read the dump: $(words_of complaints-dump)"
await facts || fail 7 "the tables cannot be counted: $(words_of complaints)"
order "\\q"
wait "$keeper" || fail 7 "the tables cannot be counted: $(words_of complaints)"
keeper=''
exec 3>&-

size_of() { wc -c <"$partial/$1" | tr -d ' '; }
sum_of() { awk -v file="$1" '$2 == file || $2 == "*" file { print $1 }' sums; }
{
    printf '{"format": 1,\n "facts": %s,\n "client_version": "%s", "compression": "%s", "seconds": %s,\n' \
        "$(cat facts)" "$("$programs/pg_dump" --version | sed 's/.* //')" "$method" $(($(date +%s) - started))
    printf ' "files": [{"name": "database.dump", "bytes": %s, "sha256": "%s"},\n' "$(size_of database.dump)" "$(sum_of database.dump)"
    printf '           {"name": "roles.sql", "bytes": %s, "sha256": "%s"}],\n' "$(size_of roles.sql)" "$(sum_of roles.sql)"
    printf ' "tables": [\n  '
    sed '$!s/$/,\n  /' tables | tr -d '\n' | sed 's/},  {/},\n  {/g'
    printf ']}\n'
} >"$partial/manifest.json" || fail 7 "the manifest cannot be written"
cd -- "$partial"
sync -- database.dump roles.sql manifest.json . 2>/dev/null || sync
mv -- "$partial" "$directory/$base" || fail 6 "cannot rename $partial"
sync -- "$directory" 2>/dev/null || sync
printf '%s\n' "$directory/$base"
