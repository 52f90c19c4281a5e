"""Workers: the content of dagster.yaml, and what must be equal on a host and on a worker."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipelines.errors import SettingsError
from pipelines.orchestration.queues import Queue
from pipelines.processes.run_titles import QUEUE_TAG
from pipelines.service import dagster_home
from pipelines.service.dagster_home import write_dagster_home
from pipelines.service.workers import identity as identities
from pipelines.service.workers.celery_app import broker_tls, queue_name, worker_app
from pipelines.service.workers.identity import Identity, code_digest, own_identity, settings_digests
from pipelines.service.workers.start_checks import Exit, compare
from pipelines.settings import Settings, check_settings, load_settings

SOURCE = Path(__file__).parents[3] / "dagster.yaml"
WORKERS = {"broker_url": "amqp://ann:s3cret@rabbit.example.org/vhost"}
URL = "postgresql://db.example.org/strikecast"


def worker_settings(**workers: Any) -> Settings:
    return load_settings(database_url=URL, workers={**WORKERS, **workers})


def test_without_a_broker_dagster_yaml_is_the_one_of_the_project() -> None:
    settings = load_settings()
    write_dagster_home(settings)
    assert (settings.dagster_home / "dagster.yaml").read_bytes() == SOURCE.read_bytes()


def test_with_a_broker_dagster_yaml_has_the_launcher_and_no_address() -> None:
    settings = worker_settings(max_concurrent_runs=5, queue_timeout_seconds=100)
    write_dagster_home(settings)
    text = (settings.dagster_home / "dagster.yaml").read_text()
    assert "s3cret" not in text
    assert "rabbit" not in text
    found, plain = yaml.safe_load(text), yaml.safe_load(SOURCE.read_text())
    assert found["run_launcher"]["class"] == "WorkerLauncher"
    runs = found["concurrency"]["runs"]
    assert runs["max_concurrent_runs"] == plain["concurrency"]["runs"]["max_concurrent_runs"] + 5
    assert runs["tag_concurrency_limits"] == [{"key": QUEUE_TAG, "limit": 5}]
    assert found["run_monitoring"]["start_timeout_seconds"] == plain["run_monitoring"]["start_timeout_seconds"] + 100
    assert found["run_retries"] == {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False}
    assert {name: found[name] for name in ("storage", "python_logs")} == {
        name: plain[name] for name in ("storage", "python_logs")
    }


def test_a_host_without_the_extra_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagster_home, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"make workers"):
        write_dagster_home(worker_settings())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"workers": WORKERS}, "needs database_url"),
        ({"database_url": URL, "workers": {"broker_url": "redis://x"}}, "must start with amqp:// or amqps://"),
        ({"database_url": URL, "workers": {**WORKERS, "result_url": "amqp://x"}}, "must start with redis://"),
        ({"database_url": URL, "workers": {**WORKERS, "queue_prefix": "a.b"}}, "queue_prefix"),
    ],
)
def test_unusable_workers_are_refused_without_their_password(given: dict[str, Any], problem: str) -> None:
    found = check_settings(**given)
    assert isinstance(found, list)
    assert problem in found[0]
    assert "s3cret" not in found[0]


def test_the_code_digest_depends_on_names_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "PACKAGES", ("package",))
    monkeypatch.setattr(identities, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))

    def digest(**files: str) -> str:
        for old in tmp_path.iterdir():
            old.unlink()
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        code_digest.cache_clear()
        return code_digest()

    try:
        first = digest(a_py="x = 1", b_sql="SELECT 1")
        assert digest(a_py="x = 1", b_sql="SELECT 1", c_pyc="other") == first
        others = [digest(a_py="x = 2", b_sql="SELECT 1"), digest(c_py="x = 1", b_sql="SELECT 1"), digest(a_py="x = 1")]
        assert len({first, *others}) == 4
    finally:
        code_digest.cache_clear()


def test_settings_that_change_builds_change_their_section_alone() -> None:
    plain = settings_digests(load_settings())
    changed = load_settings(model={"bucket_limit": 20}, symbols={"SOL": {"strike_tier_usd": 1}}, hot_standby=True)
    found = settings_digests(changed)
    assert {name for name in found if found[name] != plain.get(name)} == {"model", "symbols.SOL"}
    secret = load_settings(exchange={"urls": {"public": "https://ann:s3cret@proxy.example.org"}})
    assert settings_digests(secret) == plain


def test_a_new_symbol_leaves_the_runs_of_others_as_they_are() -> None:
    before = own_identity(load_settings())
    after = own_identity(load_settings(symbols={"SOL": {"strike_tier_usd": 1}}))
    assert after.settings_of("BTC") == before.settings_of("BTC")
    assert after.settings_of("SOL") != before.settings_of("SOL")
    assert after.differing_settings(before) == ["symbols.SOL"]


def findings_codes(own: Identity, host: Identity) -> list[Exit]:
    return [one.code for one in compare(own, host)]


def test_a_worker_is_compared_with_its_host() -> None:
    host = own_identity(load_settings())
    assert findings_codes(host, host) == []
    assert findings_codes(replace(host, code="0" * 64), host) == [Exit.CODE]
    assert findings_codes(replace(host, settings={**host.settings, "model": "other"}), host) == [Exit.SETTINGS]
    major, minor, last = host.versions["polars"].split(".")[:3]
    patched = replace(host, versions={**host.versions, "polars": f"{major}.{minor}.{last}1"})
    assert findings_codes(patched, host) == []
    newer = replace(host, versions={**host.versions, "polars": f"{major}.{int(minor) + 1}.0"})
    assert findings_codes(newer, host) == [Exit.VERSIONS]


def test_queues_of_other_code_have_other_names() -> None:
    settings, own = worker_settings(queue_prefix="p"), own_identity(load_settings())
    name = queue_name(settings, Queue.BUILDS, own)
    assert name.startswith("p.builds.")
    assert name != queue_name(settings, Queue.BUILDS, replace(own, code="0" * 64))
    app = worker_app(settings, [Queue.BUILDS], own)
    assert [queue.name for queue in app.conf.task_queues] == [name]
    assert app.conf.accept_content == ["json"]
    assert not app.conf.worker_enable_remote_control


def test_a_brokers_certificate_is_verified_with_its_name(tmp_path: Path) -> None:
    assert broker_tls(worker_settings()) is None
    tls = broker_tls(worker_settings(broker_url="amqps://ann:x@rabbit.example.org/v", broker_ca=tmp_path / "ca.pem"))
    assert tls is not None
    assert (tls["server_hostname"], tls["ca_certs"]) == ("rabbit.example.org", str(tmp_path / "ca.pem"))
    assert "cert_reqs" in tls
