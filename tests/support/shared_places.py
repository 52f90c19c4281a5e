"""Machines with home folders of their own, and shared places of each kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import BUCKET

from pipelines.settings import Settings, load_settings
from pipelines.storage.files import archive, listing, places

Machine = Callable[..., Settings]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`machine("worker", url)`: the settings of a machine with this host name, which is that of what is done next."""

    def settings(name: str, url: str | None = None) -> Settings:
        for module in (listing, archive):
            monkeypatch.setattr(module, "gethostname", lambda: name)
        return load_settings(home=tmp_path / name, shared_files={"url": url}, archive={"after_months": 2})

    return settings


def prepared(folder: Path) -> Path:
    """A shared folder that can be used."""
    folder.mkdir(exist_ok=True)
    places.SharedFolder(folder).prepare()
    return folder


@pytest.fixture(params=["folder", "s3"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A shared place of each kind: the folder `mount`, or the prefix `team` of the bucket in the folder `s3`."""
    if request.param == "folder":
        return str(prepared(tmp_path / "mount"))
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/team"
