"""What the asset modules share: automation, checks and their results, table metadata."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import getdoc, signature
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipelines.domain.models.invariants import CheckResult
from pipelines.errors import NoDataError
from pipelines.evaluation.charts import save_chart
from pipelines.resources import SYMBOLS, SettingsResource
from pipelines.storage.postgres.catalog import table_columns
from pipelines.storage.postgres.connection import Connection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Column -> the (asset, column) pairs that it is computed from.
Lineage = Mapping[str, Iterable[tuple[str, str]]]

#: Evaluates an asset's checks on what is stored of a symbol, its first argument.
Recheck = Callable[..., Sequence[dg.AssetCheckResult]]


def symbol_asset(
    *kinds: str,
    name: str | None = None,
    invariants: Mapping[str, str] | None = None,
    warns: Mapping[str, str] | None = None,
    recheck: Recheck | None = None,
    automated: bool = True,
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Define an asset in PostgreSQL with one partition per symbol; `options`: of `dagster.asset`.

    `invariants`, `warns`: check name -> description. Each symbol has its own results; a failed invariant keeps
    dependent assets from being built. `recheck`: evaluates the checks on what is stored, when they are executed without
    the asset; its further parameters are among those of the asset. `automated`: rebuilt when what it depends on was
    rebuilt.
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
        condition = dg.AutomationCondition.eager() if automated else None
        attributes: dict[str, Any] = {"kinds": {"postgres", *kinds}, "code_version": "1"}
        if recheck is None:
            plain: dg.AssetsDefinition = dg.asset(
                name=asset_name,
                partitions_def=SYMBOLS,
                check_specs=checks,
                automation_condition=condition,
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
            automation_condition=condition,
            **attributes,
        )
        subsettable: dg.AssetsDefinition = dg.multi_asset(
            name=asset_name, specs=[spec], check_specs=checks, can_subset=True, **options
        )(_with_recheck(compute, recheck))
        return subsettable

    return define


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
            found = _recheck_symbols(context, lambda symbol: recheck(symbol, **given))
            yield from (one for one in _merged(found) if one.check_name in selected)

    return run


def _recheck_symbols(
    context: dg.AssetExecutionContext, recheck: Callable[[str], Sequence[dg.AssetCheckResult]]
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


def _merged(found: Mapping[str, Sequence[dg.AssetCheckResult]]) -> list[dg.AssetCheckResult]:
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
