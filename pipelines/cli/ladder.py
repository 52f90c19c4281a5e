"""`strikecast ladder`: strike ladders on demand, and those of past minutes."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, reading_settings
from pipelines.deployment import reading_database
from pipelines.domain.markets.settlement import SettlementRule

app = typer.Typer()


@app.command()
def ladder(
    symbol: Symbol,
    price: Annotated[float | None, typer.Option(min=0.0, help="Price now, USD.")] = None,
    ttc: Annotated[float | None, typer.Option(min=0.0, help="Seconds to the market's close.")] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Momentum score, percent; by default the baseline bucket.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model: standardised, momentum, ...; by default the champion.")
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(help="Volatility, percent per square root of a minute; by default that after the newest bar."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%MZ"],
            help="A past minute, UTC, instead of the price and its circumstances: its ladder and outcome.",
        ),
    ] = None,
    settlement: Annotated[
        SettlementRule | None,
        typer.Option(help="What the market settles on; by default the rule in the settings of the symbol."),
    ] = None,
    known_mean: Annotated[
        float | None,
        typer.Option(min=0.0, help="Mean price of the last minute so far, USD, for mean_60s; by default the price."),
    ] = None,
    basis: Annotated[
        float | None,
        typer.Option(help="Log of the market's index over the price, basis points, for mean_60s; by default 0."),
    ] = None,
    json: Json = False,
) -> None:
    """Print the probability of each strike, with the age of the volatility that it rests on, and the quantiles.

    There is no answer for a TTC beyond the model's horizon, nor from a volatility that is more than 24 hours old. With
    --at, the answer is the one that the live session stored in that minute, if there is one; otherwise it is computed
    by the published generation from the bars of that time.

    Examples: `strikecast ladder BTC --price 95000 --ttc 900 --momentum 0.02 --model momentum`,
    `strikecast ladder BTC --at "2026-07-01 12:35"`
    """
    given = [name for name, value in (("price", price), ("ttc", ttc)) if value is not None]
    optional = {"momentum": momentum, "sigma": sigma, "settlement": settlement}
    optional |= {"known-mean": known_mean, "basis": basis}
    others = [name for name, value in optional.items() if value is not None]
    if at is not None and (given or others):
        raise typer.BadParameter(f"cannot be used with --{(given + others)[0]}", param_hint="--at")
    if at is None and len(given) < 2:
        raise typer.BadParameter("both are required without --at", param_hint="--price and --ttc")
    from pipelines.storage.models.ladders import current_question, ladder_payload
    from pipelines.storage.models.past_ladders import past_ladder

    settings = reading_settings([symbol])
    with reading_database(settings, console.log) as database:
        tier_usd, now, by_probability = settings.tier_usd(symbol), datetime.now(UTC), symbol in settings.by_probability
        if at is not None:
            past = at.replace(tzinfo=UTC)
            payload = past_ladder(database, symbol, tier_usd, past, now, model, by_probability=by_probability)
        else:
            assert price is not None
            assert ttc is not None
            payload = ladder_payload(
                database,
                symbol,
                tier_usd,
                price,
                ttc,
                momentum,
                model,
                sigma,
                now,
                by_probability=by_probability,
                question=current_question(settlement or settings.rules[symbol], price, ttc, known_mean, basis, now),
            )
    if json:
        console.print_json(payload)
    else:
        console.print_ladder(symbol, payload)
