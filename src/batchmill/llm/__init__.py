"""Language models for jobs: metered, within limits, cached, retried, structured. A library on the public root.

    from batchmill.llm import LLM

    async def summarise(text: str, ctx: Context) -> str:
        answer = await LLM(ctx).ask("openai/gpt-5-nano", f"Summarise in one sentence:\\n{text}")
        return answer.text

What is public is listed here and loaded when it is first used; the extra `batchmill[llm]` brings what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchmill._lazy import lazily

if TYPE_CHECKING:
    from batchmill.llm.answers import Answer, ModelError, Stage
    from batchmill.llm.cascade import Cascade
    from batchmill.llm.client import LLM
    from batchmill.llm.embeddings import embed
    from batchmill.llm.messages import Image, Message, Reply, Request, Usage
    from batchmill.llm.service import preload
    from batchmill.llm.settings import Settings
    from batchmill.llm.settings import load as load_settings

_HOMES = {
    "LLM": "client",
    "Answer": "answers",
    "Cascade": "cascade",
    "Image": "messages",
    "Message": "messages",
    "ModelError": "answers",
    "Reply": "messages",
    "Request": "messages",
    "Settings": "settings",
    "Stage": "answers",
    "Usage": "messages",
    "embed": "embeddings",
    "load_settings": "settings:load",
    "preload": "service",
}

__all__ = [
    "LLM",
    "Answer",
    "Cascade",
    "Image",
    "Message",
    "ModelError",
    "Reply",
    "Request",
    "Settings",
    "Stage",
    "Usage",
    "embed",
    "load_settings",
    "preload",
]

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
