#!/bin/sh
# Back up a PostgreSQL database with pg_dump, and Dagster's beside it: complete and verified, or not at all.
#
# usage: pg_backup.sh [-n NAME] [-d DAGSTER] [-r ROLE] [-p PROGRAMS] [-z METHOD] [-e TOOL:RECIPIENT] [-c COPIES] [-k KEY]
#                     DIRECTORY
#   -n NAME      name of the backup; default: the database's name
#   -d DAGSTER   Dagster's database on the same server, dumped into the same backup if it exists; default: none
#   -r ROLE      role to read with, such as strikecast_backup; default: the login role
#   -p PROGRAMS  folder of pg_dump, pg_restore, pg_dumpall and psql; default: the oldest version in PATH and the usual
#                places that is not older than the server
#   -z METHOD    compression in pg_dump's notation, such as zstd:3 or gzip:6; default: zstd if pg_dump supports it, or
#                gzip
#   -e TOOL:RECIPIENT
#                encrypt with age or gpg to a public key: age:age1..., gpg:0123ABCD, or age:FILE or gpg:FILE with the
#                recipients or the key. Unencrypted data never reaches the disk
#   -c COPIES    location of copies, which must exist: a directory, or an rclone remote such as offsite:backups. Every
#                backup of this name without a copy is copied, read back, and renamed when its SHA-256 is correct
#   -k KEY       file with the key that signs the backup, 64 hexadecimal digits, which only its owner may read: its HMAC of
#                the manifest is in manifest.hmac. Without one, `strikecast backup restore` asks for --accept-unsigned
#
# The database is chosen as for every PostgreSQL program: PGHOST, PGPORT, PGDATABASE, PGUSER, PGSERVICE. The password
# must be in a passfile (~/.pgpass or PGPASSFILE) with mode 0600; no argument or log contains it.
#
# Creates DIRECTORY/NAME-YYYYMMDDTHHMMSSZ/ with database.dump and dagster.dump (custom format), roles.sql (without
# passwords), each with the suffix .age or .gpg if encrypted, and manifest.json (sizes, SHA-256, versions, and the rows
# and a checksum of each table in the dump's snapshot). It is written as NAME-....partial and renamed; the next run
# deletes what a killed run left.
#
# Runs at the lowest CPU priority (chrt, or renice), so it takes longer on a busy machine.
#
# exit: 0 done, 2 wrong usage, 3 no suitable pg_dump, 4 the server cannot be used, 5 another backup of this database is
#       running, 6 the directory cannot be written or is too full, 7 the dump failed, 8 the written dump cannot be read,
#       9 the backup was made, but a copy was not, 10 encryption failed, 130 and 143 interrupted
set -eu
umask 077
here=$(cd -- "$(dirname -- "$0")" && pwd)
LC_ALL=C
export LC_ALL
PGAPPNAME=${PGAPPNAME:-strikecast backup}
PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10}
export PGAPPNAME PGCONNECT_TIMEOUT

# Advisory locks: shared with schema changes, and exclusive among backups.
MAINTENANCE_LOCK=7319001
BACKUP_LOCK=7319004

log() { printf '%s\n' "$*" >&2; }
fail() {
    code=$1
    shift
    log "pg_backup: $*"
    exit "$code"
}
usage() {
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
    exit "$1"
}
# The messages of a program on one line.
messages_of() { tr '\n' ' ' <"$1" | cut -c 1-500; }

name='' dagster='' role='' programs='' method='' encrypt_to='' copies='' key=''
while getopts n:d:r:p:z:e:c:k:h option; do
    case $option in
        n) name=$OPTARG ;;
        d) dagster=$OPTARG ;;
        r) role=$OPTARG ;;
        p) programs=$OPTARG ;;
        z) method=$OPTARG ;;
        e) encrypt_to=$OPTARG ;;
        c) copies=$OPTARG ;;
        k) key=$OPTARG ;;
        h) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage 2 >&2
directory=$1
case $name in */* | .* | *'
'*) fail 2 "a name must not contain slashes or line breaks, or start with a dot: $name" ;; esac
case $dagster in *[!A-Za-z0-9_]*) fail 2 "the name of Dagster's database must be letters, digits and underscores: $dagster" ;; esac

suffix='' recipient=${encrypt_to#*:}
case $encrypt_to in
    age:?* | gpg:?*) suffix=.${encrypt_to%%:*} ;;
    ?*) fail 2 "encryption must be age:RECIPIENT or gpg:RECIPIENT, not $encrypt_to" ;;
esac
absolute_path() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac }
[ ! -f "$recipient" ] || recipient=$(absolute_path "$recipient")
if [ -n "$key" ]; then
    grep -Eqx '[0-9a-f]{64}' "$key" 2>/dev/null || fail 2 "$key has no key of 64 hexadecimal digits"
    key=$(absolute_path "$key")
fi
case ${copies%%:*} in # without a colon before the first slash it is a directory
    '') copies_in='' ;;
    "$copies" | */*) copies_in=directory copies=$(absolute_path "$copies") ;;
    *) copies_in=remote ;;
esac

mkdir -p -- "$directory" 2>/dev/null || fail 6 "cannot create $directory"
directory=$(cd -- "$directory" && pwd) || fail 6 "cannot enter $1"
[ -w "$directory" ] || fail 6 "cannot write to $directory"

# --- lower the CPU priority

chrt --idle --pid 0 $$ >/dev/null 2>&1 || renice -n 19 -p $$ >/dev/null 2>&1 || :

# --- programs of a suitable version

any_psql=${programs:+$programs/psql}
for candidate in "$(command -v psql)" /usr/lib/postgresql/*/bin/psql /usr/pgsql-*/bin/psql; do
    [ -n "$any_psql" ] || [ ! -x "$candidate" ] || any_psql=$candidate
done
[ -x "$any_psql" ] || fail 3 "psql was not found: install the PostgreSQL client programs, or set their folder with -p"
# Messages are stored outside of the directory, so that a full disk does not lose them.
scratch=$(mktemp -d) || fail 6 "cannot create a folder in ${TMPDIR:-/tmp}"
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
errors=$scratch/errors
query() { "$any_psql" -X -A -t -q -w -v ON_ERROR_STOP=1 "$@" </dev/null 2>"$errors"; }
server=$(query -c 'SHOW server_version_num') || fail 4 "the server cannot be used: $(messages_of "$errors")"
database=$(query -c 'SELECT current_database()') || fail 4 "the server cannot be used: $(messages_of "$errors")"
name=${name:-$database}
[ -z "$dagster" ] || dagster=$(query -c "SELECT datname FROM pg_database WHERE datname = '$dagster'") ||
    fail 4 "the server cannot be used: $(messages_of "$errors")"

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
    fail 3 "no pg_dump of version $((server / 10000)) or newer was found: install postgresql-client-$((server / 10000))"
client=$(major_of "$programs/pg_dump")
[ "${client:-0}" -ge $((server / 10000)) ] ||
    fail 3 "pg_dump in $programs is ${client:-missing}, the server $((server / 10000)): an older pg_dump cannot dump it"

# --- encryption, tested with empty input

encrypt() {
    case $suffix in
        '') cat ;;
        .age)
            how=-r
            [ ! -f "$recipient" ] || how=-R
            age --encrypt "$how" "$recipient"
            ;;
        .gpg) # the keyring of a job has no trust settings for the key
            how=--recipient
            [ ! -f "$recipient" ] || how=--recipient-file
            gpg --batch --no-tty --quiet --trust-model always --compress-algo none "$how" "$recipient" --encrypt
            ;;
    esac
}
[ -z "$suffix" ] || encrypt </dev/null >/dev/null 2>"$errors" ||
    fail 10 "cannot encrypt with $encrypt_to: $(messages_of "$errors")"

# --- free space: a compressed dump is smaller than the database

need=$(($(query -c "SELECT sum(pg_database_size(datname)) FROM pg_database WHERE datname IN (current_database(), '$dagster')") / 1024))
free=$(df -Pk -- "$directory" | awk 'NR == 2 { print $4 }')
last=$(find "$directory" -path "*/$name-[0-9]*T*Z*/database.dump*" ! -path '*.partial/*' -exec ls -1tk -s -- {} + 2>/dev/null |
    awk 'NR == 1 { print $1 }')
[ -z "$last" ] || need=$((last * 3 / 2))
[ "$free" -gt "$need" ] || fail 6 "$directory has $free kB free, a backup may need $need kB"

# --- folder of the backup, and cleanup

stamp=$(date -u +%Y%m%dT%H%M%SZ)
base=$name-$stamp
number=1
while [ -e "$directory/$base" ] || [ -e "$directory/$base.partial" ]; do # same second, or clock set back
    number=$((number + 1))
    base=$name-$stamp-$number
done
partial=$directory/$base.partial
session='' dump='' dumping=''
clean_up() {
    code=$?
    trap '' INT TERM HUP
    [ -z "$dump" ] || kill "$dump" 2>/dev/null || :
    # KILL: psql may have inherited an ignored TERM, and has no state to save.
    for pid in $session $dumping; do kill -s KILL "$pid" 2>/dev/null || :; done
    wait
    cd /
    rm -rf -- "$partial" "$scratch"
    exit "$code"
}
trap clean_up EXIT
mkdir -- "$partial" 2>/dev/null || fail 6 "cannot create $partial"
cd -- "$scratch"

# --- one psql session holds the locks

start_session() { # DATABASE STATEMENTS OUTPUT: with role and without timeouts, in the background, reading a new pipe
    mkfifo "$2"
    "$programs/psql" -X -A -t -q -w -v ON_ERROR_STOP=1 -d "$1" <"$2" >"$3" 2>"$3-errors" &
}
prepare="SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = '60s'; SET max_parallel_workers_per_gather = 0; SET search_path = pg_catalog;"
[ -z "$role" ] || prepare="$prepare SET ROLE \"$(printf %s "$role" | sed 's/"/""/g')\";"
# Wait for a file that a session writes.
await() { # FILE SESSION
    until [ -s "$1" ]; do
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.05 2>/dev/null || sleep 1
    done
}
send() { printf '%s\n' "$*" >&3 2>/dev/null || :; }
# Who holds an advisory lock, so that a connection of somebody else can be ended.
holder_of() { # KEY
    query -c "SELECT format(', held by role %s, application %L, process %s', usename, application_name, pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = $1 AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())" | tr '\n' ' ' || :
}
trap '' PIPE
start_session "$database" statements session
session=$!
exec 3>statements
send "$prepare"
send "SELECT pg_try_advisory_lock($BACKUP_LOCK) \\g locked"
await locked "$session" || fail 4 "the server cannot be used: $(messages_of session-errors)"
[ "$(cat locked)" = t ] || fail 5 "another backup of $database is running$(holder_of $BACKUP_LOCK)"
send "SELECT pg_advisory_lock_shared($MAINTENANCE_LOCK);"
send "SELECT 'locked' \\g locked-shared"
await locked-shared "$session" || fail 4 "the server cannot be used: $(messages_of session-errors)$(holder_of $MAINTENANCE_LOCK)"
for left in "$directory/$name"-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*Z*.partial; do # no other backup is running
    [ "$left" = "$partial" ] || [ ! -d "$left" ] || rm -rf -- "$left"
done
started=$(date +%s)

# --- the dumps

if [ -z "$method" ]; then
    method=gzip:1 # a third of the time of level 6, a quarter more space
    if [ "$client" -ge 16 ]; then # not every build supports zstd
        "$programs/pg_dump" --compress=zstd --schema=- --file=/dev/null -d "$database" -w 2>&1 | grep -q 'not support' ||
            method=zstd:3
    fi
fi
[ "$client" -ge 16 ] || method=${method#gzip:}
dump() { # exec: the background process is pg_dump itself
    # Any login can make a large object that nobody else may read; strikecast has none.
    exec "$programs/pg_dump" --format=custom --compress="$method" --snapshot="$(cat snapshot)" --no-password --no-blobs \
        --lock-wait-timeout=60000 ${role:+--role="$role"} -d "$1"
}
# One session holds the snapshot, and computes checksums in it while pg_dump uses it: files FILE-tables and FILE-facts.
dump_database() { # DATABASE FILE
    file=$2
    rm -f snapshot snapshot-statements plain to-read to-keep encrypted
    start_session "$1" snapshot-statements checksums
    dumping=$!
    exec 4>snapshot-statements
    {
        printf '%s\n' "$prepare" "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
        printf '%s\n' "SELECT pg_export_snapshot() \\g snapshot" "\\o $file-tables"
        printf '%s\n' "SELECT format('SELECT json_build_object(''table'', %L, ''rows'', count(*), ''checksum'', coalesce(sum(pg_catalog.hash_record_extended(t, 0)), 0)::text) FROM ONLY %I.%I AS t', nspname || '.' || relname, nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r' AND relpersistence = 'p' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY nspname, relname \\gexec"
        printf '%s\n' "\\o" "RESET ROLE;" "SELECT json_build_object('database', current_database(), 'server_version', current_setting('server_version'), 'server_size_bytes', pg_database_size(current_database()), 'snapshot_at', to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')) \\g $file-facts"
    } >&4 2>/dev/null || :
    await snapshot "$dumping" || fail 4 "the snapshot cannot be exported: $(messages_of checksums-errors)"

    # The stream is read by pg_restore for verification, and at the same time encrypted if requested and written.
    mkfifo plain to-read to-keep encrypted
    # The exit status of every process is checked, so a killed one is detected even after the last bytes.
    tee to-read <plain >to-keep 2>/dev/null &
    tee_pid=$!
    {
        code=0
        "$programs/pg_restore" --file=/dev/null 2>errors-reading || code=$?
        cat >/dev/null # prevents a broken pipe of tee
        exit "$code"
    } <to-read &
    reader=$!
    stored=to-keep encryptor=''
    if [ -n "$suffix" ]; then
        encrypt <to-keep >encrypted 2>errors-encrypting &
        encryptor=$! stored=encrypted
    fi
    {
        tee "$partial/$file$suffix" <"$stored" 2>errors-writing || echo "tee ended with $?" >>errors-writing
    } | sha256sum >"sum-of-$file" &
    writer=$!
    dump "$1" >plain 2>errors-dump &
    dump=$!
    # Lower the priority of the server's processes, too, if they run on this machine and permissions allow it.
    tries=0 pids=''
    while [ "$tries" -lt 10 ] && [ "$(printf %s "$pids" | wc -w)" -lt 3 ] && kill -0 "$dump" 2>/dev/null; do
        tries=$((tries + 1))
        pids=$(query -c "SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid() AND client_addr IS NULL") || break
    done
    for pid in $pids; do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != postgres ] || renice -n 10 -p "$pid" >/dev/null 2>&1 || :
    done
    code=0
    wait "$dump" || code=$?
    dump=''
    wait "$writer" || fail 8 "sha256sum ended with $?"
    [ ! -s errors-writing ] || fail 7 "the dump cannot be written: $(messages_of errors-writing)"
    sync -- "$partial/$file$suffix" 2>/dev/null & # in the background
    [ -z "$encryptor" ] || wait "$encryptor" || fail 10 "encrypting ended with $?: $(messages_of errors-encrypting)"
    [ "$code" -eq 0 ] || fail 7 "pg_dump ended with $code: $(messages_of errors-dump)"
    wait "$tee_pid" || fail 7 "tee ended with $?"
    # Compare the file with the stream that pg_restore has read.
    wait "$reader" || fail 8 "pg_restore cannot read the dump: $(messages_of errors-reading)"
    (cd -- "$partial" && sha256sum "$file$suffix") >>sums || fail 8 "the backup cannot be read"
    [ "$(tail -n 1 sums | awk '{ print $1 }')" = "$(awk '{ print $1 }' "sum-of-$file")" ] ||
        fail 8 "the file differs from the dump that was written"
    await "$file-facts" "$dumping" || fail 7 "the checksums cannot be computed: $(messages_of checksums-errors)"
    printf '\\q\n' >&4 2>/dev/null || :
    wait "$dumping" || :
    dumping=''
    exec 4>&-
}
# Dagster's first: what it says about data must not be newer than the data.
[ -z "$dagster" ] || dump_database "$dagster" dagster.dump
dump_database "$database" database.dump
kill -0 "$session" 2>/dev/null || fail 4 "the server closed the session that holds the locks: $(messages_of session-errors)"
roles=$("$programs/pg_dumpall" --roles-only --no-role-passwords --no-password ${role:+--role="$role"} -l "$database" \
    2>errors-dump) || fail 7 "pg_dumpall ended with $?: $(messages_of errors-dump)"
printf '%s\n' "$roles" | encrypt >"$partial/roles.sql$suffix" 2>errors-encrypting ||
    fail 7 "the roles cannot be written: $(messages_of errors-encrypting)"
(cd -- "$partial" && sha256sum "roles.sql$suffix") >>sums || fail 8 "the backup cannot be read"

# --- the manifest

file_facts() {
    printf '{"name": "%s", "bytes": %s, "sha256": "%s"}' "$1" "$(wc -c <"$partial/$1" | tr -d ' ')" \
        "$(awk -v file="$1" '$2 == file || $2 == "*" file { print $1 }' sums)"
}
tables_of() { sed '$!s/$/,\n  /' "$1-tables" | tr -d '\n' | sed 's/},  {/},\n  {/g'; }
{
    printf '{"format": 1,\n "facts": %s,\n "client_version": "%s", "compression": "%s", "encryption": "%s", "seconds": %s,\n' \
        "$(cat database.dump-facts)" "$("$programs/pg_dump" --version | sed 's/^[^0-9]*\([0-9.]*\).*/\1/')" "$method" "${suffix#.}" $(($(date +%s) - started))
    printf ' "files": [%s,\n' "$(file_facts "database.dump$suffix")"
    [ -z "$dagster" ] || printf '           %s,\n' "$(file_facts "dagster.dump$suffix")"
    printf '           %s],\n' "$(file_facts "roles.sql$suffix")"
    [ -z "$dagster" ] ||
        printf ' "dagster": {"facts": %s,\n  "tables": [\n  %s]},\n' "$(cat dagster.dump-facts)" "$(tables_of dagster.dump)"
    printf ' "tables": [\n  %s]}\n' "$(tables_of database.dump)"
} >"$partial/manifest.json" || fail 7 "the manifest cannot be written"
# HMAC-SHA256; the key's text is as long as a block of SHA-256, and no argument of a program contains it.
masked() { # the key with each byte changed by exclusive or, as the set of 16 digits gives it
    tr -d '\n' <"$key" | tr '0123456789abcdef' "$1"
}
to_bytes() { # of hexadecimal digits
    fold -w 2 | while read -r byte; do printf '%b' "\\0$(printf '%03o' "0x$byte")"; done
}
if [ -n "$key" ]; then
    inner=$({ masked '\006\007\004\005\002\003\000\001\016\017WTURSP' && cat "$partial/manifest.json"; } | sha256sum | cut -d ' ' -f 1)
    { masked 'lmnohijkde=>?89:' && printf '%s\n' "$inner" | to_bytes; } | sha256sum | cut -d ' ' -f 1 >"$partial/manifest.hmac" ||
        fail 7 "the signature cannot be written"
fi
cd -- "$partial"
sync -- * . 2>/dev/null || sync
cd -- "$scratch"
mv -- "$partial" "$directory/$base" || fail 6 "cannot rename $partial"
sync -- "$directory" 2>/dev/null || sync
printf '%s\n' "$directory/$base"

# --- copy all backups without a copy, still holding the backup lock

send "SELECT pg_advisory_unlock_shared($MAINTENANCE_LOCK);"
failed=''
# shellcheck source=pipelines/maintenance/pg_backup_copies.sh
[ -z "$copies" ] || . "$here/pg_backup_copies.sh"
send "SELECT pg_advisory_unlock($BACKUP_LOCK);" # the end of the session would release it too late for the next backup
send "\\q"
wait "$session" || :
session=''
exec 3>&-
[ -z "$failed" ] || fail 9 "$base was made, but not copied to $copies:$failed"
