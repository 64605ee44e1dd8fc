"""The messages for one part of a document: prompt, document, images and question, each where it belongs.

Pure: the same parameters, document and question give the same messages, and so the same key in the cache of replies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from batchmill.llm.messages import Image, Message, Part, Request
from batchmill.workloads.documents.params import DocumentParams
from batchmill.workloads.documents.prompts import FileFacts, names_in, render
from batchmill.workloads.documents.readers import Picture
from batchmill.workloads.documents.seeing import eyes_of

_COMBINE = """\
These are answers about consecutive parts of one document, each to this task:

{{ prompt }}

Combine them into one answer to the task for the whole document.

{{ answers }}"""


class Share(NamedTuple):
    """A part of a document, as much as one request takes."""

    text: str
    pictures: tuple[Picture, ...] = ()


class Conversation:
    """What is said about one document."""

    def __init__(self, params: DocumentParams, has_document: bool) -> None:
        self._params = params
        self._has_document = has_document
        self._values: dict[str, Any] = dict(params.model_extra or {})
        if params.file is not None:
            self._values["file"] = file_facts(params.file)
        self._schema = None if params.schema_ is None else filled(params.schema_, self._values)

    def about(self, share: Share, question: str | None) -> Request:
        """The request for a part. The question comes last: requests for other questions begin with the same."""
        params = self._params
        values = {**self._values, "text": share.text} if self._has_document else self._values
        if params.messages is not None:
            return self._request(self._turns(values, share), share)
        sources = [source for source in (params.prompt, question) if source is not None]
        parts: list[Part] = [render(params.prompt, values)] if params.prompt is not None else []
        if share.text and not any(names_in(source).places_document for source in sources):
            parts.append(share.text)
        parts += _images(share)
        if question is not None:
            parts.append(render(question, values))
        return self._request([*self._system(values), Message("user", tuple(parts))], share)

    def combining(self, answers: Sequence[str], question: str | None) -> Request:
        """The request that makes one answer of those for several parts."""
        task = self._task(question)
        numbered = "\n\n".join(f"Part {number}:\n{answer}" for number, answer in enumerate(answers, start=1))
        values = {**self._values, "text": "(the document)", "answers": numbered, "prompt": task, "question": question}
        source = self._params.reduce or _COMBINE
        return self._request([*self._system(values), Message("user", (render(source, values),))])

    def _turns(self, values: Mapping[str, Any], share: Share) -> list[Message]:
        turns = self._params.messages or []
        placed = any(names_in(turn.content).places_document for turn in turns)
        asked = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
        messages = []
        for number, turn in enumerate(turns):
            parts: list[Part] = [render(turn.content, values)]
            if number == asked:
                parts += [share.text] if share.text and not placed else []
                parts += _images(share)
            messages.append(Message(turn.role, tuple(parts)))
        return messages

    def _system(self, values: Mapping[str, Any]) -> list[Message]:
        system = self._params.system
        return [Message("system", (render(system, values),))] if system else []

    def _task(self, question: str | None) -> str:
        """What is asked, in words, for whoever has to combine answers."""
        params = self._params
        turns = [turn.content for turn in params.messages or () if turn.role == "user"]
        sources = [source for source in (params.prompt, *turns, question) if source]
        values = {**self._values, "text": "(the document)"}
        return "\n\n".join(render(source, values) for source in sources)

    def _request(self, messages: Sequence[Message], share: Share | None = None) -> Request:
        params = self._params
        model = params.model or ""
        return Request(
            eyes_of(model) if share is not None and share.pictures else model,
            tuple(messages),
            max_tokens=params.max_tokens or 1024,
            temperature=params.temperature,
            seed=params.seed,
            schema=self._schema,
            options=params.options,
        )


def file_facts(path: str) -> FileFacts:
    """`file` in a template."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    return FileFacts(name, stem, suffix, path, folder)


def filled(schema: Any, values: Mapping[str, Any]) -> Any:
    """A schema with its templates filled in: a text that is one `{{ name }}` becomes that value, whatever it is."""
    if isinstance(schema, Mapping):
        return {key: filled(value, values) for key, value in schema.items()}
    if isinstance(schema, list):
        return [filled(item, values) for item in schema]
    if not isinstance(schema, str) or "{{" not in schema:
        return schema
    name = schema.strip().removeprefix("{{").removesuffix("}}").strip()
    return values[name] if name in values else render(schema, values)


def _images(share: Share) -> list[Part]:
    return [Image(picture.data, picture.media_type) for picture in share.pictures]
