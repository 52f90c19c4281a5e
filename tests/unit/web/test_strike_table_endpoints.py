"""The JSON endpoints of strike tables, and the texts that the page shows of them."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sample_strike_tables import ABOVE, RANGES, UP_OR_DOWN, strike_table, write_strike_table
from starlette.applications import Starlette
from starlette.routing import Route

from pipelines.live.probability_reader import MAX_FILE_BYTES
from pipelines.live.strike_table_reader import TableName, TableView, table_names, table_of
from pipelines.web import strike_tables
from pipelines.web.strike_tables import EMPTY_CARD, EMPTY_ROW, StrikeTableEndpoints, card, table_event

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
TEMPLATE = Path(strike_tables.__file__).parent / "templates" / "market.html"
SCRIPT = Path(strike_tables.__file__).parent / "static" / "markets.js"


class Client:
    """Requests of the endpoints of a folder, whose settings are `series`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.series: dict[str, list[str]] = {"BTC": [ABOVE, RANGES], "ETH": []}
        endpoints = StrikeTableEndpoints(lambda: table_names(self.series), folder, lambda: NOW)
        paths = ("/api/{symbol}/strike-table", "/api/{symbol}/strike-table/{series}")
        app = Starlette(routes=[Route(path, endpoints.table) for path in paths])
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        self.runner = asyncio.Runner()

    def get(self, path: str) -> httpx.Response:
        return self.runner.run(self._client.get(path))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    found = Client(tmp_path)
    with found.runner:
        yield found


def test_files_are_served_unchanged_by_symbol_and_series(client: Client) -> None:
    first, second = strike_table(95_100.0, NOW), strike_table(95_100.0, NOW, series=RANGES)
    write_strike_table(client.folder, first)
    write_strike_table(client.folder, second, RANGES)
    for path, payload in (("", first), (f"/{ABOVE}", first), (f"/{RANGES}", second)):
        response = client.get(f"/api/BTC/strike-table{path}")
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        assert response.content == orjson.dumps(payload, option=orjson.OPT_INDENT_2)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/api/BTC/strike-table", "there is no strike table of BTC KXBTCD yet: the live session writes it"),
        ("/api/BTC/strike-table/KXBTC15M", "there is no such series; there are KXBTCD, KXBTC"),
        ("/api/BTC/strike-table/..%2f..%2fetc", "Not Found"),
        ("/api/ETH/strike-table", "there is no strike table of this symbol; there are those of BTC"),
        ("/api/XRP/strike-table", "there is no strike table of this symbol; there are those of BTC"),
    ],
)
def test_what_is_not_there_is_404_with_what_is(client: Client, path: str, reason: str) -> None:
    write_strike_table(client.folder, strike_table(95_100.0, NOW, series=UP_OR_DOWN), UP_OR_DOWN)
    write_strike_table(client.folder, strike_table(95_100.0, NOW, symbol="XRP"))
    response = client.get(path)
    assert (response.status_code, response.text) == (404, reason)


def test_without_a_source_of_markets_no_file_is_served(client: Client) -> None:
    write_strike_table(client.folder, strike_table(95_100.0, NOW))
    client.series = {"BTC": [], "ETH": []}
    response = client.get("/api/BTC/strike-table")
    assert (response.status_code, response.text) == (
        404,
        "there is no strike table of this symbol; [markets] source is none",
    )


def test_a_file_that_is_too_large_is_503(client: Client) -> None:
    (client.folder / "btc_strike_table.json").write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert client.get("/api/BTC/strike-table").status_code == 503


def view(series: str = ABOVE, **fields: Any) -> TableView:
    content = orjson.dumps(strike_table(95_100.0, NOW, series=series, **fields))
    return table_of(TableName("BTC", series), content, NOW)


def texts(series: str = ABOVE, **fields: Any) -> dict[str, Any]:
    found = card(view(series, **fields), 0)
    assert found is not None
    return found


def test_an_event_has_the_file_and_the_texts() -> None:
    event = orjson.loads(orjson.dumps(table_event(view(), 2, NOW)))
    assert list(event) == ["at", "symbol", "series", "status", "reasons", "payload", "card"]
    assert event["payload"] == orjson.loads(orjson.dumps(strike_table(95_100.0, NOW)))
    assert (event["series"], event["card"]["place"], event["card"]["state"]) == (ABOVE, 2, "open")
    missing = table_event(table_of(TableName("BTC", ABOVE), None, NOW), 0, NOW)
    assert (missing["status"], missing["payload"], missing["card"]) == ("missing", None, None)


def test_a_card_says_what_edges_are_computed_from_and_why() -> None:
    pool, mid = texts(), texts(served="mid")
    assert (pool["served"], pool["pooled"]) == ("pool of model and market", "pool %")
    assert (mid["served"], mid["pooled"]) == ("mid of bid and ask", "mid %")
    assert mid["served_reason"] == "112 settled events, 200 are needed"
    assert (pool["settlement"], pool["basis"]) == ("mean of 60 s", "+2.1 bp, quotes, 9 min old")


def test_an_edge_has_its_side_and_sign() -> None:
    rows = texts()["rows"]
    assert {row["edge"].split()[0] for row in rows} == {"YES", "NO"}
    assert all(re.fullmatch(r"(YES|NO) [+-]\d+\.\d\d", row["edge"]) for row in rows)
    assert [row["edge_is"] for row in rows] == ["gain" if "+" in row["edge"] else "loss" for row in rows]
    assert {row["edge"] for row in texts(quote_age_ms=2_001)["rows"]} == {"\u2013"}


def test_problems_of_quotes_are_notes_with_their_strikes() -> None:
    crossed = "crossed: bids of 0.6 for YES and 0.5 for NO"
    payload = strike_table(95_100.0, NOW)
    strikes = [
        row | {"problems": [crossed] if place < 2 else ["no bids"]} for place, row in enumerate(payload["strikes"])
    ]
    assert texts(strikes=strikes)["notes"] == ["no bids: 19 strikes", f"{crossed}: 95,250; 95,000"]
    inactive = [payload["strikes"][0] | {"market_status": "inactive"}]
    assert texts(strikes=inactive)["rows"][0]["state"] == "inactive"


def test_sizes_and_prices_are_short_and_exact() -> None:
    sizes = {"yes_bid_size": 0.5, "yes_ask_size": 123_456.0, "yes_bid": 9.3, "yes_ask": 9.9}
    [row] = texts(strikes=[strike_table(95_100.0, NOW)["strikes"][0] | sizes])["rows"]
    assert (row["bid_size"], row["ask_size"], row["bid"], row["ask"]) == ("0.5", "123k", "9.3", "9.9")


def test_cards_of_all_kinds_have_the_fields_that_template_and_script_use() -> None:
    unreadable = card(table_of(TableName("BTC", ABOVE), b"{", NOW), 0)
    assert unreadable is not None
    for one in (texts(), texts(RANGES), unreadable):
        assert one.keys() == EMPTY_CARD.keys()
        assert all(row.keys() == EMPTY_ROW.keys() for row in one["rows"])
    template, script = TEMPLATE.read_text(), SCRIPT.read_text()
    assert set(re.findall(r"\bit\.(\w+)", template)) <= EMPTY_CARD.keys() | EMPTY_ROW.keys()
    assert set(re.findall(r"\bcard\.(\w+)", script)) <= EMPTY_CARD.keys() | {"sent"}
    assert set(re.findall(r"\bit\.(\w+)", script)) <= EMPTY_ROW.keys()


def test_the_headings_name_their_units() -> None:
    headings = re.findall(r'<th scope="col">(.*)</th>', TEMPLATE.read_text())
    plain = [" ".join(re.sub(r"<[^>]+>|{{[^}]+}}", "", heading).split()) for heading in headings]
    assert plain == ["strike distance", "bid ¢ size", "ask ¢ size", "model %", "edge fee ¢", "age"]
