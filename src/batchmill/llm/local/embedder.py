"""The process that turns texts into vectors, on one thread: `python -m batchmill.llm.local.embedder MODEL PARENT`.

It reads lines, each a JSON list of texts, and writes the vectors of each line as raw little-endian 32-bit floats,
until its input ends. Each text is run alone: the weights' 8-bit arithmetic scales with whatever shares a batch.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from batchmill.llm.local.child import die_with
from batchmill.llm.local.wordpieces import tokens

if TYPE_CHECKING:
    import numpy

WINDOW = 256  # tokens of a text that are read; the model was trained with no more
DIMENSIONS = 384


class Embedder:
    """A loaded model."""

    def __init__(self, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def embed(self, text: str) -> numpy.ndarray:
        """The mean of the tokens' last hidden states, at length 1: as sentence-transformers pools this model."""
        import numpy

        ids = numpy.array([tokens(text, WINDOW)], dtype=numpy.int64)
        fed = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        mean = self._session.run(None, fed)[0][0].mean(axis=0, dtype=numpy.float64)
        vector: numpy.ndarray = (mean / numpy.linalg.norm(mean)).astype("<f4")
        return vector


def main(model: str, parent: str) -> None:
    """Answer until the input ends."""
    die_with(int(parent))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the vectors
    embedder = Embedder(model)
    for line in sys.stdin.buffer:
        answers.write(b"".join(embedder.embed(text).tobytes() for text in json.loads(line)))
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
