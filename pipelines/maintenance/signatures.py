"""Signatures of backups: an HMAC-SHA256 of the manifest, with a key that is not in the folder of the backups.

The manifest has the SHA-256 of every other file, so its signature covers the whole backup. `pg_backup.sh` computes the
same signature.
"""

import hmac
import os
import re
import secrets
from enum import StrEnum
from pathlib import Path

from pipelines.errors import BackupError, SettingsError

MANIFEST = "manifest.json"
SIGNATURE = "manifest.hmac"
#: 32 random bytes in hexadecimal: as text one block of SHA-256, so a key of HMAC as it is.
_KEY = re.compile(r"[0-9a-f]{64}\n?")


class Origin(StrEnum):
    """What the signature of a backup says about who made it."""

    OURS = "signed with this key"
    OTHER = "signed with another key, or changed since"
    UNSIGNED = "not signed"
    UNKNOWN = "signed, but the key is not here"


def ensure_key(path: Path) -> Path:
    """Create the signing key, readable by its owner alone, unless it exists; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(partial)  # atomic, and fails where a key exists
    except FileExistsError:
        read_key(path)
    finally:
        partial.unlink()
    return path


def read_key(path: Path) -> bytes | None:
    """The signing key; None without a file. Raises SettingsError for one that is malformed or readable by others."""
    try:
        with path.open() as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(100)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"the signing key {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise SettingsError(
            f"the signing key {path} can be read by other users: `chmod 600 {path}`, if none of them has"
        )
    if not _KEY.fullmatch(text):
        raise SettingsError(f"{path} is not a signing key: 64 hexadecimal digits are expected")
    return text.strip().encode()


def sign(manifest: bytes, key: bytes) -> str:
    """The signature of a manifest, in hexadecimal."""
    return hmac.new(key, manifest, "sha256").hexdigest()


def origin(folder: Path, manifest: bytes, key_path: Path | None) -> Origin:
    """Who made the backup in a folder, by the signature of its manifest. Raises BackupError, SettingsError."""
    try:
        with (folder / SIGNATURE).open("rb") as file:
            signature = file.read(200).strip()
    except FileNotFoundError:
        return Origin.UNSIGNED
    except OSError as error:
        raise BackupError(f"the signature of {folder.name} cannot be read: {error.strerror}") from error
    key = None if key_path is None else read_key(key_path)
    if key is None:
        return Origin.UNKNOWN
    return Origin.OURS if hmac.compare_digest(sign(manifest, key).encode(), signature) else Origin.OTHER


def require_own(folder: Path, manifest: bytes, key_path: Path | None) -> None:
    """Raise BackupError unless the backup is signed with the key: a restore executes what is in it."""
    found = origin(folder, manifest, key_path)
    if found is not Origin.OURS:
        where = "" if key_path is None else f" ({key_path})"
        raise BackupError(
            f"{folder.name} is {found}{where}, and restoring a forged backup gives its author the database: set "
            "`signing_key` in [backup] to a copy of the key of the machine that made it, or add --accept-unsigned if "
            "nobody else can have written to its folder"
        )
