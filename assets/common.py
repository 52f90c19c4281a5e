"""What the asset modules share: checks and their results, metadata of tables and reports, how an asset is made."""

import json
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import getdoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipelines.domain.models.invariants import CheckResult
from pipelines.errors import NoDataError
from pipelines.evaluation.charts import chart_path, save_chart
from pipelines.resources import SYMBOLS, DatabaseResource, SettingsResource, SymbolStep
from pipelines.storage.files.reports import share_reports

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Column -> the (asset, column) pairs that it is computed from.
Lineage = Mapping[str, Iterable[tuple[str, str]]]

WEEK = timedelta(days=7)

#: Columns of the assets' tables by table, with their comments; written by `make reference`.
_COLUMNS: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("table_columns.json").read_text("utf-8")
)
#: How each asset of a symbol is made, by its name; a run of many symbols uses them.
STEPS: dict[str, SymbolStep] = {}

#: Evaluates an asset's checks on what is stored of a symbol, its first argument.
Recheck = Callable[..., Sequence[dg.AssetCheckResult]]


def symbol_asset(
    *kinds: str,
    table: str,
    name: str | None = None,
    invariants: Mapping[str, str] | None = None,
    warns: Mapping[str, str] | None = None,
    recheck: Recheck | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Define an asset in PostgreSQL with one partition per symbol; `options`: of `dagster.asset`.

    `table`: with its schema. `invariants`, `warns`: check name -> description. Each symbol has its own results; a
    failed invariant keeps dependent assets from being built. `recheck`: evaluates the checks on what is stored, when
    they are executed without the asset; its further parameters are among those of the asset.
    """

    def define(compute: Callable[..., Any]) -> dg.AssetsDefinition:
        asset_name = name or compute.__name__
        checks = check_specs(asset_name, invariants or {}, blocking=True)
        checks += check_specs(asset_name, warns or {}, blocking=False)
        STEPS[asset_name] = SymbolStep(asset_name, compute, frozenset(options.get("deps", ())))
        attributes: dict[str, Any] = {
            "kinds": {"postgres", *kinds},
            "code_version": "1",
            "metadata": table_definition(table),
        }
        if recheck is None:
            plain: dg.AssetsDefinition = dg.asset(
                name=asset_name,
                partitions_def=SYMBOLS,
                check_specs=checks,
                **attributes,
                **options,
            )(compute)
            return plain
        spec = dg.AssetSpec(
            asset_name,
            deps=options.pop("deps", ()),
            description=options.pop("description", None) or getdoc(compute),
            skippable=True,
            partitions_def=SYMBOLS,
            **attributes,
        )
        subsettable: dg.AssetsDefinition = dg.multi_asset(
            name=asset_name, specs=[spec], check_specs=checks, can_subset=True, **options
        )(_with_recheck(compute, recheck))
        return subsettable

    return define


def check_specs(asset: str, descriptions: Mapping[str, str], *, blocking: bool) -> list[dg.AssetCheckSpec]:
    """Checks of an asset with one result per symbol; `descriptions`: by name."""
    with warnings.catch_warnings():
        # A result per symbol rather than the last symbol's: a preview in Dagster 1.13.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(check, asset=asset, description=text, blocking=blocking, partitions_def=SYMBOLS)
            for check, text in descriptions.items()
        ]


def _with_recheck(compute: Callable[..., dg.MaterializeResult], recheck: Recheck) -> Callable[..., Iterator[Any]]:
    """Run `compute` when the asset is selected, otherwise `recheck`; only results of selected checks are returned."""
    names = signature(recheck).parameters

    @wraps(compute)
    def run(context: dg.AssetExecutionContext, **parameters: Any) -> Iterator[Any]:
        selected = {key.name for key in context.selected_asset_check_keys}
        if context.selected_asset_keys:
            result = compute(context, **parameters)
            results = [one for one in result.check_results if one.check_name in selected]
            yield dg.MaterializeResult(metadata=result.metadata, check_results=results)
        else:
            given = {name: parameters[name] for name in names if name in parameters}
            found = recheck_symbols(context, lambda symbol: recheck(symbol, **given))
            yield from (one for one in merged_results(found) if one.check_name in selected)

    return run


def recheck_symbols(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    recheck: Callable[[str], Sequence[dg.AssetCheckResult]],
) -> dict[str, Sequence[dg.AssetCheckResult]]:
    """Results of the run's symbol; without a partition, with which the UI starts checks, of all that have data."""
    if context.has_partition_key:
        return {context.partition_key: recheck(context.partition_key)}
    assert SYMBOLS.name is not None
    found, reasons = {}, []
    for symbol in context.instance.get_dynamic_partitions(SYMBOLS.name):
        try:
            found[symbol] = recheck(symbol)
        except NoDataError as error:
            context.log.warning(str(error))
            reasons.append(str(error))
    if not found:
        raise NoDataError("; ".join(reasons) or "no symbol has data: run `strikecast ingest SYMBOL PATH`")
    return found


def merged_results(found: Mapping[str, Sequence[dg.AssetCheckResult]]) -> list[dg.AssetCheckResult]:
    """One result per check: passed if it passed for each symbol, with the metadata of all."""
    by_name: dict[str, dict[str, dg.AssetCheckResult]] = {}
    for symbol, results in found.items():
        for result in results:
            assert result.check_name is not None
            by_name.setdefault(result.check_name, {})[symbol] = result
    if len(found) == 1:
        return [result for results in found.values() for result in results]
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=all(one.passed for one in results.values()),
            severity=next(iter(results.values())).severity,
            metadata={
                f"{symbol} {label}": value for symbol, one in results.items() for label, value in one.metadata.items()
            },
        )
        for name, results in by_name.items()
    ]


def invariant_results(checks: Iterable[CheckResult], warns: Container[str] = ()) -> list[dg.AssetCheckResult]:
    """Results of an asset's invariants; those in `warns` only warn."""
    return [
        dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            severity=dg.AssetCheckSeverity.WARN if check.name in warns else dg.AssetCheckSeverity.ERROR,
            metadata={
                "broken": check.failed,
                "of": check.total,
                **({"left_out": check.left_out} if check.left_out else {}),
                **({"detail": check.detail} if check.detail else {}),
            },
        )
        for check in checks
    ]


def warning_result(name: str, passed: bool, metadata: dict[str, float | str]) -> dg.AssetCheckResult:
    """Result of a check that blocks nothing."""
    return dg.AssetCheckResult(passed=passed, check_name=name, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


def chart_metadata(
    context: dg.AssetExecutionContext,
    charts: Mapping[str, "Figure"],
    settings: SettingsResource,
    database: DatabaseResource,
    symbol: str,
) -> dict[str, dg.PathMetadataValue]:
    """Write charts as PNG files to the folder of reports, for other machines, too; where they are by `{name}_chart`."""
    folder = settings.values.reports_dir
    paths = [save_chart(chart, folder, f"{symbol.lower()}_{name}") for name, chart in charts.items()]
    return dict(
        zip((f"{name}_chart" for name in charts), report_metadata(context, paths, settings, database), strict=True)
    )


def report_metadata(
    context: dg.AssetExecutionContext, paths: Sequence[Path], settings: SettingsResource, database: DatabaseResource
) -> list[dg.PathMetadataValue]:
    """Keep written reports where other machines can read them; where each is."""
    shared = share_reports(settings.values, database.database, paths, context.log.warning, context.run.run_id)
    return [dg.MetadataValue.path(location) for location in shared]


def weekly_chart(
    context: dg.AssetExecutionContext,
    name: str,
    draw: Callable[[], "Figure"],
    settings: SettingsResource,
    database: DatabaseResource,
    symbol: str,
    *,
    redraw: bool = False,
) -> dict[str, dg.PathMetadataValue]:
    """As `chart_metadata`, for a chart that changes slowly: a file of the last week is kept, unless `redraw`.

    Drawing takes 0.3 s, a tenth of a symbol's daily update.
    """
    path = chart_path(settings.values.reports_dir, f"{symbol.lower()}_{name}")
    oldest = datetime.now(UTC) - WEEK
    if not redraw and path.exists() and datetime.fromtimestamp(path.stat().st_mtime, UTC) > oldest:
        return {f"{name}_chart": report_metadata(context, [path], settings, database)[0]}
    return chart_metadata(context, {name: draw()}, settings, database, symbol)


def table_definition(table: str) -> dict[str, Any]:
    """Metadata of an asset that is a table: its name, and its columns with the comments that the database holds.

    It belongs to the definition: written with each materialization it was two thirds of what a build logged.
    """
    columns = [
        dg.TableColumn(
            column["name"],
            column["type"],
            description=column["description"],
            constraints=dg.TableColumnConstraints(nullable=not column["not_null"]),
        )
        for column in _COLUMNS.get(table, ())
    ]
    return {"dagster/table_name": table, "dagster/column_schema": dg.TableSchema(columns=columns)}


def table_metadata(rows: int | None = None, lineage: Lineage | None = None) -> dict[str, Any]:
    """Row count, and where columns come from.

    `rows`: None for a table that is too large to be counted each time.
    """
    sources = {
        column: [dg.TableColumnDep(dg.AssetKey(asset), source) for asset, source in pairs]
        for column, pairs in (lineage or {}).items()
    }
    return {
        **({} if rows is None else {"dagster/row_count": rows}),
        **({"dagster/column_lineage": dg.TableColumnLineage(sources)} if sources else {}),
    }
