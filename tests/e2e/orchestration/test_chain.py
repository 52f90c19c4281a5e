"""The whole chain through Dagster, on its PostgreSQL storage."""

from pathlib import Path

import dagster as dg
import pytest
from system import System

from pipelines.definitions import defs
from pipelines.errors import BuildError
from pipelines.orchestration.jobs import live_refresh
from pipelines.orchestration.sensors import live_supervisor
from pipelines.resources import default_resources
from pipelines.service.instance import register_symbols
from pipelines.service.job_runner import run_job
from pipelines.storage.live.sessions import SESSION_LOCK
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.postgres.connection import Role


def latest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def published(system: System) -> int:
    with system.database.connect("test", Role.READER) as connection:
        return active_generation(connection, "BTC")


@pytest.mark.parametrize(
    ("asset", "keys"),
    [
        ("price_history", {"rows_read", "inserted", "quarantined", "first_bar", "last_bar"}),
        ("price_gap", {"missing_minutes", "longest_gaps"}),
        ("momentum", {"profile", "rows_written"}),
        ("fingerprint", {"generation", "n_baseline_60_min", "baseline_chart", "momentum_chart", "compute_seconds"}),
        ("lookup", {"generation", "cells", "bytes_on_disk", "sha256"}),
        ("active_generation", {"generation", "profile", "code_version"}),
    ],
)
def test_materializations_carry_their_metadata(instance: dg.DagsterInstance, asset: str, keys: set[str]) -> None:
    metadata = latest(instance, asset).metadata
    assert keys | {"dagster/row_count"} <= set(metadata)
    assert "dagster/column_schema" not in metadata, "it is in the definition, once"


def test_a_full_lookup_has_8_840_181_cells(instance: dg.DagsterInstance) -> None:
    assert latest(instance, "lookup").metadata["cells"].value == 8_840_181
    assert latest(instance, "lookup").metadata["dagster/row_count"].value == 43_981 + 721  # climatology


def check_only(instance: dg.DagsterInstance, *checks: str, symbol: str | None = "BTC") -> dict[str, bool]:
    """Results of checks of `lookup`, executed without the asset."""
    selection = dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey("lookup"), name) for name in checks))
    job = dg.define_asset_job("only_checks", selection)
    result = (
        dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
        .resolve_job_def("only_checks")
        .execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={} if symbol is None else {"dagster/partition": symbol},
        )
    )
    assert not result.get_asset_materialization_events()
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_checks_are_executed_without_their_asset_and_leave_the_published_generation(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    generation = published(in_system)
    both = ("monotone_in_move", "percent_0_to_100")
    assert check_only(instance, *both) == dict.fromkeys(both, True)
    assert check_only(instance, *both, symbol=None) == dict.fromkeys(both, True)
    broken = """UPDATE analytics.lookup SET prob_within_positive_hundredths[3] = 9999
        WHERE generation = %s AND ttc_seconds = 900 AND bucket = 0"""
    with in_system.database.connect("test", None) as connection:
        [before] = connection.execute(
            "SELECT prob_within_positive_hundredths FROM analytics.lookup "
            "WHERE generation = %s AND ttc_seconds = 900 AND bucket = 0",
            [generation],
        ).fetchall()
        connection.execute(broken, [generation])
    try:
        assert check_only(instance, *both) == {"monotone_in_move": False, "percent_0_to_100": True}
        assert published(in_system) == generation
    finally:
        with in_system.database.connect("test", None) as connection:
            connection.execute(
                "UPDATE analytics.lookup SET prob_within_positive_hundredths = %s "
                "WHERE generation = %s AND ttc_seconds = 900 AND bucket = 0",
                [before[0], generation],
            )


def test_runs_of_commands_belong_to_their_job_in_the_ui(instance: dg.DagsterInstance) -> None:
    for job in ("ingest_prices", "build"):
        runs = instance.get_runs(dg.RunsFilter(job_name=job, tags={".dagster/repository": "__repository__@strikecast"}))
        assert runs, job
        for run in runs:
            assert run.status is dg.DagsterRunStatus.SUCCESS
            assert run.remote_job_origin is not None
            assert (run.remote_job_origin.location_name, run.remote_job_origin.job_name) == ("strikecast", job)


def test_charts_are_png_files_and_only_their_paths_are_in_the_event_log(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    for name in ("baseline_chart", "momentum_chart"):
        value = latest(instance, "fingerprint").metadata[name]
        assert isinstance(value, dg.PathMetadataValue)
        built = Path(value.path)  # where the system was built before it was copied for this module
        assert (built.parts[-3:-1], built.suffix) == (("reports", "charts"), ".png")
    charts = in_system.settings.reports_dir / "charts"
    for chart in ("btc_baseline", "btc_momentum", "btc_season", "btc_standardised"):
        assert (charts / f"{chart}.png").read_bytes().startswith(b"\x89PNG"), chart


def test_tables_carry_column_lineage(instance: dg.DagsterInstance) -> None:
    lineage = latest(instance, "lookup").metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    (source,) = lineage.deps_by_column["prob_within_positive_hundredths"]
    assert (source.asset_key.to_user_string(), source.column_name) == ("fingerprint", "positive")


def test_the_source_profile_is_built_and_published(in_system: System) -> None:
    run_job("build", "BTC", {"momentum": {"profile": "SOURCE"}, "fingerprint": {"profile": "SOURCE"}})
    with in_system.database.connect("test", Role.READER) as connection:
        version = read_version(connection, published(in_system))
    assert version.profile == "source"
    assert len(version.nodes) == 40
    run_job("build", "BTC")


def test_momentum_of_another_profile_is_refused(in_system: System) -> None:
    before = published(in_system)
    with pytest.raises(
        BuildError, match="fingerprint: BTC: stored momentum .* is not that of the stored bars by profile source"
    ):
        run_job("build", "BTC", {"fingerprint": {"profile": "SOURCE"}})
    assert published(in_system) == before


def test_a_failed_check_keeps_the_published_generation(in_system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    from assets import analytics
    from pipelines.domain.models.invariants import CheckResult

    before = published(in_system)
    broken = [
        CheckResult(name, 1, 1, "made to fail")
        for name in ("cells_complete", "percent_0_to_100", "monotone_in_move", "equals_interpolation_at_nodes")
    ]
    monkeypatch.setattr(analytics, "verify_lookup", lambda *_: broken)
    lines: list[str] = []
    with pytest.raises(BuildError):
        run_job("build", "BTC", log=lines.append)
    assert "BTC lookup check cells_complete failed (error)" in lines
    assert published(in_system) == before


def test_a_lookup_materialized_again_gets_its_own_generation(in_system: System, instance: dg.DagsterInstance) -> None:
    before = published(in_system)
    result = dg.materialize(
        [a for a in defs.assets or () if isinstance(a, dg.AssetsDefinition)],
        selection=["lookup", "active_generation"],
        partition_key="BTC",
        instance=instance,
        resources=default_resources(),
    )
    assert result.success
    assert published(in_system) > before
    with in_system.database.connect("test", Role.READER) as connection:
        shas = {read_version(connection, generation).lookup_sha256 for generation in (before, published(in_system))}
    assert len(shas) == 1


def test_a_file_without_prices_fails_the_run_with_one_line(in_system: System) -> None:
    path = in_system.home / "wrong.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        BuildError,
        match=r"BTC: price_history: wrong.csv: the first row has 2 columns.*nothing was stored \(run [0-9a-f]{8}",
    ):
        run_job("ingest_prices", "BTC", {"price_history": {"paths": [str(path)]}})


def test_the_sensor_starts_a_session_only_when_none_is_alive(
    in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate() -> object:
        with dg.build_sensor_context(instance=instance, resources=default_resources()) as context:
            return live_supervisor(context)

    assert isinstance(evaluate(), dg.RunRequest)
    with in_system.database.connect("test", Role.LIVE, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [SESSION_LOCK])
        silent = evaluate()
        assert isinstance(silent, dg.RunRequest)
        assert silent.tags["strikecast/wanted_because"] == "the live session has been silent for more than 10 s"
        row = holder.execute(
            "INSERT INTO live_data.session (symbols, hands_over_at) VALUES ('{BTC}', now() + interval '30 minutes') "
            "RETURNING session_id"
        ).fetchone()
        assert row is not None
        assert evaluate() == dg.SkipReason(f"live session {row[0]} is running")
        monkeypatch.setenv("STRIKECAST_HOT_STANDBY", "true")
        assert isinstance(evaluate(), dg.RunRequest)
        monkeypatch.delenv("STRIKECAST_HOT_STANDBY")
        holder.execute("UPDATE live_data.session SET status = 'stopped' WHERE session_id = %s", [row[0]])
    assert isinstance(evaluate(), dg.RunRequest)
    run = instance.create_run_for_job(live_refresh)
    reason = evaluate()
    assert isinstance(reason, dg.SkipReason)
    assert reason.skip_message == f"no live session is running; run {run.run_id} is starting"
    instance.delete_run(run.run_id)
    symbols = '{"XRP": {"strike_tier_usd": 0.01}, "BTC": {"enabled": false}}'
    monkeypatch.setenv("STRIKECAST_SYMBOLS", symbols)
    reason = evaluate()
    assert isinstance(reason, dg.SkipReason)
    assert "no symbol has a published generation" in str(reason.skip_message)


def test_symbols_become_partitions_once(instance: dg.DagsterInstance) -> None:
    register_symbols(instance, ["BTC", "SOL"])
    register_symbols(instance, ["SOL"])
    assert set(instance.get_dynamic_partitions("symbol")) >= {"BTC", "SOL"}
    instance.delete_dynamic_partition("symbol", "SOL")
