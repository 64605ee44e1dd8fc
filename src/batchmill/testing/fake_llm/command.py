"""`batchmill fake-llm`: the fake service at the terminal, until it is told to stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchmill.errors import UsageError

EXAMPLE = (
    "  batchmill fake-llm --port 8080 --latency 50ms --rpm 600\n"
    "  batchmill fake-llm --fault server:0.05 --fault hang:0.01 --seed 1\n"
    "  batchmill fake-llm --latency lognormal:200ms:0.5 --tpm 100000 --concurrency 20"
)

_Port = Annotated[int, typer.Option("--port", metavar="N", help="where to listen; 0: a free port")]
_Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="the address to listen on")]
_Latency = Annotated[
    str,
    typer.Option("--latency", metavar="T", help="`50ms`, `10ms-90ms`, `exponential:50ms` or `lognormal:50ms:0.5`"),
]
_Rpm = Annotated[float | None, typer.Option("--rpm", metavar="N", help="requests a minute", show_default=False)]
_Burst = Annotated[
    float | None,
    typer.Option("--burst", metavar="N", help="requests at once; default: those of a second", show_default=False),
]
_Tpm = Annotated[float | None, typer.Option("--tpm", metavar="N", help="tokens a minute", show_default=False)]
_Rpd = Annotated[int | None, typer.Option("--rpd", metavar="N", help="requests a day", show_default=False)]
_Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", help="more at once are refused", show_default=False)
]
_Slots = Annotated[
    int | None, typer.Option("--slots", metavar="N", help="more at once wait, as at a local server", show_default=False)
]
_Faults = Annotated[
    list[str] | None,
    typer.Option("--fault", metavar="KIND:SHARE", help="share of faulty replies; repeatable", show_default=False),
]
_Outage = Annotated[
    str | None,
    typer.Option("--outage", metavar="FROM:FOR", help="503 from and for so long: `10s:30s`", show_default=False),
]
_Answer = Annotated[str, typer.Option("--answer", metavar="words|echo", help="what the models say")]
_Context = Annotated[int | None, typer.Option("--context", metavar="N", help="most tokens in", show_default=False)]
_Vision = Annotated[bool, typer.Option("--vision/--no-vision", help="whether images are taken")]
_Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="the only keys that are let in; repeatable", show_default=False),
]
_Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="NAME", help="the only models; repeatable", show_default=False)
]
_BatchTime = Annotated[str, typer.Option("--batch-time", metavar="T", help="how long a batch takes")]
_BatchDone = Annotated[float, typer.Option("--batch-done", metavar="SHARE", help="of a batch's lines; others expire")]
_Seed = Annotated[int, typer.Option("--seed", help="of latency, faults and answers")]


def fake_llm_command(
    port: _Port = 0,
    host: _Host = "127.0.0.1",
    latency: _Latency = "0",
    rpm: _Rpm = None,
    burst: _Burst = None,
    tpm: _Tpm = None,
    rpd: _Rpd = None,
    concurrency: _Concurrency = None,
    slots: _Slots = None,
    fault: _Faults = None,
    outage: _Outage = None,
    answer: _Answer = "words",
    context: _Context = None,
    vision: _Vision = True,
    key: _Keys = None,
    model: _Models = None,
    batch_time: _BatchTime = "200ms",
    batch_done: _BatchDone = 1.0,
    seed: _Seed = 0,
) -> int:
    """Serve a fake language model on loopback: latency, limits and faults, for tests of pipelines."""
    options: dict[str, Any] = {
        "latency": latency,
        "rpm": rpm,
        "burst": burst,
        "tpm": tpm,
        "rpd": rpd,
        "concurrency": concurrency,
        "slots": slots,
        "faults": _shares(fault or ()),
        "outage": _outage(outage),
        "answer": answer,
        "context": context,
        "vision": vision,
        "keys": tuple(key or ()),
        "models": tuple(model or ()),
        "batch_time": _seconds(batch_time),
        "batch_done": batch_done,
        "seed": seed,
    }
    import asyncio

    return asyncio.run(_serve(host, port, options))


fake_llm_command.example = EXAMPLE  # type: ignore[attr-defined]


async def _serve(host: str, port: int, options: dict[str, Any]) -> int:
    import asyncio
    import signal

    from batchmill.testing.fake_llm.behaviour import Behaviour
    from batchmill.testing.fake_llm.fake import listen

    listening = await listen(Behaviour.of(**options), host, port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    url = listening.url
    typer.echo(f"{url} (OpenAI {url}/v1, Anthropic {url}, Gemini {url}/v1beta, Ollama {url}; counts {url}/fake/counts)")
    await stopped.wait()
    await listening.close()
    return 0


def _shares(texts: tuple[str, ...] | list[str]) -> dict[str, float]:
    """`server:0.05` as a share of a fault. Raises UsageError."""
    shares: dict[str, float] = {}
    for text in texts:
        kind, _, share = text.partition(":")
        try:
            shares[kind] = float(share)
        except ValueError:
            raise UsageError(f"`{text}` is no share of a fault", hint="for example `--fault server:0.05`") from None
    return shares


def _outage(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    start, colon, length = text.partition(":")
    return (_seconds(start), _seconds(length)) if colon else (0.0, _seconds(start))


def _seconds(text: str) -> float:
    from batchmill.model.units import grace

    try:
        return grace(0 if text in ("0", "0s") else text)
    except ValueError as error:
        raise UsageError(str(error)) from None
