"""Which roles and properties of a database a restore brings back."""

import pytest

from pipelines.domain.maintenance.restored_roles import database_properties, restored_roles

ROLES = """
CREATE ROLE "Ann B";
ALTER ROLE "Ann B" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
ALTER ROLE "Ann B" SET statement_timeout TO '5s';
CREATE ROLE analysts;
ALTER ROLE analysts WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE billing;
ALTER ROLE billing WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE grafana;
ALTER ROLE grafana WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;
CREATE ROLE strikecast_backup;
ALTER ROLE strikecast_backup WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE strikecast_reader;
ALTER ROLE strikecast_reader WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;

GRANT analysts TO "Ann B" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres;
GRANT pg_read_all_data TO billing GRANTED BY postgres;
GRANT pg_read_all_data TO strikecast_backup WITH INHERIT TRUE GRANTED BY postgres;
GRANT strikecast_reader TO analysts GRANTED BY postgres;
GRANT strikecast_reader TO postgres GRANTED BY postgres;
"""
SCHEMA = """
CREATE DATABASE "my data" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';
ALTER DATABASE "my data" OWNER TO postgres;
\\connect "my data"
REVOKE CONNECT,TEMPORARY ON DATABASE "my data" FROM PUBLIC;
GRANT CREATE,TEMPORARY ON DATABASE "my data" TO strikecast_owner;
ALTER DATABASE "my data" SET work_mem TO '64MB';
ALTER ROLE "Ann B" IN DATABASE "my data" SET search_path TO 'analytics', 'public';
ALTER TABLE analytics.lookup OWNER TO strikecast_owner;
GRANT SELECT ON TABLE analytics.lookup TO grafana;
"""


def test_roles_of_other_projects_are_left_out() -> None:
    found = restored_roles(ROLES, [SCHEMA])
    assert [role.name for role in found.roles] == [
        "Ann B",  # a member of a member
        "analysts",
        "grafana",  # has a privilege
        "postgres",
        "strikecast_backup",
        "strikecast_reader",
    ]
    assert {one.member for one in found.memberships} == {"Ann B", "analysts", "postgres", "strikecast_backup"}


def test_attributes_settings_and_memberships_are_kept_except_those_of_superusers() -> None:
    found = restored_roles(ROLES, [SCHEMA])
    statements = {role.name: role.statements for role in found.roles}
    assert statements["Ann B"] == (
        'ALTER ROLE "Ann B" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;',
        "ALTER ROLE \"Ann B\" SET statement_timeout TO '5s';",
    )
    assert statements["postgres"] == ()
    assert found.memberships[0].statement == 'GRANT analysts TO "Ann B" WITH ADMIN OPTION, INHERIT TRUE;'


def test_properties_of_the_database_are_found_without_its_name() -> None:
    assert database_properties(SCHEMA, {"Ann B"}) == (
        ("ALTER DATABASE ", " OWNER TO postgres;"),
        ("REVOKE CONNECT,TEMPORARY ON DATABASE ", " FROM PUBLIC;"),
        ("GRANT CREATE,TEMPORARY ON DATABASE ", " TO strikecast_owner;"),
        ("ALTER DATABASE ", " SET work_mem TO '64MB';"),
        ('ALTER ROLE "Ann B" IN DATABASE ', " SET search_path TO 'analytics', 'public';"),
    )


@pytest.mark.parametrize(
    "setting",
    [
        "session_preload_libraries TO '/tmp/evil.so'",
        "\"Session_Preload_Libraries\" TO '/tmp/evil.so'",
        "LOCAL_PRELOAD_LIBRARIES TO 'evil'",
        "dynamic_library_path TO '/tmp'",
        "role TO 'postgres'",
        "auto_explain.log_analyze TO 'on'",
    ],
)
def test_settings_that_load_libraries_or_change_what_statements_mean_are_left_out(setting: str) -> None:
    roles = ROLES.replace("statement_timeout TO '5s'", setting)
    assert not any(setting in one for role in restored_roles(roles, [SCHEMA]).roles for one in role.statements)
    schema = SCHEMA.replace("work_mem TO '64MB'", setting)
    assert not any(setting in after for _, after in database_properties(schema, {"Ann B"}))


def test_the_search_path_is_restored_neither_of_a_database_nor_of_a_superuser() -> None:
    assert not any("search_path" in after for _, after in database_properties(SCHEMA, set()))
    schema = SCHEMA.replace("work_mem TO '64MB'", "search_path TO 'public', 'pg_catalog'")
    assert not any("pg_catalog" in after for _, after in database_properties(schema, {"Ann B"}))
