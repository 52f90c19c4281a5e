"""Reports that a worker wrote are shown by the page and the command line of another machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_server import Served, serving
from readers import command_line
from shared_places import prepared

from pipelines.settings import load_settings
from pipelines.storage.files import listing
from pipelines.storage.files.reports import share_reports
from pipelines.storage.postgres.connection import Database

pytestmark = pytest.mark.embedded_only

PAGE = b"<!doctype html><html><title>BTC</title><script>alert(1)</script></html>"
CHART = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def shared(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the newest reports of a worker, which has a home folder of its own."""
    home, mount = tmp_path_factory.mktemp("worker"), tmp_path_factory.mktemp("mount")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "gethostname", lambda: "worker")
        prepared(mount)
        for name, content, url in (
            ("reports/btc_calibration.html", PAGE, str(mount)),
            ("reports/charts/btc_season.png", CHART, None),
            ("reports/charts/btc_large.png", bytes(listing.MAX_STORED_BYTES + 1), None),
        ):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(content)
            settings = load_settings(home=home, shared_files={"url": url})
            share_reports(settings, database, [home / name], lambda _: None)
    return mount


@pytest.fixture(scope="module")
def served(database: Database, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("host"), database_url=database.url, shared_files__url=str(shared)) as it:
        yield it


def test_the_page_lists_the_reports_of_all_hosts(served: Served) -> None:
    response = served.client.get("/reports")
    assert response.status_code == 200
    for name in ("btc_calibration.html", "charts/btc_season.png", "charts/btc_large.png"):
        assert f'<a href="/reports/{name}">{name}</a>' in response.text
    assert response.text.count("<td>worker</td>") == 3
    assert 'href="/reports"' in served.client.get("/").text


def test_the_page_serves_a_report_without_its_scripts_and_a_chart(served: Served) -> None:
    page = served.client.get("/reports/btc_calibration.html")
    assert (page.content, page.headers["content-type"]) == (PAGE, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    chart = served.client.get("/reports/charts/btc_season.png")
    assert (chart.content, chart.headers["content-type"]) == (CHART, "image/png")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/reports/none.html", "there is no report"),
        ("/reports/..%2Falerts.json", "there is no report"),
        ("/reports/charts/btc_large.png", "is only on worker: it has 1,048,577 bytes"),
    ],
)
def test_a_report_that_cannot_be_read_is_a_404_with_the_reason(served: Served, path: str, text: str) -> None:
    response = served.client.get(path)
    assert (response.status_code, text in response.json()["error"]) == (404, True), response.text


def test_a_shared_place_that_fails_is_a_503_with_the_reason(served: Served, shared: Path) -> None:
    away = shared.rename(shared.with_name("away"))
    try:
        response = served.client.get("/reports/btc_calibration.html")
        assert response.status_code == 503
        assert "btc_calibration.html cannot be read" in response.json()["error"]
        assert served.client.get("/reports/charts/btc_season.png").content == CHART
    finally:
        away.rename(shared)


def test_the_command_line_lists_and_fetches_reports(database: Database, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    host = command_line(database, tmp_path / "host", STRIKECAST_SHARED_FILES__URL=str(shared))
    listed = host.invoke("files", "list")
    assert "reports/charts/btc_season.png" in listed.stdout
    target = tmp_path / "btc.html"
    host.invoke("files", "get", "reports/btc_calibration.html", "-o", str(target))
    assert target.read_bytes() == PAGE
    refused = host.invoke("files", "share", STRIKECAST_SHARED_FILES__URL="")
    assert (refused.returncode, "shared_files.url is not set" in refused.stderr) == (1, True)
    done = host.invoke("files", "share", "--json")
    assert done.returncode == 0, done.stderr
    assert f'"place": "{shared}"' in done.stdout
