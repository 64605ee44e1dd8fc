"""The program of the zygote, run as `python -m batchmill.executors FD [PRELOAD]`: see `zygote`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Serve a driver over an inherited socket, until it closes."""
    gc.disable()  # what is imported for good is no garbage: looking for some takes a tenth of the time
    from batchmill.executors import zygote

    zygote.main(int(sys.argv[1]), *sys.argv[2:])


if __name__ == "__main__":
    main()
