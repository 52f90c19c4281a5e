-- name: login_rights
SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = session_user

-- name: create_login
CREATE ROLE {login} LOGIN PASSWORD {password} VALID UNTIL {until} IN ROLE {roles}

-- name: grant_connect
GRANT CONNECT ON DATABASE {database} TO {login}

-- name: revoke_connect
REVOKE ALL ON DATABASE {database} FROM {login}

-- name: drop_login
DROP ROLE IF EXISTS {login}

-- name: unused_logins
SELECT rolname FROM pg_roles
WHERE starts_with(rolname, %s) AND rolvaliduntil < clock_timestamp()
    AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE usename = rolname)
