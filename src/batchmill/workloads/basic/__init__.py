"""The two general tasks: `python` calls a function of the user's own, `shell` runs a command."""

from batchmill.workloads.basic.commands import shell
from batchmill.workloads.basic.functions import python

__all__ = ["python", "shell"]
