"""The process of a `FakeLLM`: told what to do on standard input, ends when that is closed."""

from __future__ import annotations

import asyncio
import pickle
import sys
from typing import Any, BinaryIO

from batchmill.errors import UsageError


def _part(stream: BinaryIO) -> Any:
    """One object that our own parent has written."""
    return pickle.loads(stream.read(int.from_bytes(stream.read(8), "big")))


async def _serve(host: str, port: int) -> None:
    from batchmill.testing.fake_llm.fake import listen

    listening = await listen(_part(sys.stdin.buffer), host, port)
    sys.stdout.write(f"{listening.url}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    await listening.close()


def main() -> int:
    """Serve until standard input ends; returns 0."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    sys.path[:], host, port = _part(sys.stdin.buffer)
    try:
        asyncio.run(_serve(host, port))
    except UsageError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
