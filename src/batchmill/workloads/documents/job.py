"""The task `documents`: reads a document in a worker process, asks a model about it, and tells what came out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchmill import Context, JobFailed, Permanent, Skip, task
from batchmill.workloads.documents import readers
from batchmill.workloads.documents.answering import Answered, Cutting, Interview, Said, TooLong, together
from batchmill.workloads.documents.binding import VERSION, bind
from batchmill.workloads.documents.checking import prepare
from batchmill.workloads.documents.conversation import Conversation
from batchmill.workloads.documents.estimate import estimate
from batchmill.workloads.documents.params import DocumentParams
from batchmill.workloads.documents.prompts import PromptError
from batchmill.workloads.documents.readers import Document, Wish
from batchmill.workloads.documents.result import (
    METRICS,
    MICRO_CENTS_PER_USD,
    DocumentResult,
    QuestionResult,
    Usage,
    metrics,
)
from batchmill.workloads.documents.seeing import BASIC, eyes_of, limits_of, sees

if TYPE_CHECKING:
    from batchmill.llm.messages import Request

_RECORD = {"type": "object"}  # what is known of a picture comes as data and as a sentence
WHOLE = 10**9  # tokens: no document is longer
MEMORY = 1_000_000_000  # bytes that reading one document may take


def setup() -> None:
    """Load what every job needs once, before workers fork."""
    import jinja2.sandbox  # noqa: F401

    import batchmill.llm.client  # noqa: F401
    from batchmill.llm.service import preload

    preload("genai_prices.data", "genai_prices.data_snapshot")
    readers.suffixes()


@task(
    name="documents",
    version=VERSION,
    mode="async",
    memory=MEMORY,
    reuse="any",
    unreadable="skip",
    metrics=metrics,
    metric_columns=METRICS,
    bind=bind,
    estimate=estimate,
    prepare=prepare,
    prepare_early=True,
    setup=setup,
)
async def documents(params: DocumentParams, ctx: Context) -> DocumentResult:
    """Ask a language model about a document: a summary, data that fits a schema, answers to questions."""
    from batchmill.llm.client import LLM

    document = await read(params, ctx)
    llm = LLM(ctx)

    async def ask(request: Request) -> Said:
        return await _asked(llm, request)

    has_document = params.file is not None or params.text is not None
    interview = Interview(ctx, ask, Conversation(params, has_document), document, cutting_of(params))
    try:
        return await interviewed(interview, params, document)
    except PromptError as error:
        raise Permanent(str(error)) from None
    except TooLong as error:
        raise Permanent(f"{error}; even in small parts") from None


async def _asked(llm: Any, request: Request) -> Said:
    """One answer. Raises TooLong, and what the service raises."""
    from batchmill.llm.answers import ModelError

    describes = request.model == BASIC and request.schema is None
    try:
        answer = await llm.ask(
            request.model,
            request.messages,
            schema=_RECORD if describes else request.schema,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            options=request.options,
        )
    except ModelError as error:
        if error.failure == "too_long":
            raise TooLong(str(error)) from error
        raise
    used, cost = answer.usage, None if answer.worth is None else answer.worth / MICRO_CENTS_PER_USD
    text = answer.value["sentence"] if describes else answer.text
    return Said(text, answer.value, answer.finish == "length", answer.model, used.input, used.output, used.cached, cost)


# --- reading


async def read(params: DocumentParams, ctx: Context) -> Document:
    """The document of a job, with the images that come beside it. Raises Skip."""
    model = params.model or ""
    wish = Wish(sees(model, params.vision), limits_of(model))
    if params.file is not None:
        document = await _read_file(ctx, params.file, wish, params.max_file_size)
    elif params.text is not None:
        if not params.text.strip():
            raise Skip("its text is empty", kind="empty")
        document = Document(params.text, "text", size=len(params.text.encode("utf-8", "replace")))
    else:
        document = Document("", "none")
    if params.images:
        seeing = replace(wish, sees=True)
        more = await together([_read_file(ctx, path, seeing, params.max_file_size) for path in params.images])
        pictures = [picture for each in more for picture in each.pictures]
        document = replace(document, pictures=(*document.pictures, *pictures))
    if model == BASIC and not document.pictures:
        raise Skip(f"there is no image in it, and `{BASIC}` describes nothing else", kind="format")
    return document


async def _read_file(ctx: Any, path: str, wish: Wish, max_size: int | None) -> Document:
    import asyncio  # heavy, and nothing that plans jobs needs it

    whole = os.path.abspath(path)
    # in a thread: a file system that does not answer must not stop the other jobs
    if (small := await asyncio.to_thread(readers.read_small, whole, max_size or 0)) is not None:
        return small
    try:
        document: Document = await ctx.offload(readers.read, whole, wish, max_size or 0)
    except JobFailed as error:  # the process that read it was ended
        kind = "too_large" if error.message.startswith("memory") else "format"
        raise Skip(f"reading `{path}` ended its process: {error.message}", kind=kind) from None
    except Skip as skip:
        raise Skip(f"`{path}`: {skip}", kind=skip.kind) from None
    return document


# --- asking


def cutting_of(params: DocumentParams) -> Cutting:
    """How documents are divided for a model."""
    model = params.model or ""
    size = params.chunk_tokens or WHOLE
    return Cutting(size, params.chunk_overlap, limits_of(model).most, eyes_of(model) == model, params.reduce != "none")


async def interviewed(interview: Interview, params: DocumentParams, document: Document) -> DocumentResult:
    """Ask everything, and put it together."""
    if params.questions is None:
        answered = {"": await interview.answer("document", None, alone=True)}
    else:
        answered = await _all_answers(interview, questions_of(params))
    return _result(params, document, answered)


def questions_of(params: DocumentParams) -> dict[str, str]:
    """The questions by their names; a list's are their own names."""
    given = params.questions or {}
    return dict(given) if isinstance(given, Mapping) else {question: question for question in given}


async def _all_answers(interview: Interview, questions: Mapping[str, str]) -> dict[str, Answered]:
    """The first question goes ahead alone: what it has in common with the others is then in the provider's cache."""
    (first, text), *rest = questions.items()
    alone = not rest
    answered = {first: await interview.answer(f"question 1: {first}", text, alone=alone)}
    later = [
        interview.answer(f"question {number}: {name}", question, alone=False)
        for number, (name, question) in enumerate(rest, start=2)
    ]
    return answered | dict(zip((name for name, _ in rest), await together(later), strict=True))


def _result(params: DocumentParams, document: Document, answered: Mapping[str, Answered]) -> DocumentResult:
    said = [each for one in answered.values() for each in one.everything]
    first = next(iter(answered.values()))
    several = params.questions is not None
    return DocumentResult(
        file=params.file,
        text=_report(params, answered) if several else first.said.text,
        data={name: one.said.data for name, one in answered.items()} if several and params.schema_ else first.said.data,
        answers=_answers(params, answered) if several else None,
        parts=[part.text if part.data is None else part.data for part in first.parts] or None,
        truncated=any(one.said.truncated for one in answered.values()),
        model=first.said.model or params.model or "",
        reader=document.reader,
        bytes=document.size,
        pages=document.pages,
        images=len(document.pictures),
        chunks=max(one.chunks for one in answered.values()),
        usage=_usage(said),
        cost=_cost(said),
    )


def _usage(said: Sequence[Said]) -> Usage:
    return Usage(
        input=sum(each.input for each in said),
        output=sum(each.output for each in said),
        cached_input=sum(each.cached_input for each in said),
        requests=len(said),
    )


def _cost(said: Sequence[Said]) -> float | None:
    costs = [each.cost for each in said if each.cost is not None]
    return round(sum(costs), 10) if len(costs) == len(said) else None


def _answers(params: DocumentParams, answered: Mapping[str, Answered]) -> dict[str, QuestionResult]:
    questions = questions_of(params)
    return {
        name: QuestionResult(question=questions[name], text=one.said.text, data=one.said.data)
        for name, one in answered.items()
    }


def _report(params: DocumentParams, answered: Mapping[str, Answered]) -> str:
    """All answers as one text."""
    questions = questions_of(params)
    return "\n\n".join(f"{questions[name]}\n{one.said.text}" for name, one in answered.items())
