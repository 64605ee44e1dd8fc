"""A text's vector is its own: no order, number, process or earlier run changes a byte of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill import UsageError
from batchmill.llm import embed, embeddings
from batchmill.llm.local import weights

numpy = pytest.importorskip("numpy")
pytest.importorskip("onnxruntime")

TEXTS = [
    "dog",
    "puppy",
    "lamp",
    "",
    "Ships wait " * 12,
    "the queue grew",
    "Ünïcödé 你好",
    *(f"item {n}" for n in range(20)),
]


@pytest.fixture(autouse=True)
def _user(state: Path) -> None:
    if weights.locate(weights.MINILM) is None:
        pytest.skip("the weights are not on this machine: `batchmill models pull minilm` fetches them")


def _elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Another user, who has no vectors yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))


def test_vectors_have_length_one_and_near_words_are_near() -> None:
    vectors = embed(["dog", "puppy", "lamp"])
    assert (vectors.shape, vectors.dtype) == ((3, 384), numpy.float32)
    assert numpy.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert vectors[0] @ vectors[1] > 0.7 > 0.4 > vectors[0] @ vectors[2]


def test_neither_order_nor_company_nor_processes_change_a_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = dict(zip(TEXTS, (row.tobytes() for row in embed(TEXTS, processes=2)), strict=True))
    _elsewhere(monkeypatch, tmp_path / "second")
    backwards = embed(TEXTS[::-1], processes=1)
    assert [row.tobytes() for row in backwards] == [whole[text] for text in reversed(TEXTS)]
    _elsewhere(monkeypatch, tmp_path / "third")
    assert [embed([text])[0].tobytes() for text in TEXTS[:3]] == [whole[text] for text in TEXTS[:3]]


def test_equal_texts_are_embedded_once_and_no_text_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(["ship", "boat", "ship"])
    assert first[0].tobytes() == first[2].tobytes()
    monkeypatch.setattr(embeddings, "_start", None)  # nothing may be started any more
    assert embed(["boat", "ship"])[::-1].tobytes() == first[:2].tobytes()


def test_no_texts_have_no_vectors() -> None:
    assert embed([]).shape == (0, 384)


def test_processes_that_embed_the_same_at_once_agree() -> None:
    code = (
        "import sys; from batchmill.llm import embed; sys.stdout.buffer.write(embed(['one', 'two', 'three']).tobytes())"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    assert both[0].communicate()[0] == both[1].communicate()[0] == embed(["one", "two", "three"]).tobytes()


def test_a_process_that_is_killed_is_told_and_what_was_made_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    start = embeddings._start

    def start_dead(*args: object) -> subprocess.Popen[bytes]:
        child = start(*args)  # type: ignore[arg-type]
        os.kill(child.pid, signal.SIGKILL)
        return child

    kept = embed(["kept"])
    monkeypatch.setattr(embeddings, "_start", start_dead)
    with pytest.raises(UsageError, match="a process that embeds texts came to its end"):
        embed(["kept", "lost"])
    assert embed(["kept"]).tobytes() == kept.tobytes()


def test_what_a_failing_process_said_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    monkeypatch.setattr(embeddings, "_model_file", lambda model: broken)
    with pytest.raises(UsageError, match=r"came to its end: .*broken\.onnx"):
        embed(["text"])


def test_a_damaged_file_of_vectors_is_set_aside(state: Path) -> None:
    before = embed(["ship"])
    (state / "embeddings.db").write_bytes(b"not a database" * 1000)
    for leftover in state.glob("embeddings.db-*"):
        leftover.unlink()
    assert embed(["ship"]).tobytes() == before.tobytes()
    assert (state / "embeddings.damaged").exists()


def test_a_vector_that_was_cut_short_is_made_again(state: Path) -> None:
    import sqlite3
    from contextlib import closing

    before = embed(["ship"])
    with closing(sqlite3.connect(state / "embeddings.db")) as db, db:
        db.execute("UPDATE vectors SET vector = substr(vector, 1, 100)")
    assert embed(["ship"]).tobytes() == before.tobytes()


def test_a_place_that_cannot_be_written_is_named(state: Path) -> None:
    (state / "embeddings.db").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"embeddings\.db` cannot be used"):
        embed(["ship"])


@pytest.mark.parametrize("model", ["local/smollm2", "minilm", "openai/text-embedding-3-small", "local/nothing"])
def test_another_model_is_refused(model: str) -> None:
    with pytest.raises(UsageError):
        embed(["ship"], model=model)
