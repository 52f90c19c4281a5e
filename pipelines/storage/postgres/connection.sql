-- name: login_roles
SELECT session_user::text, coalesce(array_agg(rolname::text ORDER BY rolname), '{}')
FROM pg_roles
WHERE starts_with(rolname, 'strikecast_') AND rolname <> session_user AND pg_has_role(session_user, oid, 'MEMBER')
