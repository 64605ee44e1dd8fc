"""The jobs of the chaos run over language models: each asks one question. Run as a module, it is the run itself."""

from __future__ import annotations

import sys

import batchmill
from batchmill import Context, task

MODEL = "openai/chaos"


@task(name="chaos-ask", version="1", mode="async")
async def ask(number: int, ctx: Context) -> str:
    """The answer to a question that no other job asks."""
    from batchmill.llm import LLM

    return (await LLM(ctx).ask(MODEL, f"What is special about {number}?", max_tokens=64)).text


def main() -> int:
    """Run, or continue, in the home that is named; returns the exit code."""
    home, requests = sys.argv[1], int(sys.argv[2])
    matrix = {"axes": {"number": {"range": [requests]}}, "name": "n{number}"}
    run = batchmill.run(
        ask, matrix=matrix, home=home, name="chaos-llm", progress=False, workers=1, limits={"concurrency": 20}
    )
    return run.exit_code or 0


if __name__ == "__main__":
    sys.exit(main())
