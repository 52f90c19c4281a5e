"""Import and export of fingerprint files: identical bytes, and errors for files in another format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.interpolate import RegularGridInterpolator
from small_builds import build_generation

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.errors import BuildError, FingerprintFileError, NoDataError, StrikecastError
from pipelines.evaluation.fingerprint_files import export_fingerprints, read_fingerprint_files
from pipelines.evaluation.parity import ImportReport, compare, import_tables
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import UNKNOWN, read_fingerprints, read_lookup_block
from pipelines.storage.postgres.connection import Database, Role

BASELINE = "btc_fingerprint_directional_baseline.csv"
TEN = "btc_fingerprint_directional_momentum_010.csv"
BUCKETS = (None, -10, 0, 10)
SOURCE_MOVES = ModelConfig(profile=Profile.SOURCE).moves_bps
ANSWER = """
    SELECT prob_beyond, prob_within, direction, bucket, clamped, model_version, reason
    FROM analytics.strike_probability(%s, 100000, %s, %s, %s)
"""
Edit = Callable[[list[list[str]]], list[list[str]]]


@pytest.fixture(scope="module")
def imported(database: Database, reference: Path) -> ImportReport:
    """The four tables, imported and published."""
    return import_tables(database, "BTC", read_fingerprint_files(reference, "BTC"), publish_it=True)


def copied(reference: Path, folder: Path, edits: dict[str, Edit] | None = None) -> Path:
    """The reference tables in a folder of their own, some of them edited as lists of cells."""
    folder.mkdir(exist_ok=True)
    for path in reference.glob("*.csv"):
        cells = [line.split(",") for line in path.read_text().splitlines()]
        if edits and path.name in edits:
            cells = edits[path.name](cells)
        (folder / path.name).write_text("".join(",".join(row) + "\n" for row in cells))
    return folder


def cell(row: int, column: int, value: str) -> Edit:
    """Put `value` into a cell; row 1 is `1m TTC`, column 1 `>= +0.00%`."""

    def put(cells: list[list[str]]) -> list[list[str]]:
        cells[row][column] = value
        return cells

    return put


def without_last_threshold(cells: list[list[str]]) -> list[list[str]]:
    return [row[:-2] for row in cells]


def stored(database: Database, generation: int) -> FingerprintSet:
    with database.connect("test", Role.READER) as connection:
        return read_fingerprints(connection, read_version(connection, generation))


def test_the_reference_tables_are_read_exactly(reference: Path) -> None:
    tables = read_fingerprint_files(reference, "BTC")
    assert tables.files == tuple(
        f"btc_fingerprint_directional_{name}.csv"
        for name in ("baseline", "momentum_-10", "momentum_000", "momentum_010")
    )
    assert tables.fingerprints.buckets == BUCKETS
    assert tables.fingerprints.nodes == SOURCE_MOVES
    assert (tables.fingerprints.n == UNKNOWN).all()
    frame = pl.read_csv(reference / TEN)
    assert tables.fingerprints.positive[3].tolist() == frame[:, 1::2].to_numpy().tolist()
    assert tables.fingerprints.negative[3].tolist() == frame[:, 2::2].to_numpy().tolist()


def test_the_comparison_finds_a_changed_cell(reference: Path, tmp_path: Path) -> None:
    tables = read_fingerprint_files(reference, "BTC").fingerprints
    reports = compare("BTC", tables, tables)
    assert [(report.table, report.cells, report.equal) for report in reports] == [
        (path.stem, 60 * 80, 60 * 80)
        for path in (reference / name for name in read_fingerprint_files(reference, "BTC").files)
    ]
    assert {(report.mean_difference, report.largest_difference) for report in reports} == {(0.0, 0.0)}
    folder = copied(reference, tmp_path / "changed", {TEN: cell(7, 4, "0.0")})
    changed = compare("BTC", read_fingerprint_files(folder, "BTC").fingerprints, tables)
    assert [report.cells - report.equal for report in changed] == [0, 0, 0, 1]
    assert changed[3].worst == "7m TTC <= -0.05%"
    assert changed[3].largest_difference == tables.negative[3, 6, 1]


def test_an_import_stores_every_cell_and_exports_identical_files(
    database: Database, imported: ImportReport, reference: Path, tmp_path: Path
) -> None:
    assert all(parity.equal == parity.cells == 60 * 80 for parity in imported.with_files)
    assert len(imported.with_files) == 4
    assert [check for check in imported.checks if not check.passed] == []
    paths = export_fingerprints(stored(database, imported.generation), "BTC", tmp_path / "export")
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == sorted(path.name for path in paths)
    assert [path.name for path in paths] == list(imported.files)
    for path in paths:
        assert path.read_bytes() == (reference / path.name).read_bytes()


def test_an_imported_generation_records_its_origin(database: Database, imported: ImportReport) -> None:
    with database.connect("test", Role.READER) as connection:
        version = read_version(connection, imported.generation)
        assert active_generation(connection, "BTC") == imported.generation
    assert (version.origin, version.profile, version.state) == ("imported", "source", "complete")
    assert tuple(version.nodes) == SOURCE_MOVES
    assert version.lookup_rows == MomentumRule(ModelConfig()).axes.rows


@pytest.mark.parametrize("bucket", [-10, 0, 10])
def test_the_lookup_of_an_import_equals_its_interpolation(
    database: Database, imported: ImportReport, reference: Path, bucket: int
) -> None:
    with database.connect("test", Role.READER) as connection:
        block = read_lookup_block(connection, imported.generation, bucket)
    frame = pl.read_csv(reference / f"btc_fingerprint_directional_momentum_{bucket:03d}.csv")
    ttcs, moves = np.meshgrid(np.maximum(np.arange(0, 3601, 5), 60), np.arange(201), indexing="ij")
    for within, first_column in ((block.within_positive, 1), (block.within_negative, 2)):
        axes = (np.arange(60, 3601, 60), SOURCE_MOVES)
        expected = 100.0 - RegularGridInterpolator(axes, frame[:, first_column::2].to_numpy())((ttcs, moves))
        assert np.abs(within / 100.0 - expected).max() <= 0.005 + 1e-9


def test_buckets_without_an_imported_table_answer_null_with_a_reason(
    database: Database, imported: ImportReport, reference: Path
) -> None:
    frame = pl.read_csv(reference / TEN)
    with database.connect("test", Role.READER) as connection:
        for strike, direction, column in ((100_500, "above", ">= +0.50%"), (99_500, "below", "<= -0.50%")):
            beyond, within, *rest = connection.execute(ANSWER, ["BTC", strike, 1800, 0.10]).fetchone() or ()
            assert float(beyond) == frame[column][29]
            assert beyond + within == 100
            assert rest == [direction, 10, False, imported.generation, None]
        unanswered = connection.execute(ANSWER, ["BTC", 100_500, 1800, 0.05]).fetchone()
        assert unanswered == (None, None, "above", 5, False, imported.generation, "no evidence for this bucket")
        *_, reason = connection.execute(ANSWER, ["ETH", 100_500, 1800, 0.10]).fetchone() or ()
        assert reason == "no generation is published for ETH"


def test_an_import_is_compared_with_the_published_generation_and_published_only_on_request(
    database: Database, reference: Path, tmp_path: Path
) -> None:
    folder = copied(reference, tmp_path / "changed", {BASELINE: cell(7, 4, "15.0")})
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("btc", "cmp")))
    built = build_generation(database, "CMP", seed=1)
    report = import_tables(database, "CMP", read_fingerprint_files(folder, "CMP"), publish_it=False)
    assert [parity.table for parity in report.with_active] == [
        f"cmp_fingerprint_directional_{name}" for name in ("baseline", "momentum_000")
    ]
    assert all(parity.cells == 60 * 80 > parity.equal for parity in report.with_active)
    with database.connect("test", Role.READER) as connection:
        assert active_generation(connection, "CMP") == built


def test_an_import_that_breaks_an_invariant_is_stored_but_not_published(
    database: Database, reference: Path, tmp_path: Path
) -> None:
    folder = copied(reference, tmp_path / "rising", {TEN: cell(1, 79, "99.0")})
    tables = read_fingerprint_files(folder, "BTC")
    report = import_tables(database, "BAD", tables, publish_it=False)
    assert "fingerprint_monotone_in_move" in {check.name for check in report.checks if not check.passed}
    with pytest.raises(BuildError, match="rejected"):
        import_tables(database, "BAD", tables, publish_it=True)
    with database.connect("test", Role.READER) as connection, pytest.raises(NoDataError):
        active_generation(connection, "BAD")


def test_thresholds_that_do_not_fit_a_lookup_raise_a_strikecast_error(
    database: Database, reference: Path, tmp_path: Path
) -> None:
    def finer(cells: list[list[str]]) -> list[list[str]]:
        cells[0] = [name.replace("2.00", "2.03") for name in cells[0]]
        return cells

    folder = copied(reference, tmp_path / "finer", dict.fromkeys((path.name for path in reference.iterdir()), finer))
    with pytest.raises(StrikecastError):
        import_tables(database, "FINER", read_fingerprint_files(folder, "BTC"), publish_it=False)


def test_an_export_has_the_names_labels_and_digits_of_the_original(tmp_path: Path) -> None:
    sides = np.full((2, 60, 3), 50.0)
    sides[0, 0] = [100.0, 12.3456, 0.0]
    sides[1, 59] = np.nan
    unknown = np.full((2, 60), UNKNOWN)
    tables = FingerprintSet((None, -7), (0, 5, 170), sides, sides, unknown, unknown.astype(np.float64))
    (tmp_path / "eth_fingerprint_directional_baseline.csv").write_text("old")
    paths = export_fingerprints(tables, "ETH", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "eth_fingerprint_directional_baseline.csv",
        "eth_fingerprint_directional_momentum_-07.csv",
    ]
    first, second = (path.read_text().splitlines() for path in paths)
    assert first[0] == second[0] == ",>= +0.00%,<= -0.00%,>= +0.05%,<= -0.05%,>= +1.70%,<= -1.70%"
    assert first[1] == "1m TTC,100.0,100.0,12.35,12.35,0.0,0.0"
    assert second[60] == "60m TTC,,,,,,"
    assert len(first) == len(second) == 61


def test_a_source_profile_build_exports_in_the_originals_format(reference: Path, tmp_path: Path) -> None:
    config = ModelConfig(profile=Profile.SOURCE)
    bars = generate_bars(SimulationParameters(100.0), days=2, end_minute=29_000_000, seed=1)
    closes = closes_from_usd(bars.minutes, bars.close)
    paths = export_fingerprints(compute_fingerprints(closes, compute_momentum(closes, config), config), "BTC", tmp_path)
    assert len(paths) == 62
    theirs = [line.split(",") for line in (reference / BASELINE).read_text().splitlines()]
    for path in paths:
        ours = [line.split(",") for line in path.read_text().splitlines()]
        assert ours[0] == theirs[0]
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        assert all(text == str(round(float(text), 2)) for row in ours[1:] for text in row[1:])
    assert read_fingerprint_files(tmp_path, "BTC").fingerprints.buckets == (None, *config.buckets)


def test_special_characters_in_a_folder_name_are_not_a_pattern(reference: Path, tmp_path: Path) -> None:
    copied(reference, tmp_path / "export1", {BASELINE: cell(1, 1, "0.0")})
    found = read_fingerprint_files(copied(reference, tmp_path / "export[12]"), "BTC")
    assert compare("BTC", found.fingerprints, read_fingerprint_files(reference, "BTC").fingerprints)[0].equal == 60 * 80


@pytest.mark.parametrize("change", ["CRLF", "byte order mark", "one table", "other files beside"])
def test_equivalent_files_are_read(reference: Path, tmp_path: Path, change: str) -> None:
    folder = copied(reference, tmp_path / "same")
    content = (folder / BASELINE).read_bytes()
    if change == "CRLF":
        (folder / BASELINE).write_bytes(content.replace(b"\n", b"\r\n"))
    elif change == "byte order mark":
        (folder / BASELINE).write_bytes(b"\xef\xbb\xbf" + content)
    elif change == "one table":
        for path in [path for path in folder.iterdir() if path.name != BASELINE]:
            path.unlink()
    else:
        (folder / "eth_fingerprint_directional_baseline.csv").write_text("of another symbol")
        (folder / "btc_fingerprint_directional_momentum_10.csv").write_text("not a name of ours")
    found = read_fingerprint_files(folder, "BTC").fingerprints
    same = compare("BTC", found, read_fingerprint_files(reference, "BTC").fingerprints)
    assert len(same) == (1 if change == "one table" else 4)
    assert all(parity.equal == parity.cells for parity in same)


def header(old: str, new: str) -> Edit:
    return lambda cells: [[new if name == old else name for name in cells[0]], *cells[1:]]


PROBLEMS: dict[str, tuple[Edit, str]] = {
    "column renamed": (header(">= +0.05%", ">= 0.05%"), f"{BASELINE}: header is not"),
    "column moved": (lambda c: [[*row[:3], row[4], row[3], *row[5:]] for row in c], f"{BASELINE}: header is not"),
    "column missing": (lambda c: [row[:-1] for row in c], f"{BASELINE}: header is not"),
    "threshold twice": (lambda c: [[*row, *row[-2:]] for row in c], f"{BASELINE}: header is not"),
    "labels only": (lambda c: [row[:1] for row in c], f"{BASELINE}: header is not"),
    "row missing": (lambda c: c[:30] + c[31:], f"{BASELINE}: rows are not '1m TTC' to '60m TTC'"),
    "row twice": (lambda c: [*c, c[-1]], f"{BASELINE}: rows are not"),
    "rows swapped": (lambda c: [c[0], c[2], c[1], *c[3:]], f"{BASELINE}: rows are not"),
    "header only": (lambda c: c[:1], f"{BASELINE}: rows are not"),
    "above 100": (cell(5, 3, "101"), f"{BASELINE} row '5m TTC' column '>= +0.05%': '101' is not a percentage (1 such"),
    "below 0": (cell(5, 4, "-0.01"), f"{BASELINE} row '5m TTC' column '<= -0.05%': '-0.01' is not a percentage"),
    "text": (cell(60, 80, "few"), f"{BASELINE} row '60m TTC' column '<= -2.00%': 'few' is not a percentage"),
    "NaN": (cell(5, 3, "nan"), "'nan' is not a percentage"),
    "empty cell": (cell(5, 3, ""), "is not a percentage"),
    "cell more": (lambda c: [c[0], [*c[1], "7"], *c[2:]], f"{BASELINE}: "),
    "empty": (lambda _: [], f"{BASELINE}: empty"),
    "binary": (lambda _: [["\x00\x01\x02"]], f"{BASELINE}: "),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_file_in_another_format_is_rejected_with_its_problem(reference: Path, tmp_path: Path, problem: str) -> None:
    edit, message = PROBLEMS[problem]
    with pytest.raises(FingerprintFileError) as raised:
        read_fingerprint_files(copied(reference, tmp_path / "bad", {BASELINE: edit}), "BTC")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_invalid_file_does_not_report_differing_thresholds(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(FingerprintFileError) as raised:
        read_fingerprint_files(copied(reference, tmp_path / "bad", {BASELINE: cell(5, 3, "101")}), "BTC")
    assert "do not all have the same thresholds" not in str(raised.value)


def test_all_problems_are_reported_together(reference: Path, tmp_path: Path) -> None:
    zero = "btc_fingerprint_directional_momentum_000.csv"
    edits = {BASELINE: cell(1, 1, "101"), zero: PROBLEMS["row missing"][0], TEN: without_last_threshold}
    with pytest.raises(FingerprintFileError) as raised:
        read_fingerprint_files(copied(reference, tmp_path / "bad", edits), "BTC")
    for part in (BASELINE, zero, "do not all have the same thresholds"):
        assert part in str(raised.value)


def test_tables_with_differing_thresholds_are_rejected(reference: Path, tmp_path: Path) -> None:
    folder = copied(reference, tmp_path / "bad", {TEN: without_last_threshold})
    with pytest.raises(FingerprintFileError, match="do not all have the same thresholds"):
        read_fingerprint_files(folder, "BTC")


def test_a_table_of_an_unknown_bucket_is_rejected(reference: Path, tmp_path: Path) -> None:
    folder = copied(reference, tmp_path / "bad")
    (folder / TEN).rename(folder / TEN.replace("010", "045"))
    with pytest.raises(FingerprintFileError, match="momentum_045"):
        read_fingerprint_files(folder, "BTC")


def test_a_folder_without_tables_is_rejected(reference: Path, tmp_path: Path) -> None:
    for place, symbol in ((tmp_path / "missing", "BTC"), (reference / BASELINE, "BTC"), (reference, "ETH")):
        with pytest.raises(FingerprintFileError, match=place.name):
            read_fingerprint_files(place, symbol)
