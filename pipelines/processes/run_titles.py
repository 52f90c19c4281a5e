"""Names that processes with and without Dagster share: run titles, the code location, the tag of the queue."""

#: The code location, under `strikecast up`, `dagster dev` and `dg`; workspace.yaml and pyproject.toml state it, too.
LOCATION = "strikecast"
#: The only repository of a location that is one `Definitions`.
REPOSITORY = "__repository__"

#: Tag of the runs that a worker may execute; its value names the queue.
QUEUE_TAG = "strikecast/queue"

#: Beginning of the title of a run's process; its job and its id follow.
RUN_TITLE = "strikecast run "


def run_of_title(title: str) -> str | None:
    """The id of the run whose process has this title; None for any other process."""
    words = title.removeprefix(RUN_TITLE).split()
    return words[1] if title.startswith(RUN_TITLE) and len(words) > 1 else None
