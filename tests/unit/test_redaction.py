"""Credentials in texts, and the time that it takes to find them in hostile ones."""

import time

import pytest

from pipelines.errors import single_line
from pipelines.protection.redaction import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /x?apikey=abc&day=1", "GET /x?apikey=***&day=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'apiKey': 'abc'}", "{'apiKey': '***'}"),
        ('{"client_secret": "abc"}', '{"client_secret": "***"}'),
        ("password: abc", "password: ***"),
        ("PGPASSWORD=abc psql", "PGPASSWORD=*** psql"),
        ("the key: 5, monkey=3", "the key: 5, monkey=3"),
        ("https://ann:s3@example.org/", "https://***@example.org/"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize("unit", ["a_", "://", "key", "password: ", "://a@", "api-", "='", "key="])
def test_a_long_text_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    redact(unit * (200_000 // len(unit)))
    single_line(unit * (200_000 // len(unit)) + "=")
    assert time.process_time() - started < 10, "it took a minute for a tenth of this text"
