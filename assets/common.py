"""What the asset modules share: automation, checks and their results, table metadata."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipelines.domain.models.invariants import CheckResult
from pipelines.evaluation.charts import save_chart
from pipelines.resources import SYMBOLS, SettingsResource
from pipelines.storage.postgres.catalog import table_columns
from pipelines.storage.postgres.connection import Connection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Column -> the (asset, column) pairs that it is computed from.
Lineage = Mapping[str, Iterable[tuple[str, str]]]


def symbol_asset(
    *kinds: str,
    name: str | None = None,
    invariants: Mapping[str, str] | None = None,
    warns: Mapping[str, str] | None = None,
    automated: bool = True,
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Define an asset in PostgreSQL with one partition per symbol; `options`: of `dagster.asset`.

    `invariants`, `warns`: check name -> description. Each symbol has its own results; a failed invariant keeps
    dependent assets from being built. `automated`: rebuilt when what it depends on was rebuilt.
    """

    def define(compute: Callable[..., Any]) -> dg.AssetsDefinition:
        asset_name = name or compute.__name__
        with warnings.catch_warnings():
            # A result per symbol rather than the last symbol's: a preview in Dagster 1.13.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            checks = [
                dg.AssetCheckSpec(check, asset=asset_name, description=text, blocking=blocking, partitions_def=SYMBOLS)
                for descriptions, blocking in ((invariants or {}, True), (warns or {}, False))
                for check, text in descriptions.items()
            ]
        asset: dg.AssetsDefinition = dg.asset(
            name=asset_name,
            partitions_def=SYMBOLS,
            kinds={"postgres", *kinds},
            code_version="1",
            check_specs=checks,
            automation_condition=dg.AutomationCondition.eager() if automated else None,
            **options,
        )(compute)
        return asset

    return define


def invariant_results(checks: Iterable[CheckResult]) -> list[dg.AssetCheckResult]:
    """Results of an asset's invariants."""
    return [
        dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            metadata={"broken": check.failed, "of": check.total, **({"detail": check.detail} if check.detail else {})},
        )
        for check in checks
    ]


def warning_result(name: str, passed: bool, metadata: dict[str, float | str]) -> dg.AssetCheckResult:
    """Result of a check that blocks nothing."""
    return dg.AssetCheckResult(passed=passed, check_name=name, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


def chart_metadata(
    charts: Mapping[str, "Figure"], settings: SettingsResource, symbol: str
) -> dict[str, dg.PathMetadataValue]:
    """Write charts as PNG files to the folder of reports; the paths by `{name}_chart`."""
    folder = settings.values.reports_dir
    return {
        f"{name}_chart": dg.MetadataValue.path(save_chart(chart, folder, f"{symbol.lower()}_{name}"))
        for name, chart in charts.items()
    }


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
    sources = {
        column: [dg.TableColumnDep(dg.AssetKey(asset), source) for asset, source in pairs]
        for column, pairs in (lineage or {}).items()
    }
    return {
        "dagster/row_count": rows,
        "dagster/table_name": table,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        **({"dagster/column_lineage": dg.TableColumnLineage(sources)} if sources else {}),
    }
