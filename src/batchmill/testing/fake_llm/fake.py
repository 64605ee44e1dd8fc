"""`FakeLLM`: the fake service as a context manager, in a process of its own or in the running event loop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from batchmill.errors import UsageError
from batchmill.testing.fake_llm.behaviour import Behaviour, check_kinds
from batchmill.testing.fake_llm.counts import Counts, Entry
from batchmill.testing.fake_llm.service import Service
from batchmill.testing.fake_llm.wire import Connection

BACKLOG = 4096


class FakeLLM:
    """A service that speaks the protocols of language models on loopback, with latency, limits and faults.

    `with FakeLLM(rpm=600) as fake:` runs it in a process of its own; `async with` in the running loop, where a
    function that answers can share state with the test. The options are those of `Behaviour`; a wrong one raises
    UsageError. `url` is where it listens; `counts` and `log` are what it has seen.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self.behaviour = Behaviour.of(**options)
        self._host, self._port = host, port
        self._process: subprocess.Popen[bytes] | None = None
        self._listening: Listening | None = None
        self.url = ""

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's protocol: chat completions, embeddings, files and batches."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic's protocol; paths begin with `/v1`."""
        return self.url

    @property
    def gemini_url(self) -> str:
        """The base URL for Gemini's protocol."""
        return f"{self.url}/v1beta"

    @property
    def ollama_url(self) -> str:
        """The base URL for Ollama's protocol; paths begin with `/api`."""
        return self.url

    @property
    def pid(self) -> int | None:
        """The process that serves, where it is one of its own."""
        return None if self._process is None else self._process.pid

    @property
    def counts(self) -> Counts:
        """What it has counted so far."""
        return Counts.from_json(self._ask("GET", "counts"))

    @property
    def log(self) -> list[Entry]:
        """The newest requests, oldest first."""
        return [Entry(**values) for values in self._ask("GET", "log")]

    def reset(self) -> None:
        """Forget what has happened; begin the script of faults again."""
        self._ask("POST", "reset")

    def script(self, *faults: str | None) -> None:
        """Give the next requests these faults, one each; None is no fault. Raises UsageError."""
        check_kinds(faults)
        self._ask("POST", "script", faults)

    def outage(self, seconds: float) -> None:
        """Answer 503 to everything for so long, from now on."""
        self._ask("POST", "outage", {"seconds": seconds})

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        from batchmill.testing.fake_llm.wire import HttpRequest

        data = b"" if body is None else json.dumps(body).encode()
        if self._listening is not None:
            return json.loads(self._listening.service.serve(HttpRequest(method, f"/fake/{what}", "", {}, data)).body)
        from urllib.request import ProxyHandler, Request, build_opener

        opener = build_opener(ProxyHandler({}))
        with opener.open(Request(f"{self.url}/fake/{what}", data or None, method=method), timeout=30) as reply:
            return json.load(reply)

    def __enter__(self) -> FakeLLM:
        import cloudpickle

        self._process = subprocess.Popen(
            [sys.executable, "-m", "batchmill.testing.fake_llm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        start = cloudpickle.dumps((sys.path, self._host, self._port))
        for part in (start, cloudpickle.dumps(self.behaviour)):
            self._process.stdin.write(len(part).to_bytes(8, "big") + part)
        self._process.stdin.flush()
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            self.__exit__(None, None, None)
            raise UsageError(f"the fake service cannot listen on port {self._port}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()  # the child ends with its standard input
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    async def __aenter__(self) -> FakeLLM:
        self._listening = await listen(self.behaviour, self._host, self._port)
        self.url = self._listening.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            await self._listening.close()
            self._listening = None


class Listening:
    """A service behind an open port."""

    def __init__(self, service: Service, server: asyncio.Server, connections: set[Connection]) -> None:
        self.service = service
        self._server = server
        self._connections = connections
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        await asyncio.sleep(0)
        await self._server.wait_closed()


async def listen(behaviour: Behaviour, host: str, port: int) -> Listening:
    """Open the port (0: a free one). Raises UsageError if that cannot be."""
    service = Service(behaviour)
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: Connection(service.serve, connections), host, port, backlog=BACKLOG, reuse_address=True
        )
    except OSError as error:
        raise UsageError(f"cannot listen on `{host}:{port}`: {error.strerror or error}") from None
    return Listening(service, server, connections)
