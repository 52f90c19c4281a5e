#!/bin/sh
# One backup of one PostgreSQL database with pg_dump: whole and read back, or not there at all.
#
# usage: pg_backup.sh [-n NAME] [-r ROLE] [-p PROGRAMS] [-z METHOD] [-e TOOL:RECIPIENT] [-c COPIES] DIRECTORY
#   -n NAME      what the backup is called; by default the database's name
#   -r ROLE      role to read as, such as strikecast_backup; by default the login's own
#   -p PROGRAMS  folder of pg_dump, pg_restore, pg_dumpall and psql; by default the oldest that is not older than the
#                server, of PATH and the usual places
#   -z METHOD    compression as pg_dump takes it, such as zstd:3 or gzip:6; by default zstd where pg_dump can, else gzip
#   -e TOOL:RECIPIENT
#                encrypt with age or gpg to a public key, such as age:age1..., gpg:0123ABCD, or age:FILE or gpg:FILE with
#                the recipients or the key in it. What is not encrypted never reaches the disk
#   -c COPIES    a second place, which must be there: a directory, or an rclone remote such as offsite:backups. Every
#                backup of this name that it lacks is copied there, read there, and named as here once its SHA-256 holds
#
# The database is named as for every PostgreSQL program: PGHOST, PGPORT, PGDATABASE, PGUSER, PGSERVICE. A password belongs
# into a passfile (~/.pgpass or PGPASSFILE), which nobody else may read: neither arguments nor logs ever hold one.
#
# Makes DIRECTORY/NAME-YYYYMMDDTHHMMSSZ/ with database.dump (custom format), roles.sql (without passwords), each followed
# by .age or .gpg when encrypted, and manifest.json (sizes, SHA-256, versions, and of each table the rows and a checksum, of the dump's own snapshot). It is
# made as NAME-....partial and renamed in one step; what a killed run left is removed by the next.
#
# It goes after everything else that wants the processor (chrt, or renice), so that on a busy machine it takes long.
#
# exit: 0 done, 2 wrong usage, 3 no pg_dump that can, 4 the server cannot be used, 5 another backup of this database runs,
#       6 the directory cannot be written or is too full, 7 the dump failed, 8 what was written cannot be read back,
#       9 the backup is made, but a copy is not, 10 it cannot be encrypted, 130 and 143 interrupted
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

name='' role='' programs='' method='' sealed_for='' copies=''
while getopts n:r:p:z:e:c:h option; do
    case $option in
        n) name=$OPTARG ;;
        r) role=$OPTARG ;;
        p) programs=$OPTARG ;;
        z) method=$OPTARG ;;
        e) sealed_for=$OPTARG ;;
        c) copies=$OPTARG ;;
        h) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage 2 >&2
directory=$1
case $name in */* | .* | *'
'*) fail 2 "a name has neither slashes nor line breaks and begins with no dot: $name" ;; esac

suffix='' recipient=${sealed_for#*:}
case $sealed_for in
    age:?* | gpg:?*) suffix=.${sealed_for%%:*} ;;
    ?*) fail 2 "encryption is age:RECIPIENT or gpg:RECIPIENT, not $sealed_for" ;;
esac
from_here() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac }
[ ! -f "$recipient" ] || recipient=$(from_here "$recipient")
case ${copies%%:*} in # no colon, or one behind a slash, is no remote but a directory
    '') copies_in='' ;;
    "$copies" | */*) copies_in=directory copies=$(from_here "$copies") ;;
    *) copies_in=remote ;;
esac

mkdir -p -- "$directory" 2>/dev/null || fail 6 "cannot create $directory"
directory=$(cd -- "$directory" && pwd) || fail 6 "cannot enter $1"
[ -w "$directory" ] || fail 6 "cannot write into $directory"

# --- whoever answers within milliseconds goes first

chrt --idle --pid 0 $$ >/dev/null 2>&1 || renice -n 19 -p $$ >/dev/null 2>&1 || :

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

# --- encryption, tried on nothing before there is anything to encrypt

encrypt() {
    case $suffix in
        '') cat ;;
        .age)
            how=-r
            [ ! -f "$recipient" ] || how=-R
            age --encrypt "$how" "$recipient"
            ;;
        .gpg) # the operator named the key; a keyring that a job uses has nobody to trust it
            how=--recipient
            [ ! -f "$recipient" ] || how=--recipient-file
            gpg --batch --no-tty --quiet --trust-model always --compress-algo none "$how" "$recipient" --encrypt
            ;;
    esac
}
[ -z "$suffix" ] || encrypt </dev/null >/dev/null 2>"$errors" ||
    fail 10 "cannot encrypt with $sealed_for: $(words_of "$errors")"

# --- room: a compressed dump has never been larger than the database

need=$(($(ask -c 'SELECT pg_database_size(current_database())') / 1024))
free=$(df -Pk -- "$directory" | awk 'NR == 2 { print $4 }')
last=$(find "$directory" -path "*/$name-[0-9]*T*Z*/database.dump*" ! -path '*.partial/*' -exec ls -1tk -s -- {} + 2>/dev/null |
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
    # KILL: a caller that ignores TERM has let its children inherit that, and psql holds nothing of its own.
    [ -z "$keeper" ] || kill -s KILL "$keeper" 2>/dev/null || :
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
order "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = '60s'; SET max_parallel_workers_per_gather = 0;"
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
order "SELECT format('SELECT json_build_object(''table'', %L, ''rows'', count(*), ''checksum'', coalesce(sum(hash_record_extended(t, 0)), 0)::text) FROM ONLY %I.%I AS t', nspname || '.' || relname, nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r' AND relpersistence = 'p' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY nspname, relname \\gexec"
order "\\o"
order "SELECT json_build_object('database', current_database(), 'server_version', current_setting('server_version'), 'server_size_bytes', pg_database_size(current_database()), 'snapshot_at', to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')) \\g facts"

# --- the dump

if [ -z "$method" ]; then
    method=gzip:1 # a third of the time of 6, for a quarter more space
    if [ "$client" -ge 16 ]; then # whether it was built with zstd, only trying tells
        "$programs/pg_dump" --compress=zstd --schema=- --file=/dev/null -d "$database" -w 2>&1 | grep -q 'not support' ||
            method=zstd:3
    fi
fi
[ "$client" -ge 16 ] || method=${method#gzip:}
dump() { # exec, so that its process is the one to kill
    exec "$programs/pg_dump" --format=custom --compress="$method" --snapshot="$(cat snapshot)" --no-password \
        --lock-wait-timeout=60000 ${role:+--role="$role"} -d "$database"
}
# One stream: pg_restore reads all data of it and throws it away, while it is written, encrypted if asked for.
mkfifo plain to-read to-keep encrypted
# Whoever of them is killed, even with nothing but the last bytes in a pipe, is seen by how it ended.
tee to-read <plain >to-keep 2>/dev/null &
splitting=$!
{
    code=0
    "$programs/pg_restore" --file=/dev/null 2>complaints-reading || code=$?
    cat >/dev/null # or tee would be told of a broken pipe
    exit "$code"
} <to-read &
reading=$!
sealed=to-keep encrypting=''
if [ -n "$suffix" ]; then
    encrypt <to-keep >encrypted 2>complaints-encrypting &
    encrypting=$! sealed=encrypted
fi
{
    tee "$partial/database.dump$suffix" <"$sealed" 2>complaints-writing || echo "tee ended with $?" >>complaints-writing
} | sha256sum >sum-of-stream &
writing=$!
dump >plain 2>complaints-dump &
dump=$!
# The server's part of it, too, where that is on this machine and ours to slow down.
tries=0 pids=''
while [ "$tries" -lt 10 ] && [ "$(printf %s "$pids" | wc -w)" -lt 2 ] && kill -0 "$dump" 2>/dev/null; do
    tries=$((tries + 1))
    pids=$(ask -c "SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid() AND client_addr IS NULL") || break
done
for pid in $pids; do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != postgres ] || renice -n 10 -p "$pid" >/dev/null 2>&1 || :
done
code=0
wait "$dump" || code=$?
dump=''
wait "$writing" || fail 8 "sha256sum ended with $?"
[ ! -s complaints-writing ] || fail 7 "the dump cannot be written: $(words_of complaints-writing)"
sync -- "$partial/database.dump$suffix" 2>/dev/null & # while it is read once more
[ -z "$encrypting" ] || wait "$encrypting" || fail 10 "encrypting ended with $?: $(words_of complaints-encrypting)"
[ "$code" -eq 0 ] || fail 7 "pg_dump ended with $code: $(words_of complaints-dump)"
wait "$splitting" || fail 7 "tee ended with $?"
roles=$("$programs/pg_dumpall" --roles-only --no-role-passwords --no-password ${role:+--role="$role"} -l "$database" \
    2>complaints-dump) || fail 7 "pg_dumpall ended with $?: $(words_of complaints-dump)"
printf '%s\n' "$roles" | encrypt >"$partial/roles.sql$suffix" 2>complaints-encrypting ||
    fail 7 "the roles cannot be written: $(words_of complaints-encrypting)"

# --- what is on the disk is what pg_restore has read

wait "$reading" || fail 8 "pg_restore cannot read the dump: $(words_of complaints-reading)"
(cd -- "$partial" && sha256sum "database.dump$suffix" "roles.sql$suffix") >sums || fail 8 "cannot read what was written"
[ "$(awk '{ print $1; exit }' sums)" = "$(awk '{ print $1 }' sum-of-stream)" ] ||
    fail 8 "what is on the disk is not what was written"
await facts || fail 7 "the tables cannot be counted: $(words_of complaints)"

described() {
    printf '{"name": "%s", "bytes": %s, "sha256": "%s"}' "$1" "$(wc -c <"$partial/$1" | tr -d ' ')" \
        "$(awk -v file="$1" '$2 == file || $2 == "*" file { print $1 }' sums)"
}
{
    printf '{"format": 1,\n "facts": %s,\n "client_version": "%s", "compression": "%s", "encryption": "%s", "seconds": %s,\n' \
        "$(cat facts)" "$("$programs/pg_dump" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')" "$method" "${suffix#.}" $(($(date +%s) - started))
    printf ' "files": [%s,\n           %s],\n' "$(described "database.dump$suffix")" "$(described "roles.sql$suffix")"
    printf ' "tables": [\n  '
    sed '$!s/$/,\n  /' tables | tr -d '\n' | sed 's/},  {/},\n  {/g'
    printf ']}\n'
} >"$partial/manifest.json" || fail 7 "the manifest cannot be written"
cd -- "$partial"
sync -- * . 2>/dev/null || sync
cd -- "$scratch"
mv -- "$partial" "$directory/$base" || fail 6 "cannot rename $partial"
sync -- "$directory" 2>/dev/null || sync
printf '%s\n' "$directory/$base"

# --- copies of all backups that the second place lacks; the lock stays until it has them

order "COMMIT; SELECT pg_advisory_unlock_shared($MAINTENANCE_LOCK);"
case $copies_in in
    directory)
        there_is() { [ -f "$copies/$1" ]; }
        remove() { rm -rf -- "${copies:?}/$1"; }
        put() { mkdir -p -- "$copies/${2%/*}" && cp -- "$1" "$copies/$2" && { sync -- "$copies/$2" 2>/dev/null || sync; }; }
        show() { cat -- "$copies/$1"; }
        finish() { mv -- "$copies/$1.partial" "$copies/$1" && { sync -- "$copies" 2>/dev/null || sync; }; }
        reach() { [ -w "$copies/" ] || { say "there is no such directory, or it cannot be written" && return 1; }; }
        ;;
    remote)
        listed=''
        # An object store renames file by file, so the manifest goes last: what has one is whole.
        there_is() { printf '%s\n' "$listed" | grep -Fqx -- "$1"; }
        remove() { rclone purge "$copies/$1" 2>/dev/null || :; }
        put() { rclone copyto "$1" "$copies/$2"; }
        show() { rclone cat "$copies/$1"; }
        finish() {
            for file in $files; do rclone moveto "$copies/$1.partial/$file" "$copies/$1/$file" || return; done
            remove "$1.partial" # where folders are more than a part of names, an empty one stays
        }
        reach() { rclone mkdir "$copies" && listed=$(rclone lsf --recursive --files-only "$copies"); }
        ;;
esac
copy() { # of one backup, by its name; says what is wrong
    files=$(sed -n 's/.*{"name": "\([a-z.]*\)", "bytes".*/\1/p' "$directory/$1/manifest.json")
    files="$files manifest.json"
    remove "$1.partial"
    for file in $files; do
        put "$directory/$1/$file" "$1.partial/$file" || return
        expected=$(sed -n 's/.*{"name": "'"$file"'", .*"sha256": "\([0-9a-f]*\)".*/\1/p' "$directory/$1/manifest.json")
        [ "$file" != manifest.json ] || expected=$(sha256sum <"$directory/$1/manifest.json" | cut -d ' ' -f 1)
        found=$(show "$1.partial/$file" | sha256sum | cut -d ' ' -f 1)
        [ "$found" = "$expected" ] || { say "$file has another SHA-256 there" && return 1; }
    done
    finish "$1"
}
failed=''
if [ -n "$copies" ]; then
    reach 2>"$errors" || fail 9 "$base is made, but $copies cannot be reached: $(words_of "$errors")"
    for one in "$directory/$name"-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*Z*/manifest.json; do
        one=${one%/manifest.json}
        one=${one##*/}
        case $one in *.partial) continue ;; esac
        if there_is "$one/manifest.json"; then continue; fi
        # One that was found to be damaged has no place there.
        if grep -q '"problem":"' "$directory/$one/verified.json" 2>/dev/null; then continue; fi
        copy "$one" 2>"$errors" || failed="$failed $one: $(words_of "$errors")"
    done
fi
order "SELECT pg_advisory_unlock($BACKUP_LOCK);" # the server gets round to it later than the next backup starts
order "\\q"
wait "$keeper" || :
keeper=''
exec 3>&-
[ -z "$failed" ] || fail 9 "$base is made, but not copied to $copies:$failed"
