"""Hide credentials in every text that is shown, logged or stored: errors, log lines, settings."""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN = "***"
# Both take linear time: an exchange's answer, or a line of a log, can be long.
_USER_INFORMATION = re.compile(r"(?<=://)[^\s\"'<>]{0,500}@")
_NAMED = re.compile(
    r"(?i)(?<![a-z0-9_-])((?:[a-z0-9]+[_-])*(?:api-?key|access-?key|key|secret|token|(?:pg)?passwd|(?:pg)?password|pass|"
    r"passphrase|signature|sig|auth|credentials?|jwt)=[\"']?|"
    # As JSON, a header, or a dict; fewer names, which mean something else before a colon.
    r"[\"']?(?:[a-z0-9]+[_-])*(?:api-?key|secret|password|passphrase|authorization)[\"']?\s?:\s?[\"']?"
    r"(?:(?:bearer|basic) )?+)"
    r"(?!\*)[^\s&,;:\"'<>{}]+"
)
#: A shorter password also occurs as a word.
_SHORTEST_PASSWORD = 8
#: Texts with a secret of this process's settings -> what is shown instead.
_concealed: dict[str, str] = {}


def conceal(url: str) -> None:
    """Show of a URL in the settings only its scheme and host from now on: its path may be a token.

    A malformed URL is not shown at all.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        password = parts.password
    except ValueError:
        _concealed[url] = HIDDEN
        return
    shown = urlunsplit((parts.scheme, host, "", "", ""))
    if parts.path.strip("/"):
        shown += f"/{HIDDEN}"
    for netloc in {parts.netloc, host}:
        for query in {parts.query, ""}:
            known = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), query, "")) if host else url
            if known != shown and len(known) > len(parts.scheme) + 3:
                _concealed[known] = shown
    for secret in {password or "", unquote(password or "")}:
        if len(secret) >= _SHORTEST_PASSWORD:
            _concealed[secret] = HIDDEN


def redact(text: str) -> str:
    """A text without credentials: of URLs, of `name=value` with a name like `apikey`, and of concealed URLs.

    >>> redact("GET https://ann:s3cret@example.org/x?apikey=abc&day=1")
    'GET https://***@example.org/x?apikey=***&day=1'
    >>> redact("{'apiKey': 'abc', 'day': 1}, Authorization: Bearer abc")
    "{'apiKey': '***', 'day': 1}, Authorization: Bearer ***"
    >>> redact(":s3,secret_access_key=abc:bucket is not reachable")
    ':s3,secret_access_key=***:bucket is not reachable'
    """
    for secret in sorted(_concealed, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, _concealed[secret])
    if "://" in text:
        text = _USER_INFORMATION.sub(f"{HIDDEN}@", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text) if "=" in text or ":" in text else text
