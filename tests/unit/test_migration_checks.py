"""squawk, as `make check` runs it on migrations."""

import subprocess
import sysconfig
from pathlib import Path

CONFIG = Path(__file__).parents[2] / ".ci" / "squawk.toml"


def test_a_new_migration_that_breaks_writers_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("0008_old.sql", "0010_new.sql", "0123_new.sql")]
    for file in files:
        file.write_text("ALTER TABLE ops.audit ADD COLUMN needed bigint NOT NULL;")
    squawk = Path(sysconfig.get_path("scripts")) / "squawk"
    done = subprocess.run(
        [squawk, "--config", CONFIG, "--reporter", "gcc", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert ["adding-required-field" in done.stdout and file.name in done.stdout for file in files] == [
        False,
        True,
        True,
    ]
