"""What the asset modules share: automation, check specs and results, table metadata."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from pipelines.domain.models.invariants import CheckResult
from pipelines.resources import SYMBOLS
from pipelines.storage.postgres.catalog import table_columns
from pipelines.storage.postgres.connection import Connection

#: Rebuilt when what it depends on was rebuilt.
AUTOMATION = dg.AutomationCondition.eager()
#: Column -> the (asset, column) pairs that it is computed from.
Lineage = Mapping[str, Iterable[tuple[str, str]]]


def invariant(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check of each symbol that, when it fails, keeps dependent assets from being built."""
    return _check_spec(asset, name, description, blocking=True)


def warning(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check of each symbol that is reported and blocks nothing."""
    return _check_spec(asset, name, description, blocking=False)


def _check_spec(asset: str, name: str, description: str, *, blocking: bool) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # A result per symbol rather than the last symbol's: a preview in Dagster 1.13.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, blocking=blocking, partitions_def=SYMBOLS)


def invariant_results(checks: Iterable[CheckResult], asset: str) -> list[dg.AssetCheckResult]:
    """Results of an asset's invariants."""
    return [
        dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            asset_key=asset,
            metadata={"broken": check.failed, "of": check.total, **({"detail": check.detail} if check.detail else {})},
        )
        for check in checks
    ]


def warning_result(asset: str, name: str, passed: bool, metadata: dict[str, float | str]) -> dg.AssetCheckResult:
    """Result of a check that blocks nothing."""
    return dg.AssetCheckResult(
        passed=passed, check_name=name, asset_key=asset, severity=dg.AssetCheckSeverity.WARN, metadata=metadata
    )


def table_metadata(connection: Connection, table: str, rows: int, lineage: Lineage | None = None) -> dict[str, Any]:
    """Name, row count, columns with the comments that the database holds, and where columns come from."""
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=not column.not_null),
        )
        for column in table_columns(connection, table)
    ]
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "dagster/table_name": table,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
    if lineage is not None:
        sources = {
            column: [dg.TableColumnDep(dg.AssetKey(asset), source) for asset, source in pairs]
            for column, pairs in lineage.items()
        }
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(sources)
    return metadata
