# Part of pg_backup.sh, which reads it with `.`: copy every backup in `directory` that `copies`, a directory or a remote
# (`copies_in`), lacks, and read it back. What could not be copied is added to `failed`.
# shellcheck shell=sh disable=SC2154
case $copies_in in
    directory)
        exists() { [ -f "$copies/$1" ]; }
        remove() { rm -rf -- "${copies:?}/$1"; }
        put() { mkdir -p -- "$copies/${2%/*}" && cp -- "$1" "$copies/$2" && { sync -- "$copies/$2" 2>/dev/null || sync; }; }
        show() { cat -- "$copies/$1"; }
        finish() { mv -- "$copies/$1.partial" "$copies/$1" && { sync -- "$copies" 2>/dev/null || sync; }; }
        connect() { [ -w "$copies/" ] || { log "the directory does not exist or cannot be written" && return 1; }; }
        ;;
    remote)
        listed=''
        # Object stores rename single files, so the manifest is moved last: a copy with a manifest is complete.
        exists() { printf '%s\n' "$listed" | grep -Fqx -- "$1"; }
        remove() { rclone purge "$copies/$1" 2>/dev/null || :; }
        put() { rclone copyto "$1" "$copies/$2"; }
        show() { rclone cat "$copies/$1"; }
        finish() {
            for file in $files; do rclone moveto "$copies/$1.partial/$file" "$copies/$1/$file" || return; done
            remove "$1.partial" # an empty folder remains on remotes with real folders
        }
        connect() { rclone mkdir "$copies" && listed=$(rclone lsf --recursive --files-only "$copies"); }
        ;;
esac
copy() { # copy one backup, given by name; prints errors
    files=$(sed -n 's/.*{"name": "\([a-z.]*\)", "bytes".*/\1/p' "$directory/$1/manifest.json")
    [ ! -f "$directory/$1/manifest.hmac" ] || files="$files manifest.hmac"
    files="$files manifest.json"
    remove "$1.partial"
    for file in $files; do
        put "$directory/$1/$file" "$1.partial/$file" || return
        expected=$(sed -n 's/.*{"name": "'"$file"'", .*"sha256": "\([0-9a-f]*\)".*/\1/p' "$directory/$1/manifest.json")
        case $file in manifest.*) expected=$(sha256sum <"$directory/$1/$file" | cut -d ' ' -f 1) ;; esac
        found=$(show "$1.partial/$file" | sha256sum | cut -d ' ' -f 1)
        [ "$found" = "$expected" ] || { log "$file has another SHA-256 in the copy" && return 1; }
    done
    finish "$1"
}
connect 2>"$errors" || fail 9 "$base was made, but $copies cannot be used: $(messages_of "$errors")"
for one in "$directory/$name"-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*Z*/manifest.json; do
    one=${one%/manifest.json}
    one=${one##*/}
    case $one in *.partial) continue ;; esac
    if exists "$one/manifest.json"; then continue; fi
    # A backup known to be damaged is not copied.
    if grep -q '"problem":"' "$directory/$one/verified.json" 2>/dev/null; then continue; fi
    copy "$one" 2>"$errors" || failed="$failed $one: $(messages_of "$errors")"
done
