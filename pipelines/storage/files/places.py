"""The shared place of `[shared_files]`: a folder that all machines mount, or a prefix of an S3 bucket."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipelines.atomic_files import atomic_write
from pipelines.configuration.sections import SharedFileSettings
from pipelines.errors import SettingsError, SharedFilesError

#: Folder of Dagster's compute logs, with one folder for each run.
COMPUTE_LOGS = "dagster/storage"
#: File in a shared folder that was prepared.
MARKER = ".strikecast-files"
#: Requests to S3: a server that does not answer is given up after 3 attempts, within about 20 s.
S3_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 30, "retries": {"mode": "standard", "max_attempts": 3}}


class Place(Protocol):
    """Files by names such as `reports/audit.html`. Every method raises SharedFilesError."""

    def location(self, name: str) -> str:
        """Path or URL of a file, for people."""

    def prepare(self) -> None:
        """Make a new place ready for use, once."""

    def put(self, path: Path, name: str) -> None:
        """Store a file; readers see the old content or all of the new one."""

    def copy_to(self, name: str, target: BinaryIO) -> None:
        """Write the content of a file to `target`."""

    def remove_folder(self, name: str) -> None:
        """Remove all files whose names begin with `name` and a slash; none is fine."""


def shared_place(settings: SharedFileSettings) -> Place | None:
    """The configured place, which is not looked at yet; None without one.

    Raises SettingsError without the extra `s3`.
    """
    if settings.url is None:
        return None
    if settings.bucket_and_prefix is None:
        return SharedFolder(Path(settings.url))
    return S3Prefix.connect(*settings.bucket_and_prefix)


def require_s3() -> None:
    """Raise SettingsError unless the packages of the extra `s3` are installed."""
    if find_spec("boto3") is None or find_spec("dagster_aws") is None:
        raise SettingsError(
            "shared_files.url names S3, whose packages are missing: install strikecast[s3] on each machine"
        )


@dataclass(frozen=True)
class SharedFolder:
    """A folder with the file MARKER, without which nothing is stored: a file system that is not mounted would be filled
    beneath, also where other programs, as Dagster for its logs, have created the folder.
    """

    folder: Path

    def location(self, name: str) -> str:
        """The file's path."""
        return str(self.folder / name)

    def prepare(self) -> None:
        """Create the marker; the folder must exist."""
        with self._errors(f"{self.folder} cannot be used"):
            (self.folder / MARKER).write_text(
                "strikecast keeps files of several machines here: see docs/shared-files.md\n"
            )

    def put(self, path: Path, name: str) -> None:
        """Replace the file by a rename, once it is on the disk."""
        target = self.folder / name
        with self._errors(f"{target} cannot be written"):
            if not (self.folder / MARKER).exists():
                raise SharedFilesError(
                    f"the shared folder {self.folder} has no file {MARKER}: mount it, or prepare a new one by "
                    "`strikecast files share`"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target, durable=True) as partial:
                shutil.copyfile(path, partial)

    def copy_to(self, name: str, target: BinaryIO) -> None:
        """Copy the file."""
        with self._errors(f"{self.folder / name} cannot be read"), (self.folder / name).open("rb") as source:
            shutil.copyfileobj(source, target)

    def remove_folder(self, name: str) -> None:
        """Remove the folder."""
        with self._errors(f"{self.folder / name} cannot be removed"):
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)

    @contextmanager
    def _errors(self, problem: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SharedFilesError(f"{problem}: {error.strerror or error}; see shared_files.url") from error


@dataclass(frozen=True)
class S3Prefix:
    """Objects of a bucket whose keys begin with a prefix; an object appears when it is complete."""

    client: Any
    bucket: str
    prefix: str

    @classmethod
    def connect(cls, bucket: str, prefix: str) -> "S3Prefix":
        """With keys, region and endpoint as boto3 finds them. Raises SettingsError when it is not installed."""
        require_s3()
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            return cls(boto3.session.Session().client("s3", config=Config(**S3_TIMEOUTS)), bucket, prefix)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise SettingsError(
                f"S3 cannot be used with the AWS_ variables and files of this process: {error}"
            ) from error

    def location(self, name: str) -> str:
        """The object's URL."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def prepare(self) -> None:
        """Nothing: the bucket must exist."""

    def put(self, path: Path, name: str) -> None:
        """Upload, in parts if it is large."""
        with self._errors("cannot be stored", name):
            self.client.upload_file(str(path), self.bucket, f"{self.prefix}{name}")

    def copy_to(self, name: str, target: BinaryIO) -> None:
        """Download, in parts if it is large."""
        with self._errors("cannot be read", name):
            self.client.download_fileobj(self.bucket, f"{self.prefix}{name}", target)

    def remove_folder(self, name: str) -> None:
        """Remove the objects, a thousand with each request."""
        with self._errors("cannot be removed", name):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{name}/"):
                keys = [{"Key": each["Key"]} for each in page.get("Contents", ())]
                if keys:
                    self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})

    @contextmanager
    def _errors(self, problem: str, name: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
            raise SharedFilesError(f"{self.location(name)} {problem}: {error}; see shared_files.url") from error
