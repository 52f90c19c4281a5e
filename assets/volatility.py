"""Volatility, and the models that standardise moves by it."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets.checks import STANDARDISED_FINGERPRINT, results
from assets.describe import AUTOMATION, OWNERS, table_metadata
from assets.plots import season_lines, standardised_lines
from assets.prices import price_history
from pipelines.domain.models.invariants import check_tables, merged
from pipelines.errors import NoDataError
from pipelines.resources import SYMBOLS, Strikecast
from pipelines.storage.models.generations import judge, record_generation
from pipelines.storage.models.refit import update_counts, update_volatility
from pipelines.storage.models.tables import write_fingerprints
from pipelines.storage.prices.history import summarize_bars


class Renewal(dg.Config):
    """How to renew; by default by the bars that are new, and from all bars when the last fit is four weeks old."""

    refit: bool = Field(default=False, description="Fit season, weights and momentum groups anew from all bars.")


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[price_history],
    group_name="historical_data",
    owners=OWNERS,
    kinds={"postgres", "numpy", "polars"},
    code_version="1",
    automation_condition=AUTOMATION,
    pool="volatility",
    output_required=False,  # too little history: the models that need none go on
)
def volatility(
    context: dg.AssetExecutionContext, config: Renewal, strikecast: Strikecast
) -> Iterator[dg.MaterializeResult]:
    """Season and decayed variances after each minute: the state from which volatility is forecast."""
    symbol = context.partition_key
    lenders = [other for other in strikecast.settings().symbols if other != symbol]
    with strikecast.pipeline("volatility") as connection:
        try:
            update = update_volatility(connection, symbol, lenders, refit=config.refit)
        except NoDataError as error:
            context.log.warning(str(error))
            return
        table = table_metadata(connection, "historical_data.volatility_day", update.days)
    yield dg.MaterializeResult(
        metadata={
            **table,
            "fit": update.fit or "none was due",
            "borrowed_from": update.borrowed_from or "nobody",
            "parameters_id": update.parameters_id,
            "days_written": update.days_written,
            "season_plot": season_lines(update.parameters.volatility, symbol),
        }
    )


@dg.asset(
    partitions_def=SYMBOLS,
    deps=[volatility],
    group_name="analytics",
    owners=OWNERS,
    kinds={"postgres", "numpy"},
    check_specs=STANDARDISED_FINGERPRINT,
    code_version="1",
    automation_condition=AUTOMATION,
    pool="standardised_fingerprint",
)
def standardised_fingerprint(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """P(the move is at least so many sigmas within 1..60 minutes), by momentum group; and its closed-form relatives."""
    symbol = context.partition_key
    with strikecast.pipeline("standardised_fingerprint") as connection:
        update = update_counts(connection, symbol)
        generations, checks, bars = {}, [], summarize_bars(connection, symbol)
        for fitted in update.fitted:
            checked = check_tables(fitted.tables)
            generations[fitted.name] = record_generation(
                connection,
                symbol,
                fitted.name,
                fitted.rule,
                fitted.tables.nodes,
                bars=bars,
                borrowed_from=update.borrowed_from,
                run_id=context.run.run_id,
            )
            write_fingerprints(connection, generations[fitted.name], fitted.tables)
            if not all(check.holds for check in checked):
                judge(connection, generations[fitted.name], complete=False)
            checks += checked
        rows = sum(len(fitted.tables.buckets) * fitted.tables.horizons for fitted in update.fitted)
        table = table_metadata(connection, "analytics.fingerprint", rows)
    tables = next(fitted.tables for fitted in update.fitted if fitted.name == "standardised")
    return dg.MaterializeResult(
        metadata={
            **table,
            "generations": ", ".join(f"{name} {generation}" for name, generation in generations.items()),
            "borrowed_from": update.borrowed_from or "nobody",
            "base_rows_counted": update.rows_counted,
            "weeks": update.weeks,
            "n_eff_60_min": float(tables.n_eff[0, -1]),
            "distribution_plot": standardised_lines({f.name: f.tables for f in update.fitted}, symbol),
        },
        check_results=results(merged(checks), "standardised_fingerprint"),
    )
