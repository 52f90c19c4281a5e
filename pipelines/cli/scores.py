"""`strikecast scores`: list the stored scoring runs."""

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, reading_settings
from pipelines.deployment import reading_database

if TYPE_CHECKING:  # importing numpy would delay every command
    from pipelines.storage.evaluation.scores import StoredScore

app = typer.Typer()
#: Fields of a run; the others are those of a model's score.
RUN_FIELDS = (
    "score_run_id",
    "symbol",
    "origin",
    "scored_from",
    "scored_until",
    "created_at",
    "code_version",
    "dagster_run_id",
)


@app.command()
def scores(
    symbol: Annotated[str | None, typer.Argument(help="Symbol in capitals; by default all.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How many of the newest runs.")] = 5,
    json: Json = False,
) -> None:
    """List the newest stored scoring runs, of `strikecast score --store` and of Dagster, with each model's scores.

    Examples: `strikecast scores BTC`, `strikecast scores --runs 20 --json`
    """
    from pipelines.storage.evaluation.scores import read_score_runs
    from pipelines.storage.postgres.reading import read

    settings = reading_settings([] if symbol is None else [symbol])
    with reading_database(settings, console.log) as database:
        found = read(database, "scores", lambda connection: read_score_runs(connection, symbol, runs))
    if json:
        console.print_json([_run(list(group)) for _, group in groupby(found, key=lambda score: score.score_run_id)])
    elif not found:
        console.print_lines(f"no scores are stored: `strikecast score {symbol or 'SYMBOL'} --store`")
    else:
        numbers = ("run", "cases", "Brier", "log loss", "skill %", "95 % interval", "calibration")
        names = ("run", "symbol", "origin", "from", "to", "model", "settlement", *numbers[1:])
        console.print_table(names, [_row(score) for score in found], numbers=numbers)


def _run(scored: "list[StoredScore]") -> dict[str, Any]:
    rows = [asdict(score) for score in scored]
    models = [{name: value for name, value in row.items() if name not in RUN_FIELDS} for row in rows]
    return {**{name: rows[0][name] for name in RUN_FIELDS}, "scores": models}


def _row(score: "StoredScore") -> tuple[object, ...]:
    has_interval = score.skill_low is not None and score.skill_high is not None
    return (
        score.score_run_id,
        score.symbol,
        score.origin,
        f"{score.scored_from:%Y-%m-%d}",
        f"{score.scored_until:%Y-%m-%d}",
        score.model,
        score.settlement,
        f"{score.n:,}",
        "" if score.brier is None else f"{score.brier:.5f}",
        "" if score.log_loss is None else f"{score.log_loss:.5f}",
        "" if score.skill is None else f"{100 * score.skill:.2f}",
        f"{100 * (score.skill_low or 0):.2f} .. {100 * (score.skill_high or 0):.2f}" if has_interval else "",
        f"{100 * (score.mean_probability - score.happened):+.2f}",
    )
