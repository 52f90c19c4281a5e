"""The endpoints of `serve` that read the past, with and without a database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import polars as pl
import pytest
from page_server import Served, serving
from past_answers import STRIKES, store_answer

from pipelines.storage.postgres.connection import Database

pytestmark = pytest.mark.embedded_only

AT = (datetime.now(UTC) - timedelta(days=1)).replace(minute=40, second=0, microsecond=0)


@pytest.fixture(scope="module")
def served(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store_answer(database, AT, closing_price=100.1)
    with serving(tmp_path_factory.mktemp("past"), database_url=database.url) as it:
        yield it


def test_a_past_minute_is_served_with_its_outcome(served: Served) -> None:
    response = served.client.get("/api/BTC/past", params={"at": f"{AT:%Y-%m-%dT%H:%M}Z"})
    payload = response.json()
    assert (response.status_code, payload["origin"], payload["closing_price"]) == (200, "stored", 100.1)
    assert payload["closed_at_or_above"] == [True, True, False]
    assert response.headers["content-security-policy"]


def test_answers_of_a_day_are_a_csv_file(served: Served) -> None:
    response = served.client.get("/api/BTC/answers.csv", params={"day": f"{AT:%Y-%m-%d}"})
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"] == f'attachment; filename="btc_answers_{AT:%Y-%m-%d}.csv"'
    assert pl.read_csv(BytesIO(response.content))["strike"].to_list() == [*STRIKES]
    today = served.client.get("/api/BTC/answers.csv")
    assert len(pl.read_csv(BytesIO(today.content))) == 0


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/BTC/past", 400, "at must be a minute in UTC"),
        ("/api/BTC/past?at=yesterday", 400, "at must be a minute in UTC"),
        ("/api/BTC/past?at=2026-13-01T00:00Z", 400, "at must be a minute in UTC"),
        ("/api/BTC/past?at=2026-01-01T00:00%2B01:00", 400, "at must be a minute in UTC"),
        ("/api/BTC/past?at=9999-12-31T23:59Z", 400, "at must be a minute in UTC"),
        ("/api/BTC/past?at=2999-12-31T23:59Z", 400, "is not past"),
        ("/api/BTC/past?at=1000-01-01T00:00Z", 400, "is not past"),
        ("/api/BTC/past?at=1970-01-01T00:00Z", 404, "no generation is published for BTC"),
        ("/api/XRP/past?at=2026-01-01T00:00Z", 404, "there is no such symbol"),
        ("/api/BTC/answers.csv?day=2026-02-30", 400, "day must be a day in UTC"),
        ("/api/BTC/answers.csv?day=9999-12-31", 400, "day must be a day in UTC"),
        ("/api/XRP/answers.csv", 404, "there is no such symbol"),
    ],
)
def test_a_question_without_an_answer_is_refused_with_the_reason(
    served: Served, path: str, status: int, text: str
) -> None:
    response = served.client.get(path)
    assert (response.status_code, text in response.json()["error"]) == (status, True), response.text


def test_without_a_database_the_past_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with serving(tmp_path_factory.mktemp("nowhere"), database_url=nowhere) as it:
        for path in ("/api/BTC/past?at=2026-01-01T00:00Z", "/api/BTC/answers.csv"):
            response = it.client.get(path)
            assert response.status_code == 503
            assert "127.0.0.1:1" in response.json()["error"]
