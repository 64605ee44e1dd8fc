"""The command `batchmill`. `--version` answers before anything else is imported."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]) and sys.stdout is not None:
        from batchmill._version import __version__

        sys.stdout.write(f"batchmill {__version__}\n")
        return
    from batchmill import _leaving
    from batchmill.executors import early

    _leaving.prepare()
    # by default (after 700 objects) a tenth of the time that imports take goes into looking for garbage; from 50,000 on
    # long runs keep 15 MB more
    gc.set_threshold(5_000)
    try:
        _begin_early(sys.argv[1:])
        from batchmill.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported, or the last words written
        sys.stderr.write("interrupted\n")
        code = 130
    finally:
        early.drop()
    _leaving.end(code)


def _begin_early(argv: list[str]) -> None:
    """Where a command will run jobs, start the process of its workers: it imports while this one reads the command."""
    if not sys.platform.startswith("linux") or {"--help", "-h", "--inline"} & set(argv):
        return
    from batchmill.executors import early
    from batchmill.plugins.entries import EARLY, entry_points

    found = [entry.value for entry in entry_points(group=EARLY, name=argv[0])] if argv else []
    if found or argv[:1] in (["run"], ["resume"], ["retry"]):
        early.begin(*found[:1])


if __name__ == "__main__":
    main()
