"""Summaries made of the document's own sentences."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill import UsageError
from batchmill.llm.endpoints import open_transport, resolve
from batchmill.llm.extractive import answer, read_wish
from batchmill.llm.messages import Image, Message, Request
from batchmill.llm.ranking import best, sentences
from batchmill.llm.settings import load
from batchmill.llm.transport import Timeouts

LEAD = "The port of Aldermouth reported longer waiting times for container ships this spring."
ARTICLE = f"""Harbour news

{LEAD} Dr. Helen J. Moss, who runs the harbour, said that cranes were repaired at 3.5 times the usual cost. The queue of
container ships outside the harbour grew to thirty vessels in April. Pollution along the quay fell by a tenth!
Residents still complain about the noise at night. Does the council listen? It will vote in June.

```
not a sentence. of the text.
```

- A list has points, too.
- Its second point is **short**.
"""


def _ask(*parts: str, **fields: object) -> str:
    return answer(Request("extractive/lead", (Message("user", parts),), **fields)).text  # type: ignore[arg-type]


def test_a_table_is_told_by_its_first_lines() -> None:
    rows = [f"2025-{month:02},Vesterhamn,{month}" for month in range(1, 100)]
    table = "\n".join(["month,harbour,tickets", *rows])
    assert _ask("Summarise in 2 sentences", table) == "month,harbour,tickets\n2025-01,Vesterhamn,1"
    assert _ask("Summarise in 2 sentences", "x" * 1000) == "x" * 200 + " …"


def test_sentences_end_where_people_end_them() -> None:
    assert sentences(ARTICLE) == [
        "Harbour news",
        LEAD,
        "Dr. Helen J. Moss, who runs the harbour, said that cranes were repaired at 3.5 times the usual cost.",
        "The queue of container ships outside the harbour grew to thirty vessels in April.",
        "Pollution along the quay fell by a tenth!",
        "Residents still complain about the noise at night.",
        "Does the council listen?",
        "It will vote in June.",
        "A list has points, too.",
        "Its second point is short.",
    ]


@pytest.mark.parametrize("prompt", ["Summarise this document in {n} sentences", "{n} short sentences, please."])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_as_many_sentences_as_asked_for_in_their_order(prompt: str, count: int) -> None:
    given_ = sentences(_ask(prompt.format(n=count), ARTICLE))
    known = sentences(ARTICLE)
    assert len(given_) == count
    assert given_ == sorted(given_, key=known.index)
    assert LEAD in given_


@pytest.mark.parametrize(
    "parts",
    [
        (f"Summarise in one sentence.\n\n{ARTICLE}",),
        (f"{ARTICLE}\n\nSummarise the text above in one sentence.",),
        (f"Summarise in one sentence: {LEAD} {LEAD.replace('longer', 'shorter')}",),
        ("Summarise in a single sentence", ARTICLE, "And nothing else."),
    ],
)
def test_the_document_is_told_from_what_is_asked(parts: tuple[str, ...]) -> None:
    assert _ask(*parts) == LEAD


@pytest.mark.parametrize(
    ("instruction", "count", "listed", "words"),
    [
        ("Summarise this", 3, False, None),
        ("in two to three sentences", 3, False, None),
        ("Give 2-4 key bullet points", 4, True, None),
        ("a one-sentence summary", 1, False, None),
        ("in fewer than 20 words", 20, False, 20),
        ("five very short sentences", 5, False, None),
    ],
)
def test_the_wished_length_is_read(instruction: str, count: int, listed: bool, words: int | None) -> None:
    assert read_wish(instruction) == (count, listed, words)


def test_points_are_listed_and_words_are_counted() -> None:
    assert all(line.startswith("- ") for line in _ask("Three bullet points", ARTICLE).splitlines())
    assert len(_ask("Summarise in at most 30 words", ARTICLE).split()) <= 30


def test_a_repeated_sentence_is_not_said_twice() -> None:
    other = "Pollution along the quay fell by a tenth after the new shore power connections."
    assert best([LEAD, LEAD.replace("this spring", "in spring"), other], 2) == [LEAD, other]


def test_a_text_without_sentences_is_its_own_summary() -> None:
    assert _ask("Summarise in 2 sentences", "!!! ???\n***") == "!!! ???\n***"


def test_what_sentences_cannot_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="fits no schema"):
        _ask("Summarise", ARTICLE, schema={"type": "object"})
    with pytest.raises(ValueError, match="no images"):
        answer(Request("extractive/lead", (Message("user", ("Summarise", Image(b""))),)))
    with pytest.raises(UsageError, match="no model `extractive/best`"):
        resolve("extractive/best", load())


def test_it_is_reached_like_any_model() -> None:
    async def ask() -> bytes:
        route = resolve("extractive/lead", load())
        request = Request("extractive/lead", (Message("user", ("Summarise in one sentence", ARTICLE)),))
        transport = open_transport(route.provider)
        return (await transport.send(route.provider.encode(request, route.endpoints[0]), Timeouts())).body

    assert json.loads(asyncio.run(ask()))["text"] == LEAD


@given(st.text(max_size=400), st.integers(1, 9))
def test_any_text_gives_the_same_summary_twice_made_of_its_own_words(text: str, count: int) -> None:
    found = sentences(text)
    chosen = best(found, count)
    assert chosen == best(found, count)
    assert len(chosen) <= count
    assert all(sentence in found for sentence in chosen)
