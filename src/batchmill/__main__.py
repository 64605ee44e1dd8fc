"""The command `batchmill`. `--version` answers before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from batchmill._version import __version__

        sys.stdout.write(f"batchmill {__version__}\n")
        return
    try:
        from batchmill.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported, or the last words written
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
