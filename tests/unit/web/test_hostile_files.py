"""Whatever a probability file contains, the page serves it or says what is wrong, and the other symbols as ever."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from sample_ladders import ladder, write_ladder
from sample_strike_tables import strike_table

from pipelines.live.probability_reader import MAX_FILE_BYTES
from pipelines.live.probability_writer import probabilities_path
from pipelines.live.strike_table_reader import TableName, table_of
from pipelines.monitoring.audit.reports import Reports
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database
from pipelines.web.app import Endpoints, create_app
from pipelines.web.desk import DeskEndpoints
from pipelines.web.past import PastEndpoints
from pipelines.web.reports import ReportEndpoints
from pipelines.web.strike_tables import StrikeTableEndpoints, table_event
from pipelines.web.ticks import TickMetrics

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
PAYLOAD: dict[str, Any] = orjson.loads(orjson.dumps(ladder(95_100.0, NOW)))
TABLE = TableName("BTC", "KXBTCD")
TABLE_PAYLOAD: dict[str, Any] = orjson.loads(orjson.dumps(strike_table(95_100.0, NOW)))


def paths_of(payload: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Paths of the payload's values: of its fields, and in its lists of the fourth value and its fields."""
    fourth = [(name, 3) for name, value in payload.items() if isinstance(value, list) and len(value) > 3]
    inner = [(name, 3, field) for name, _ in fourth if isinstance(payload[name][3], dict) for field in payload[name][3]]
    return [*((name,) for name in payload), *fourth, *inner]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        ["NaN", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-03-04", "\x1b[2J", "{{7*7}}"]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


class Page:
    """The application on a folder with a good file of ETH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_ladder(folder, "ETH", ladder(2_000.0, NOW))
        nowhere = Database("postgresql://nobody@127.0.0.1:1/none")
        reports = Reports(folder / "audit.html", folder / "audit.json", folder / "metrics.txt")
        tables = StrikeTableEndpoints(lambda: [TABLE], folder, lambda: NOW)
        desk = DeskEndpoints(load_settings, nowhere, lambda: NOW)
        endpoints = Endpoints(
            lambda: ["BTC", "ETH"],
            folder,
            reports,
            nowhere,
            lambda: NOW,
            tables,
            desk,
            TickMetrics(nowhere, lambda: NOW),
        )
        app = create_app(
            endpoints,
            PastEndpoints(load_settings, nowhere, lambda: NOW),
            tables,
            desk,
            ReportEndpoints(load_settings, nowhere),
        )
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        self.runner = asyncio.Runner()

    def get(self, path: str) -> httpx.Response:
        return self.runner.run(self._client.get(path))

    def require_answers(self, content: bytes) -> None:
        """No exception reaches the client, which would raise it, and ETH is not affected."""
        probabilities_path(self.folder, "BTC").write_bytes(content)
        self.require_pages()
        assert self.get("/api/BTC").status_code == (503 if len(content) > MAX_FILE_BYTES else 200)

    def require_table_answers(self, content: bytes) -> None:
        """As `require_answers`, for a strike table."""
        TABLE.path(self.folder).write_bytes(content)
        self.require_pages()
        assert self.get("/api/BTC/strike-table").status_code == (503 if len(content) > MAX_FILE_BYTES else 200)

    def require_pages(self) -> None:
        for path in ("/?symbol=BTC", "/?symbol=ETH", "/", "/api/symbols", "/api/ETH"):
            assert self.get(path).status_code == 200, path
        assert self.get("/health").status_code == 503  # without a database
        assert [one["status"] for one in self.get("/api/symbols").json()][1] == "ok"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = Page(tmp_path_factory.mktemp("hostile"))
    with found.runner:
        yield found


def almost(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A good file with some values replaced or removed."""
    changes = st.lists(st.tuples(st.sampled_from(paths_of(good)), VALUES, st.booleans()), min_size=1, max_size=4)
    return changes.map(lambda made: changed(good, made))


def changed(good: dict[str, Any], changes: list[tuple[tuple[Any, ...], Any, bool]]) -> bytes:
    payload = orjson.loads(orjson.dumps(good))
    for path, value, remove in changes:
        parent = payload
        for step in path[:-1]:
            parent = parent[step] if isinstance(parent, dict) and step in parent else parent
            parent = (
                parent[step] if isinstance(parent, list) and isinstance(step, int) and step < len(parent) else parent
            )
        usable = (isinstance(parent, dict) and isinstance(path[-1], str)) or (
            isinstance(parent, list) and path[-1] == 3 and len(parent) > 3
        )
        if usable and not (remove and isinstance(parent, list)):
            if remove:
                parent.pop(path[-1], None)
            else:
                parent[path[-1]] = value
    return orjson.dumps(payload)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"timestamp": ' + b"9" * 10_000 + b"}",
        b" " * (MAX_FILE_BYTES + 1),
        b"\xff\xfe\x00",
        b'"\\ud800"',
        orjson.dumps(PAYLOAD).replace(b'"sigma":0.0512', b'"sigma":NaN'),
        orjson.dumps(PAYLOAD).replace(b'"sigma":0.0512', b'"sigma":1e400'),
        orjson.dumps(PAYLOAD).replace(b'"sigma":0.0512', b'"sigma":"high"'),
        orjson.dumps(PAYLOAD).replace(b'"current_price":95100.0', b'"current_price":' + b"9" * 5_000),
        orjson.dumps(PAYLOAD | {"price_timestamp": None}),
        orjson.dumps(PAYLOAD | {"reasons": {"a": 1}}),
        orjson.dumps(PAYLOAD | {"status": ["ok"]}),
        orjson.dumps(PAYLOAD | {"model_version": {}}),
    ],
    ids=range(14),
)
def test_a_file_of_wrong_types_is_unreadable(page: Page, content: bytes) -> None:
    page.require_answers(content)
    assert page.get("/api/symbols").json()[0]["status"] == "unreadable"


def test_the_reason_names_the_field_without_its_value(page: Page) -> None:
    page.require_answers(orjson.dumps(PAYLOAD | {"sigma": "\x1b[2J" * 500}))
    [reason] = page.get("/api/symbols").json()[0]["reasons"][:1]
    assert reason == "the file of BTC is not a probability file (ValueError: sigma: Input should be a valid number)"
    page.require_answers(orjson.dumps(PAYLOAD | {"market_close": "x" * 150}))
    assert all(len(one) < 400 for one in page.get("/api/symbols").json()[0]["reasons"])


def dumped(value: Any) -> bytes:
    return orjson.dumps(value)


def test_any_file_is_answered(page: Page) -> None:
    @examples(50, 10_000)
    @given(st.one_of(almost(PAYLOAD), almost(PAYLOAD), VALUES.map(dumped), st.binary(max_size=200)))
    def check(content: bytes) -> None:
        page.require_answers(content)

    check()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b" " * (MAX_FILE_BYTES + 1),
        b"\xff\xfe\x00",
        orjson.dumps(PAYLOAD),
        orjson.dumps(TABLE_PAYLOAD | {"series_ticker": "KXBTC"}),
        orjson.dumps(TABLE_PAYLOAD | {"symbol": "ETH"}),
        orjson.dumps(TABLE_PAYLOAD | {"last_updated": "2026-13-04T10:47:26.000Z"}),
        orjson.dumps(TABLE_PAYLOAD | {"market_close": "2026-02-30T10:47:26Z"}),
        orjson.dumps(TABLE_PAYLOAD | {"strikes": TABLE_PAYLOAD["strikes"] * 2}),
    ],
    ids=range(9),
)
def test_a_strike_table_of_wrong_types_is_unreadable_and_says_so(page: Page, content: bytes) -> None:
    page.require_table_answers(content)
    [table] = page.get("/api/symbols").json()[0]["strike_tables"]
    assert table["status"] == "unreadable"
    assert table["reasons"][0].startswith("the file of BTC KXBTCD is not a strike table (")
    assert "is not a strike table" in page.get("/?symbol=BTC").text


def test_any_strike_table_is_answered(page: Page) -> None:
    @examples(50, 10_000)
    @given(st.one_of(almost(TABLE_PAYLOAD), almost(TABLE_PAYLOAD), VALUES.map(dumped), st.binary(max_size=200)))
    def check(content: bytes) -> None:
        page.require_table_answers(content)
        event = orjson.loads(orjson.dumps(table_event(table_of(TABLE, content, NOW), 0, NOW)))
        assert event["card"]["series"] == TABLE.series

    check()


def test_foreign_text_is_shown_as_text(page: Page) -> None:
    hostile = "<script>alert(1)</script>\u202e{{7*7}}\x1b[2J"
    row = TABLE_PAYLOAD["strikes"][0] | {"problems": [hostile]}
    fields = {"market_title": hostile, "warnings": [hostile], "reasons": [hostile], "status": "degraded"}
    payload = TABLE_PAYLOAD | fields | {"strikes": [row], "pool": {"served": "mid", "reason": hostile}}
    payload |= {"market_status": "open"}
    page.require_table_answers(orjson.dumps(payload))
    text = page.get("/?symbol=BTC").text
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;\\u202e{{7*7}}\\x1b[2J") == 5
    page.require_table_answers(orjson.dumps(payload | {"market_status": f"halted: {hostile}", "strikes": []}))
    assert "<script>alert" not in page.get("/?symbol=BTC").text
