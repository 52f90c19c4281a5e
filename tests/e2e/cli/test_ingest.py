"""`strikecast ingest` as its user sees it: what was understood, what was stored, what was refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from price_file_formats import lines, sample_bars, stamp, write_format
from system import System

from pipelines.storage.postgres.connection import Role

HEADER = "timestamp,open,high,low,close,volume"


def facts_of(output: str) -> dict[str, str]:
    """Names and values of printed facts."""
    lines_of_facts = (line.split("  ", maxsplit=1) for line in output.splitlines() if "  " in line)
    return {name: value.strip() for name, value in lines_of_facts}


def test_a_dry_run_shows_how_a_file_is_understood_and_stores_nothing(system: System, tmp_path: Path) -> None:
    path = write_format(tmp_path, "Kraken archive", sample_bars())
    shown = system.invoke("ingest", "ETH", str(tmp_path / "Kraken_OHLCVT.zip"), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    shown = system.invoke(
        "ingest", "BTC", str(path), "--dry-run", STRIKECAST_DATABASE_URL="postgresql://nobody@localhost:1/none"
    )
    assert shown.returncode == 0, shown.stderr
    assert (
        facts_of(shown.stdout).items()
        >= {
            "name": "Kraken_OHLCVT.zip/XBTUSD_1.csv",
            "format": "Kraken OHLCVT",
            "times": "numbers since 1970 in seconds",
            "symbol": "BTC (name)",
            "bars": "240",
            "first bar": "2024-01-02 00:00:00 UTC",
            "last bar": "2024-01-02 03:59:00 UTC",
        }.items()
    )
    assert "skipped Kraken_OHLCVT.zip/XBTUSD_60.csv: it is named for bars of 60 minutes" in shown.stdout
    as_json = json.loads(system.invoke("ingest", "BTC", str(path), "--dry-run", "--json").stdout)
    assert as_json["files"][0]["bars"] == 240
    assert len(as_json["skipped"]) == 2


def test_an_ingestion_prints_its_counts_and_a_refusal_one_line(system: System, tmp_path: Path) -> None:
    with system.database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT min(opened_at), (array_agg(close ORDER BY opened_at))[1] FROM historical_data.price_history"
        ).fetchone()
    assert row is not None
    bars = sample_bars(300, first=row[0] - timedelta(days=1), price=row[1])
    content = [(stamp(bar), *bar.values) for bar in bars]
    path = tmp_path / "bars.csv"
    path.write_text(lines(HEADER, [*content, content[7], ("x", *content[8][1:])]))
    stored = system.invoke("ingest", "BTC", str(path))
    assert stored.returncode == 0, stored.stderr
    assert (
        facts_of(stored.stdout).items()
        >= {
            "rows read": "302",
            "inserted": "300",
            "repeated": "1",
            "quarantined": "1",
            "reasons": "1 bad_time",
            "gaps": "0",
        }.items()
    )
    again = json.loads(system.invoke("ingest", "BTC", str(path), "--json").stdout)
    assert (again["inserted"], again["unchanged"]) == (0, 300)
    assert again["summaries"][0]["refused"] == {"bad_time": 1}
    path.write_text(lines(HEADER, content[::5]))
    refused = system.invoke("ingest", "BTC", str(path))
    assert refused.returncode == 1
    assert "bars.csv: its bars are 5 minutes apart; nothing was stored." in refused.stderr.splitlines()[-1]


def test_archived_months_stay_archived_when_the_folder_is_read_again(system: System, tmp_path: Path) -> None:
    first = datetime(2024, 1, 31, 20, tzinfo=UTC)
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "btc_1m.csv").write_text(
        lines(HEADER, [(stamp(bar), *bar.values) for bar in sample_bars(480, first=first)])
    )
    folder = system.settings.archive_dir / "BTC"
    folder.mkdir(parents=True)
    (folder / "btc_1m_2024-01.parquet").write_bytes(b"")
    command = ["materialize", "--select", "price_history", "--partition", "BTC", "-m", "pipelines.definitions"]
    config = json.dumps({"ops": {"price_history": {"config": {"accept_corrections": True}}}})
    run = system.invoke(
        "dagster", "--", "asset", *command, "--config-json", config, STRIKECAST_PRICES=str(tmp_path / "prices")
    )
    assert run.returncode == 0, run.stderr[-2000:]
    with system.database.connect("test", Role.READER) as connection:
        count = "SELECT count(*) FROM historical_data.price_history WHERE opened_at >= %s AND opened_at < %s"
        january = connection.execute(count, [first, datetime(2024, 2, 1, tzinfo=UTC)]).fetchone()
        february = connection.execute(count, [datetime(2024, 2, 1, tzinfo=UTC), first + timedelta(hours=8)]).fetchone()
    assert (january, february) == ((0,), (240,))
