"""Import tables exported by the original, and compare tables cell by cell."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.configuration.names import fingerprint_table
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.invariants import CheckResult, check_fingerprints
from pipelines.domain.models.lookup import build_lookup
from pipelines.domain.models.momentum import MomentumModel, MomentumRule
from pipelines.errors import FingerprintFileError, NoDataError
from pipelines.evaluation.fingerprint_files import ImportedTables
from pipelines.storage.models.generations import (
    active_generation,
    finish_generation,
    publish,
    read_version,
    start_generation,
)
from pipelines.storage.models.tables import read_fingerprints, verify_lookup, write_fingerprints, write_lookup
from pipelines.storage.postgres.connection import Database, Role


@dataclass(frozen=True)
class Parity:
    """Comparison of two tables of one name, in percentage points. `worst`: cell of the largest difference."""

    table: str
    cells: int
    equal: int
    mean_difference: float
    largest_difference: float
    worst: str


def compare(symbol: str, ours: FingerprintSet, theirs: FingerprintSet) -> list[Parity]:
    """Compare the tables of two sets, at the thresholds that both have, to two decimals."""
    moves = [move for move in ours.nodes if move in theirs.nodes]
    left, right = ([s.nodes.index(move) for move in moves] for s in (ours, theirs))
    reports = []
    for bucket in (bucket for bucket in theirs.buckets if bucket in ours.buckets):
        a, b = (
            np.stack([s.positive[s.index(bucket)][:, columns], s.negative[s.index(bucket)][:, columns]]).round(2)
            for s, columns in ((ours, left), (theirs, right))
        )
        difference = np.abs(np.nan_to_num(a, nan=-100.0) - np.nan_to_num(b, nan=-100.0)).round(2)
        side, row, column = np.unravel_index(int(difference.argmax()), difference.shape)
        worst = f"{row + 1}m TTC {'>= +' if side == 0 else '<= -'}{moves[column] / 100:.2f}%"
        reports.append(
            Parity(
                fingerprint_table(symbol, bucket),
                difference.size,
                int((difference == 0.0).sum()),
                float(difference.mean()),
                float(difference.max()),
                worst,
            )
        )
    return reports


@dataclass(frozen=True)
class ImportReport:
    """Result of an import.

    `with_files`: the stored tables, read back, compared with the files; `with_active`: the previously published
    generation compared with the files, empty without one.
    """

    symbol: str
    generation: int
    published: bool
    files: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    with_files: tuple[Parity, ...]
    with_active: tuple[Parity, ...]


def import_tables(database: Database, symbol: str, imported: ImportedTables, *, publish_it: bool) -> ImportReport:
    """Store exported tables as a generation with its own lookup, and publish it if `publish_it`.

    Buckets without a file answer NULL with a reason. A generation that breaks an invariant is stored as rejected; with
    `publish_it` it raises BuildError.
    """
    moves = imported.fingerprints.nodes
    try:
        model = replace(ModelConfig(profile=Profile.SOURCE), move_max_bps=moves[-1])
    except ValueError as error:
        raise FingerprintFileError(f"thresholds up to {moves[-1] / 100:.2f} % do not fit a lookup: {error}") from error
    rule = MomentumRule(model)
    with database.connect("import fingerprints", Role.PIPELINE) as connection:
        generation = start_generation(connection, symbol, MomentumModel.name, rule, moves, origin="imported")
        write_fingerprints(connection, generation, imported.fingerprints)
        stored = read_fingerprints(connection, read_version(connection, generation))
        write_lookup(connection, generation, build_lookup(stored, rule.axes), rule.axes)
    with database.connect("import fingerprints", Role.PIPELINE) as connection:
        monotone = next(v for v in check_fingerprints(stored, model) if v.name == "monotone_in_move")
        checks = (
            replace(monotone, name="fingerprint_monotone_in_move"),
            *verify_lookup(connection, generation, stored, rule.axes),
        )
        finish_generation(connection, generation, complete=all(check.passed for check in checks))
    with database.connect("import fingerprints", Role.PIPELINE) as connection:
        try:
            active = read_fingerprints(connection, read_version(connection, active_generation(connection, symbol)))
            with_active = tuple(compare(symbol, active, imported.fingerprints))
        except NoDataError:
            with_active = ()
        if publish_it:
            publish(connection, generation)
    return ImportReport(
        symbol,
        generation,
        publish_it,
        imported.files,
        checks,
        tuple(compare(symbol, stored, imported.fingerprints)),
        with_active,
    )
