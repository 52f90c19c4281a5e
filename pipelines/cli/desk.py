"""`strikecast desk`: the paper desk's account, its positions and trades, and its switch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings, reading_settings
from pipelines.deployment import existing_database
from pipelines.errors import NoDataError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.domain.desk.state import DeskState
    from pipelines.storage.desk.rows import TradeRow
    from pipelines.storage.postgres.connection import Connection, Database

app = typer.Typer(
    no_args_is_help=True,
    help="The paper desk, which trades on paper on the markets of a live session: docs/desk.md. No order leaves this "
    "machine.",
)
#: Trades in the summary of a demonstration.
DEMO_TRADES = 12
Campaign = Annotated[str | None, typer.Option(help="Name of the paper account; by default that of the settings.")]
Reason = Annotated[str, typer.Option(help="Why, in words; it is stored.")]


@app.command()
def status(campaign: Campaign = None, json: Json = False) -> None:
    """Print the account, what is open, the switch, exceeded limits, and why markets were not entered.

    Amounts are USD. Rejections count markets, once a second, since the campaign began.

    Example: `strikecast desk status --json`
    """
    settings = reading_settings()
    with _reading(settings, campaign) as (connection, name):
        facts = _status(connection, settings, name)
    if json:
        console.print_json(facts, default=_plain)
        return
    account = facts.pop("account") or {}
    counts, _ = account.pop("rejections", {}), account.pop("rules", None)
    shown = {name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in facts.items()}
    console.print_facts({**shown, **(account or {"account": "it has not traded yet"})}, wrap=True)
    rows = [(symbol, reason, f"{count:,}") for symbol, of in counts.items() for reason, count in of.items()]
    if rows:
        console.print_table(("symbol", "not entered because", "markets"), rows, numbers={"markets"})


@app.command()
def positions(campaign: Campaign = None, json: Json = False) -> None:
    """Print the trades that have not ended: orders at work, and contracts held.

    Amounts are USD. Example: `strikecast desk positions`
    """
    settings = reading_settings()
    from pipelines.storage.desk.rows import TradeRow

    with _reading(settings, campaign) as (connection, name):
        rows = [TradeRow.of(trade) for trade in _state(connection, name).trades()]
    _print_trades(name, rows, json=json)


@app.command()
def trades(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Newest trades to print.")] = 50,
    since: Annotated[datetime | None, typer.Option(help="Only trades signalled from then on, UTC.")] = None,
    campaign: Campaign = None,
    json: Json = False,
) -> None:
    """Print the newest trades, newest first, with what they cost, paid and gained.

    Amounts are USD; the gain is after fees. Example: `strikecast desk trades --since 2026-11-29 --json`
    """
    settings = reading_settings()
    from pipelines.storage.desk.reads import read_trades

    start = None if since is None else since.replace(tzinfo=UTC)
    with _reading(settings, campaign) as (connection, name):
        _state(connection, name)
        rows = read_trades(connection, name, limit=limit, since=start)
    _print_trades(name, rows, json=json)


@app.command()
def stop(reason: Reason, campaign: Campaign = None, json: Json = False) -> None:
    """Stop the desk: within a second it enters no trades and cancels entry orders, until `strikecast desk start`.

    Positions are kept until they are sold by rule or settled. Needs the role strikecast_pipeline.

    Example: `strikecast desk stop --reason "the model is rebuilt"`
    """
    _switch(reason, campaign, stopped=True, json=json)


@app.command()
def start(reason: Reason = "started from the command line", campaign: Campaign = None, json: Json = False) -> None:
    """Let the desk enter trades again after `strikecast desk stop`. Needs the role strikecast_pipeline.

    Example: `strikecast desk start`
    """
    _switch(reason, campaign, stopped=False, json=json)


def print_desk(database: "Database", campaign: str) -> None:
    """Print what the desk of a demonstration did: its account, its newest trades, and why it did not trade more."""
    from pipelines.domain.desk.amounts import amounts, rejections
    from pipelines.storage.desk.reads import read_trades
    from pipelines.storage.desk.store import read_state
    from pipelines.storage.postgres.connection import Role

    with database.connect("desk", Role.READER) as connection:
        state = read_state(connection, campaign)
        rows = read_trades(connection, campaign, limit=DEMO_TRADES)
    if state is None:
        console.print_lines(f"paper desk: campaign {campaign} has not begun")
        return
    if rows:
        _print_trades(campaign, rows, json=False)
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in rejections(state).most_common(3)) or "none"
    active, count = list(state.trades()), state.next_number - 1
    closed, found = sum(each.closed for each in state.totals.values()), amounts(state, datetime.now(UTC))
    console.print_lines(
        f"paper desk, SIMULATED, no real quotes: {count} trade{'' if count == 1 else 's'}, {len(active)} not ended, "
        f"{closed} ended with contracts; gain {found['gain_usd']:+.4f} USD with {found['fees_usd']:.4f} USD "
        f"of fees, cash {found['cash_usd']:,.4f} USD",
        f"markets not entered, most often: {reasons}",
    )


@contextmanager
def _reading(settings: Settings, campaign: str | None) -> Iterator[tuple["Connection", str]]:
    """A connection that reads, and the campaign's name."""
    from pipelines.storage.postgres.connection import Role

    with (
        existing_database(settings, console.log) as database,
        database.connect("desk", Role.READER) as connection,
    ):
        yield connection, _chosen(connection, settings, campaign)


def _chosen(connection: "Connection", settings: Settings, campaign: str | None) -> str:
    """The campaign that is meant: without a name that of the settings, or the only one that has traded.

    The system may run with other settings than this command, as a demonstration does.
    """
    from pipelines.storage.desk.reads import read_campaigns

    if campaign is not None or settings.desk_is_enabled:
        return campaign or settings.desk_campaign
    known = [one.campaign for one in read_campaigns(connection)]
    return settings.desk_campaign if settings.desk_campaign in known or len(known) != 1 else known[0]


def _state(connection: "Connection", campaign: str) -> "DeskState":
    """The saved state. Raises NoDataError when there is none."""
    from pipelines.storage.desk.reads import read_campaigns
    from pipelines.storage.desk.store import read_state

    state = read_state(connection, campaign)
    if state is None:
        known = ", ".join(one.campaign for one in read_campaigns(connection)) or "none"
        raise NoDataError(
            f"campaign {campaign!r} has not traded yet (known: {known}): live sessions trade with enabled = true in "
            "[desk] and a source in [markets]"
        )
    return state


def _status(connection: "Connection", settings: Settings, campaign: str) -> dict[str, Any]:
    from pipelines.domain.monitoring.desk_facts import UNSAVED_AFTER
    from pipelines.monitoring.desk import read_facts
    from pipelines.storage.desk.store import read_saved
    from pipelines.storage.live.sessions import session_state

    now, session, saved = datetime.now(UTC), session_state(connection), read_saved(connection, campaign)
    is_saved = saved is not None and now - saved.saved_at <= UNSAVED_AFTER
    is_enabled = is_saved or (settings.desk_is_enabled and campaign == settings.desk_campaign)
    facts = read_facts(connection, campaign, saved, session, now, is_enabled=is_enabled)
    problems = [finding.message for finding in facts.findings(now)]
    if is_enabled and session.problem is not None:
        problems.insert(0, session.problem[1])
    return {
        "campaign": campaign,
        "simulated": campaign.startswith("demo"),
        "enabled": is_enabled,
        "trading": facts.is_due and facts.stopped is None and facts.is_saved(now),
        "stopped": facts.stopped,
        "saved_at": facts.saved_at,
        "problems": tuple(problems),
        "account": None if saved is None else _account(saved.state, now),
    }


def _account(state: "DeskState", now: datetime) -> dict[str, Any]:
    from pipelines.domain.desk.amounts import amounts
    from pipelines.domain.desk.rules import DeskRules
    from pipelines.domain.desk.trades import Stage

    active = list(state.trades())
    return {
        "started_at": state.started_at,
        **amounts(state, now),
        "positions": sum(trade.stage is Stage.OPEN for trade in active),
        "orders": sum(len(trade.working) for trade in active),
        "trades": state.next_number - 1,
        "won": sum(each.winning for each in state.totals.values()),
        "lost": sum(each.losing for each in state.totals.values()),
        "rules": {each.name: getattr(state.rules, each.name) for each in fields(DeskRules)},
        "rejections": {
            symbol: {str(reason): count for reason, count in sorted(each.rejections.items())}
            for symbol, each in sorted(state.totals.items())
        },
    }


def _print_trades(campaign: str, rows: "list[TradeRow]", *, json: bool) -> None:
    if json:
        console.print_json({"campaign": campaign, "trades": [asdict(row) for row in rows]}, default=_plain)
        return
    numbers = ("number", "contracts", "edge", "cost", "fees", "gain")
    names = ("number", "market", "side", "stage", *numbers[1:], "signalled (UTC)", "closes (UTC)")
    lines = [
        (
            *(row.trade, row.ticker, str(row.side), str(row.stage)),
            *(f"{row.bought_contracts.normalize():f} of {row.ordered_contracts.normalize():f}", f"{row.edge_usd:+f}"),
            *(f"{row.cost_usd:.2f}", f"{row.fees_usd:.4f}", f"{row.gain_usd:+.4f}"),
            *(f"{row.signalled_at:%F %H:%M:%S}", f"{row.closes_at:%F %H:%M}"),
        )
        for row in rows
    ]
    console.print_table(names, lines, title=f"campaign {campaign}, USD", numbers=numbers)


def _switch(reason: str, campaign: str | None, *, stopped: bool, json: bool) -> None:
    settings = command_settings()
    from pipelines.storage.desk.reads import require_campaign
    from pipelines.storage.desk.switch import set_switch
    from pipelines.storage.postgres.connection import Role

    with (
        existing_database(settings, console.log) as database,
        database.connect("desk", Role.PIPELINE) as connection,
    ):
        name = _chosen(connection, settings, campaign)
        if name != settings.desk_campaign:  # which can be stopped before it begins
            require_campaign(connection, name)
        stored = set_switch(connection, name, stopped, reason, "command line")
    facts: Mapping[str, Any] = {"campaign": name, **asdict(stored)}
    does = "enters no trades from now on" if stopped else "may enter trades"
    console.print_outcome(facts, f"desk {name}: {does}: {reason}", json=json)


def _plain(value: object) -> object:
    """Decimals as text: a float would not be exact."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} has no JSON value")
