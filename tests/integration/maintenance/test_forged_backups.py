"""A backup that somebody forged or changed: refused, and without the means to execute a program when it is accepted."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import orjson
import pytest
from backups import UNSIGNED, now
from psycopg import sql

from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.errors import BackupError, DatabaseError, SettingsError
from pipelines.maintenance.backup import Backup, create_backup, read_backup, rotate_backups
from pipelines.maintenance.restore import Trust, restore, run_drill
from pipelines.maintenance.signatures import SIGNATURE, ensure_key, sign
from pipelines.settings import load_settings
from pipelines.storage.maintenance.restored_databases import drop_database
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.schema import migrate

#: Executed by each row that is restored, with the rights of the login that restores it.
ATTACK = """
CREATE FUNCTION public.attack(n integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE 'RESET ROLE';
        EXECUTE 'RESET SESSION AUTHORIZATION';
        EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch {marker}''';
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    BEGIN
        EXECUTE 'ALTER ROLE {role} SUPERUSER';
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    RETURN true;
END $$;
-- Called in place of the built-in function by a statement that trusts the search path.
CREATE TABLE public.forged (n integer);
CREATE FUNCTION public.hash_record_extended(forged, integer) RETURNS bigint LANGUAGE sql AS 'SELECT public.attack(1)::integer::bigint';
INSERT INTO public.forged VALUES (1);
ALTER TABLE public.forged ADD CHECK (public.attack(n));
"""


@pytest.fixture
def victim(server: Database, tmp_path: Path) -> Iterator[tuple[Database, Path, str]]:
    """A database that was manipulated, the file that the attack creates, and the role that it promotes."""
    name, role = f"strikecast_test_{secrets.token_hex(6)}", f"test_mallory_{secrets.token_hex(4)}"
    marker = Path("/tmp") / f"strikecast-attack-{secrets.token_hex(6)}"  # noqa: S108 (the server's user writes it)
    database = Database(server.url_for(name))
    migrate(database)
    with database.connect("test", None) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute("SET check_function_bodies = off")
        connection.execute(ATTACK.format(marker=marker, role=role).encode())
    marker.unlink(missing_ok=True)
    yield database, marker, role
    marker.unlink(missing_ok=True)
    drop_database(server, name)
    drop_database(server, f"{name}_copy")
    with Database(server.url_for("postgres")).connect("test", None) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def is_superuser(database: Database, role: str) -> bool:
    with database.connect("test", None) as connection:
        return connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone() == (True,)


def temporary_logins(database: Database) -> int:
    with database.connect("test", None) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'strikecast\\_login\\_%'"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_a_forged_dump_executes_no_program(victim: tuple[Database, Path, str], tmp_path: Path) -> None:
    database, marker, role = victim
    made = create_backup(database, tmp_path)
    marker.unlink(missing_ok=True)
    with database.connect("test", None) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(sql.Identifier(role)))
    restore(database, made, f"{database.name}_copy", now(), trust=UNSIGNED)
    assert not marker.exists()
    assert not is_superuser(database, role)
    assert temporary_logins(database) == 0
    drop_database(database, f"{database.name}_copy")
    run_drill(load_settings(), database, made, now(), trust=UNSIGNED)
    assert not marker.exists()
    assert not is_superuser(database, role)
    told = Trust(None, unsigned=True, login_rights=True)
    restore(database, made, f"{database.name}_copy", now(), trust=told)
    assert is_superuser(database, role), "the attack works where it is permitted"


def test_what_a_dump_needs_beyond_the_owners_rights_is_refused_unless_permitted(
    victim: tuple[Database, Path, str], tmp_path: Path
) -> None:
    database, _, _ = victim
    with database.connect("test", None) as connection:
        connection.execute("CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        connection.execute("CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.on_ddl()")
    made, name = create_backup(database, tmp_path), f"{database.name}_copy"
    with pytest.raises(BackupError, match=r"needs more rights than strikecast_owner has: add --with-login-rights"):
        restore(database, made, name, now(), trust=UNSIGNED)
    assert restore(database, made, name, now(), trust=Trust(None, unsigned=True, login_rights=True)).differences == ()


def test_roles_and_properties_of_a_forged_backup_are_plain(victim: tuple[Database, Path, str], tmp_path: Path) -> None:
    database, marker, _ = victim
    made = create_backup(database, tmp_path)
    evil = f"test_evil_{secrets.token_hex(4)}"
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {marker}'"
    lines = [
        f"CREATE ROLE {evil};",
        f"ALTER ROLE {evil} WITH NOINHERIT SUPERUSER;",
        f"ALTER ROLE {evil} WITH LOGIN; {program};",
        f"ALTER ROLE {evil} WITH INHERIT CREATEROLE REPLICATION BYPASSRLS;",
        f"ALTER ROLE {evil} SET work_mem TO '1MB'; {program};",
        f"ALTER ROLE {evil} SET session_preload_libraries TO '/tmp/evil';",
        f"GRANT strikecast_reader TO {evil};",
        f"GRANT pg_execute_server_program TO {evil};",
        f"GRANT postgres TO {evil};",
        f"GRANT strikecast_reader TO {evil} WITH ADMIN OPTION; {program};",
    ]
    with (made.folder / "roles.sql").open("a") as roles:
        roles.write("\n".join(lines))
    restore(database, resigned(made, None), f"{database.name}_copy", now(), trust=UNSIGNED)
    try:
        assert not marker.exists()
        with database.connect("test", None) as connection:
            facts = connection.execute(
                "SELECT rolsuper, rolcreaterole, rolreplication, rolbypassrls, rolconfig, "
                "pg_has_role(oid, 'strikecast_reader', 'MEMBER'), pg_has_role(oid, 'pg_execute_server_program', 'MEMBER'), "
                "pg_has_role(oid, 'postgres', 'MEMBER') FROM pg_roles WHERE rolname = %s",
                [evil],
            ).fetchone()
        assert facts == (False, False, False, False, None, True, False, False)
    finally:
        with database.connect("test", None) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(evil)))


def resigned(backup: Backup, key: bytes | None) -> Backup:
    """A backup whose manifest fits its files again, signed with a key if one is given."""
    import hashlib

    path = backup.folder / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    for one in manifest["files"]:
        content = (backup.folder / one["name"]).read_bytes()
        one.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    path.write_bytes(orjson.dumps(manifest))
    if key is not None:
        (backup.folder / SIGNATURE).write_text(sign(path.read_bytes(), key))
    return read_backup(backup.folder)


@pytest.mark.embedded_only
def test_only_a_backup_with_the_homes_signature_is_restored(database: Database, tmp_path: Path) -> None:
    key = tmp_path / "home" / "backup-signing.key"
    made, name = create_backup(database, tmp_path / "backups", key=key), f"{database.name}_copy"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (made.folder / SIGNATURE).read_text().strip() == sign(
        (made.folder / "manifest.json").read_bytes(), key.read_text().strip().encode()
    ), "the shell script computes the same"
    (tmp_path / "copies").mkdir()
    unsigned = copytree(made.folder, tmp_path / "copies" / "unsigned")
    (unsigned / SIGNATURE).unlink()
    changed = copytree(made.folder, tmp_path / "copies" / "changed")
    (changed / "roles.sql").write_text("CREATE ROLE evil;")
    other = copytree(made.folder, tmp_path / "copies" / "other")
    for folder, trust, message in (
        (unsigned, Trust(key), "unsigned is not signed"),
        (changed, Trust(key), "changed is signed with another key, or changed since"),
        (other, Trust(ensure_key(tmp_path / "other.key")), "other is signed with another key"),
        (other, Trust(tmp_path / "missing.key"), "other is signed, but the key is not here"),
    ):
        if folder is changed:
            resigned(read_backup(folder), None)
        with pytest.raises(BackupError, match=f"{message}.*add --accept-unsigned"):
            restore(database, read_backup(folder), name, now(), trust=trust)
    try:
        assert restore(database, made, name, now(), trust=Trust(key)).differences == ()
        drop_database(database, name)
        assert restore(database, read_backup(unsigned), name, now(), trust=UNSIGNED).differences == ()
    finally:
        drop_database(database, name)
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by other users"):
        restore(database, made, name, now(), trust=Trust(key))


@pytest.mark.embedded_only
@pytest.mark.parametrize(
    "name", ["", "host=evil", "postgresql://evil/x", "a b", "x" * 64, "a;b", 'a"b', "a\nb", "a?host=b"]
)
def test_a_name_that_a_program_takes_for_more_is_refused(database: Database, tmp_path: Path, name: str) -> None:
    made = create_backup(database, tmp_path)
    with pytest.raises(DatabaseError, match="cannot name a database: use letters"):
        restore(database, made, name, now(), trust=UNSIGNED)


@pytest.mark.embedded_only
def test_rotation_keeps_a_link_and_goes_on(database: Database, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "backups"
    oldest, older = create_backup(database, folder), create_backup(database, folder)
    create_backup(database, folder)
    elsewhere.mkdir()
    moved = oldest.folder.rename(elsewhere / "moved")
    oldest.folder.symlink_to(moved)
    plan = rotate_backups(folder, RotationPolicy(0, 0, 0, 0, 1), now())
    assert [name for name, _ in plan.delete] == [older.folder.name]
    assert (oldest.folder.name, "a link, which is not deleted") in plan.keep
    assert (moved / "manifest.json").exists()
    assert oldest.folder.is_symlink()
