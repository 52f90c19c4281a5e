"""Credentials in the settings reach no file, log, table or terminal."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from exchange_server import Exchange, status
from hypothesis import given
from hypothesis import strategies as st
from live_sessions import insert_tick, new_session, read_payload, running_in_thread
from waiting import wait_until

from pipelines.errors import FeedError, StrikecastError, single_line
from pipelines.live.feeds.exchange import ExchangeFeed
from pipelines.protection.redaction import conceal, redact
from pipelines.service.log_setup import JsonHandler
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database

SECRETS = ("hush-hush-1", "0p3n-s3same", "path-t0ken-77")


def with_secrets(exchange: Exchange) -> dict[str, str]:
    """The exchange's addresses behind a proxy that takes a login, a key and a token in the path."""
    host = exchange.url.removeprefix("http://")
    return {"public": f"http://ann:{SECRETS[0]}@{host}/{SECRETS[2]}/coinbase?apikey={SECRETS[1]}&x="}


def require_none(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text
        assert quote(secret, safe="") not in text


def test_credentials_of_an_exchange_reach_neither_file_nor_log(
    database: Database, exchange: Exchange, tmp_path: Path, build: object
) -> None:
    assert callable(build)
    build("BTC", seed=1)
    settings = exchange.settings(urls=with_secrets(exchange))
    exchange.fail("/", *[status(403, json.dumps({"message": f"no, {SECRETS[1]}"}).replace(SECRETS[1], "denied"))] * 200)
    logged: list[str] = []

    def feed(_: object) -> ExchangeFeed:
        return ExchangeFeed(settings, {"BTC": "BTC/USD"})

    insert_tick(database, "BTC", 100.0)
    with running_in_thread(new_session(database, tmp_path, "BTC", feed=feed, log=logged.append)):
        wait_until(
            lambda: "coinbaseexchange" in str((read_payload(tmp_path, "BTC") or {}).get("reasons")), "the file's reason"
        )
        require_none("".join(path.read_text() for path in tmp_path.glob("*.json")))
    assert any("coinbaseexchange" in text for text in logged)
    require_none("".join(logged))
    with database.connect("test", None) as connection:
        stored = connection.execute("SELECT string_agg(s::text, '') FROM live_data.session AS s").fetchone()
        snapshots = connection.execute(
            "SELECT string_agg(s::text, '') FROM live_data.session_snapshots AS s"
        ).fetchone()
    require_none(str(stored) + str(snapshots))


def test_no_cause_of_an_error_has_credentials(exchange: Exchange) -> None:
    settings = exchange.settings(urls=with_secrets(exchange))
    exchange.fail("/", *[status(403)] * 20)

    async def ask() -> None:
        feed = ExchangeFeed(settings, {"BTC": "BTC/USD"})
        try:
            await feed.sources[0].quotes()
        finally:
            await feed.close()

    with pytest.raises(FeedError) as raised:
        asyncio.run(ask())
    require_none("".join(traceback.format_exception(raised.value)))


def test_status_shows_no_credentials(tmp_path: Path, exchange: Exchange) -> None:
    variables = {
        **os.environ,
        "STRIKECAST_HOME": str(tmp_path / "home"),
        "STRIKECAST_DATABASE_URL": f"postgresql://ann:{SECRETS[0]}@127.0.0.1:1/x?password={SECRETS[1]}",
        "STRIKECAST_EXCHANGE__URLS": json.dumps(with_secrets(exchange)),
        "STRIKECAST_ALERTS__URLS": json.dumps([f"json://ann:{SECRETS[0]}@127.0.0.1:9/{SECRETS[2]}"]),
        "STRIKECAST_BACKUP__COPY_TO": f":s3,secret_access_key={SECRETS[1]}:bucket",
    }
    for command in (
        ["status", "--settings", "--json"],
        ["status", "--settings"],
        ["status"],
        ["migrate"],
        ["env", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *command],
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        require_none(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            require_none(path.read_text())


def test_log_records_are_redacted(tmp_path: Path) -> None:
    handler = JsonHandler(tmp_path / "log.jsonl")
    record = logging.LogRecord(
        "x", logging.INFO, "f", 1, "GET https://a:%s@h/?token=%s", (SECRETS[0], SECRETS[1]), None
    )
    handler.emit(record)
    handler.close()
    text = (tmp_path / "log.jsonl").read_text()
    require_none(text)
    assert json.loads(text)["event"] == "GET https://***@h/?token=***"


SECRET = st.text(st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=0x7F), min_size=9, max_size=20)


@given(
    SECRET, SECRET, SECRET, st.sampled_from(["", "could not reach ", "a://b c://d "]), st.sampled_from(["", " (403)"])
)
def test_every_url_of_the_settings_is_shown_without_its_secrets(
    password: str, key: str, token: str, before: str, after: str
) -> None:
    url = f"https://ann:{password}@example.org:8443/{token}/v1?apikey={key}"
    conceal(url)
    for shown in (url, url.replace(f"ann:{password}@", ""), f"{url}/products"):
        for text in (redact(before + shown + after), str(StrikecastError(before + shown + after)), single_line(shown)):
            assert password not in text
            assert key not in text
            assert token not in text
            assert "example.org:8443" in text


def test_ordinary_texts_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_EXCHANGE__URLS", '{"public": "https://api.example.org"}')
    load_settings()
    for text in (
        "http://127.0.0.1:3000/runs/0c1",
        "monkey=banana, run_id=7, author=x",
        "GET https://api.example.org/products 503",
        "see a@b.example, 5 = five",
        "postgresql://localhost/strikecast",
    ):
        assert redact(text) == text
