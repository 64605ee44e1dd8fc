"""A question about a whole document: asked about each part, and the answers combined. Each request is a saved step.

How a request gets to a model is not known here: `ask` does that.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from batchmill import Context
from batchmill.llm.messages import Request
from batchmill.workloads.documents.chunking import split, tokens
from batchmill.workloads.documents.conversation import Conversation, Share
from batchmill.workloads.documents.readers import Document

_SMALLEST = 50  # tokens of a part
_INLINE = 200_000  # characters that are cut in the event loop; more would stop the other jobs for too long
_Value = TypeVar("_Value")


class Said(NamedTuple):
    """A model's answer to one request. `data` is the checked value where there is a schema; tokens as the provider
    counted them, also where the reply came from the cache."""

    text: str
    data: Any = None
    truncated: bool = False
    model: str = ""
    input: int = 0
    output: int = 0
    cached_input: int = 0
    cost: float | None = None  # US dollars at the list price


class TooLong(Exception):
    """Raised by `ask`: the model cannot read so much at once."""


class Answered(NamedTuple):
    """The answer to one question: the last word, the answers of the parts where they were not combined, and all that
    was said on the way."""

    said: Said
    parts: tuple[Said, ...]
    everything: tuple[Said, ...]
    chunks: int


Ask = Callable[[Request], Awaitable[Said]]


class Cutting(NamedTuple):
    """How a document is divided: tokens and images of a part, tokens in common, whether images go with text, and
    whether answers are combined."""

    size: int
    overlap: int
    images: int
    together: bool
    combine: bool


class Interview:
    """Asks about one document. Names of steps follow from the document alone, so that a resumed job finds them."""

    def __init__(
        self, ctx: Context, ask: Ask, conversation: Conversation, document: Document, cutting: Cutting
    ) -> None:
        self._ctx, self._ask, self._conversation, self._document = ctx, ask, conversation, document
        self._cutting = cutting

    async def answer(self, name: str, question: str | None, *, alone: bool) -> Answered:
        """The answer to one question; `name` begins the names of its steps. Raises TooLong when even small parts are.

        With `alone`, a job of one request needs no step: its result is saved right after it.
        """
        shares = await self._shares()
        if len(shares) == 1:
            parts = await self._about(name, shares[0], question, is_step=not alone)
        else:
            names = [f"{name} part {number} of {len(shares)}" for number in range(1, len(shares) + 1)]
            work = [self._about(*each, question) for each in zip(names, shares, strict=True)]
            parts = [said for each in await together(work) for said in each]
        if len(parts) == 1:
            return Answered(parts[0], (), tuple(parts), 1)
        if not self._cutting.combine:
            text = "\n\n".join(part.text for part in parts)
            whole = Said(text, truncated=any(part.truncated for part in parts), model=parts[0].model)
            return Answered(whole, tuple(parts), tuple(parts), len(parts))
        combined = await self._combined(name, question, parts)
        return Answered(combined[-1], (), (*parts, *combined), len(parts))

    async def _shares(self) -> list[Share]:
        """The document in parts of the size that the model should be able to read."""
        document, cutting = self._document, self._cutting
        texts = await self._split(document.text, cutting.size)
        pictures, most = document.pictures, cutting.images
        batches = [pictures[start : start + most] for start in range(0, len(pictures), most)]
        if len(texts) == 1 and len(batches) <= 1 and (cutting.together or not (document.text and pictures)):
            return [Share(texts[0], batches[0] if batches else ())]
        return [*(Share(text) for text in texts if text.strip()), *(Share("", batch) for batch in batches)]

    async def _split(self, text: str, size: int) -> list[str]:
        document = self._document
        arguments = (text, size, self._cutting.overlap, document.header, document.is_table)
        if len(text) <= _INLINE:
            return split(*arguments)
        parts: list[str] = await self._ctx.offload(split, *arguments)
        return parts

    async def _about(self, name: str, share: Share, question: str | None, *, is_step: bool = True) -> list[Said]:
        """What is said about a part; where the model finds it too long, about its halves, and so on."""
        request = self._conversation.about(share, question)
        try:
            return [await (self._step(name, request) if is_step else self._ask(request))]
        except TooLong:
            half = tokens(share.text) * 11 // 20  # sentences do not end in the very middle
            if half < _SMALLEST:
                raise
        halves = await self._split(share.text, half)
        first, *others = (Share(text) for text in halves)
        shares = [Share(first.text, share.pictures), *others]
        work = [self._about(f"{name}.{number}", each, question) for number, each in enumerate(shares, start=1)]
        return [said for each in await together(work) for said in each]

    async def _combined(self, name: str, question: str | None, parts: Sequence[Said]) -> list[Said]:
        """All that is said while answers become one; the last is the one. Too many for one request are combined in
        groups first."""
        everything: list[Said] = []
        size, level = self._cutting.size, 0
        while True:
            level += 1
            groups = _groups([_spoken(part) for part in parts], size)
            requests = [self._conversation.combining(group, question) for group in groups]
            try:
                parts = await together(
                    [self._step(f"{name} combined {level}.{n}", r) for n, r in enumerate(requests, 1)]
                )
            except TooLong:
                if size < _SMALLEST:
                    raise
                size = min(size, sum(tokens(_spoken(part)) for part in parts)) // 2
                continue
            everything += parts
            if len(groups) == 1:
                return everything

    async def _step(self, name: str, request: Request) -> Said:
        async def ask(digest: str) -> Said:
            return await self._ask(request)

        digest = blake2b(request.canonical(), digest_size=16).hexdigest()
        return Said(*await self._awaited(name, ask, digest))

    async def _awaited(self, name: str, fn: Callable[[str], Awaitable[Said]], digest: str) -> Sequence[Any]:
        saved: Sequence[Any] = await self._ctx.step(name, fn, digest)
        return saved


async def together(work: Sequence[Coroutine[Any, Any, _Value]]) -> list[_Value]:
    """The values of coroutines that run at once. The first that fails ends the others, and its error is raised."""
    import asyncio  # heavy, and nothing that plans jobs needs it

    running = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for each in running:
            each.cancel()


def _spoken(said: Said) -> str:
    return said.text if said.data is None else json.dumps(said.data, ensure_ascii=False)


def _groups(answers: Sequence[str], size: int) -> list[list[str]]:
    """Answers in groups that one request can take, of two at least: each level has fewer."""
    groups: list[list[str]] = []
    used = 0
    for answer in answers:
        cost = tokens(answer) + 5
        if not groups or (used + cost > size and len(groups[-1]) >= 2):
            groups.append([])
            used = 0
        groups[-1].append(answer)
        used += cost
    if len(groups) > 1 and len(groups[-1]) == 1:
        last = groups.pop()
        groups[-1] += last
    return groups
