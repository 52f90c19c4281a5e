"""Roles and properties of a database, from the SQL of a backup: what a restore brings back."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

OWN_PREFIX = "strikecast_"
OWNER = "strikecast_owner"
#: Beginning of the names of logins that exist for one task.
TEMPORARY_LOGIN = "strikecast_login_"
_NAME = r'(?:"(?:[^"\n]|"")+"|\w+)'
_LITERAL = r"'(?:[^'\n]|'')*'"
_CREATE = re.compile(rf"^CREATE ROLE ({_NAME});$", re.MULTILINE)
#: Rights that reach beyond a database are not restored: another server's superuser grants them.
_ATTRIBUTE = (
    "(?:NO)?(?:INHERIT|LOGIN|CREATEDB)|NO(?:SUPERUSER|CREATEROLE|REPLICATION|BYPASSRLS)"
    rf"|CONNECTION LIMIT -?[0-9]+|VALID UNTIL {_LITERAL}"
)
#: Settings that are restored: limits, formats, memory, planning and logging. Others could load a library, or decide
#: which objects a superuser's statements find.
_PLAIN = (
    r"\w+_timeout|work_mem|maintenance_work_mem|temp_buffers|temp_file_limit|hash_mem_multiplier|timezone|datestyle|"
    r"intervalstyle|client_encoding|bytea_output|extra_float_digits|synchronous_commit|jit|default_transaction_\w+|"
    r"default_statistics_target|effective_cache_size|random_page_cost|seq_page_cost|max_parallel_\w+|"
    r"log_min_duration_statement|log_statement|application_name"
)
_VALUE = rf"TO {_LITERAL}(?:, {_LITERAL})*"
_SETTING = rf'SET "?(?i:{_PLAIN})"? {_VALUE}'
#: Only of a role: that of a database would hold for superusers, too.
_ROLE_SETTING = rf'SET "?(?i:{_PLAIN}|search_path)"? {_VALUE}'
_ALTER = re.compile(
    rf"^ALTER ROLE ({_NAME}) (?:WITH (?:{_ATTRIBUTE})(?: (?:{_ATTRIBUTE}))*|{_ROLE_SETTING});$", re.MULTILINE
)
#: Without the grantor, who may not exist on another server.
_GRANT = re.compile(
    rf"^(GRANT ({_NAME}) TO ({_NAME})( WITH (?:ADMIN OPTION|(?:INHERIT|SET) (?:TRUE|FALSE)|, )+)?)"
    rf"(?: GRANTED BY {_NAME})?;$",
    re.MULTILINE,
)
#: Of the predefined roles, those whose members read or watch; others write files or execute programs.
_HARMLESS_PREDEFINED = {
    "pg_read_all_data",
    "pg_monitor",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_stat_scan_tables",
}
_PROPERTY = re.compile(
    rf"^((?:GRANT|REVOKE) (?:CREATE|CONNECT|TEMPORARY|ALL|,)+ ON DATABASE |ALTER DATABASE ){_NAME}"
    rf"( (?:(?:TO|FROM) {_NAME}(?: WITH GRANT OPTION)?|OWNER TO {_NAME}|CONNECTION LIMIT = -?[0-9]+|{_SETTING});)$",
    re.MULTILINE,
)
_ROLE_PROPERTY = re.compile(
    rf"^(ALTER ROLE ({_NAME}) IN DATABASE ){_NAME}( {_ROLE_SETTING};)$",
    re.MULTILINE,
)
_OWNER = re.compile(
    rf"^ALTER (?:TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|SCHEMA|TYPE|DOMAIN|FUNCTION|PROCEDURE) {_NAME}(?:\.{_NAME})?"
    rf"(?:\([\w ,.\"\[\]]*\))? OWNER TO ({_NAME});$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class RestoredRole:
    """A role by name, and the statements that set its attributes and settings."""

    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Membership:
    """A membership, and the statement that grants it."""

    group: str
    member: str
    statement: str


@dataclass(frozen=True)
class RestoredRoles:
    """The roles of a database, and their memberships."""

    roles: tuple[RestoredRole, ...]
    memberships: tuple[Membership, ...]


def restored_roles(roles_sql: str, schema_sql: Iterable[str]) -> RestoredRoles:
    """The project's roles, their members, and the roles that the schemas name, from pg_dumpall's output.

    A server may have roles of other projects, which another server does not need.
    """
    names = [_plain(name) for name in _CREATE.findall(roles_sql)]
    names = [name for name in names if not name.startswith(TEMPORARY_LOGIN)]
    statements = [(_plain(match[1]), match[0]) for match in _ALTER.finditer(roles_sql)]
    memberships = [
        Membership(_plain(one[2]), _plain(one[3]), f"{one[1]};")
        for one in _GRANT.finditer(roles_sql)
        if not _plain(one[2]).startswith("pg_") or _plain(one[2]) in _HARMLESS_PREDEFINED
    ]
    words = {word for text in schema_sql for word in re.findall(_NAME, text)}
    needed = {name for name in names if name.startswith(OWN_PREFIX) or {name, _quoted(name)} & words}
    while members := {one.member for one in memberships if one.group in needed and one.member in names} - needed:
        needed |= members
    return RestoredRoles(
        tuple(
            RestoredRole(name, tuple(text for role, text in statements if role == name))
            for name in names
            if name in needed
        ),
        tuple(one for one in memberships if one.member in needed),
    )


def database_properties(schema_sql: str, plain_roles: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Statements with the owner, privileges and settings of a database: the text before and after its name.

    Settings of a role only if it is among `plain_roles`, which are no superusers.
    """
    own = ((match[1], match[2]) for match in _PROPERTY.finditer(schema_sql))
    of_roles = ((m[1], m[3]) for m in _ROLE_PROPERTY.finditer(schema_sql) if _plain(m[2]) in plain_roles)
    return (*own, *of_roles)


def owners(schema_sql: str) -> tuple[tuple[str, str], ...]:
    """Objects that another role than strikecast_owner owns: the role, and the statement that makes it the owner."""
    found = ((_plain(match[1]), match[0]) for match in _OWNER.finditer(schema_sql))
    return tuple((owner, statement) for owner, statement in found if owner != OWNER)


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
