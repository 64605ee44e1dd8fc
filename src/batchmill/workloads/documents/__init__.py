"""One prompt over many files: readers, prompts, chunks, and the job that asks a language model about each document.

From the outside in: `job` (what is done), `params` and `result` (what is asked and told), `binding` (what a plan
fixes), `prompts`, `templates` and `conversation` (what is said to the model), `answering` and `chunking` (documents
that are too long for one request), `readers` (files), `seeing` (images), `checking` (is the model there).
Importing the package loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.workloads.documents.job import documents as task

__all__ = ["task"]


def __getattr__(name: str) -> Any:
    if name != "task":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from dataclasses import replace

    from batchmill import BatchmillError
    from batchmill.llm.settings import load
    from batchmill.workloads.documents.asked import at_once
    from batchmill.workloads.documents.job import documents

    try:
        settings = load()
    except BatchmillError:  # every job of the plan will tell it, with the line
        return documents
    return replace(documents, timeout=settings.timeout_per_file, concurrency=at_once(settings))


def preload() -> None:
    """Import what every worker needs. Reads no setting: those of the run are not known yet."""
    from batchmill.workloads.documents.job import setup

    setup()
