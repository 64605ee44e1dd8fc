"""What a document will come to before it is read: tokens by the size of its file, and money by the model's price."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from batchmill import Estimate
from batchmill.workloads.documents.params import DocumentParams

if TYPE_CHECKING:
    from batchmill.llm.prices import Price

MICRO_CENTS_PER_USD = 100_000_000
_TEMPLATE = 64  # tokens around a request
_SHORTEST_ANSWER = 10


class Density(NamedTuple):
    """Tokens of a file: (least, most) for each byte, and for the file."""

    least: float = 0.18
    most: float = 0.4
    fixed_least: int = 0
    fixed_most: int = 0


_TEXT = Density()
_IMAGE = Density(0.0, 0.0, 60, 5_000)
_DENSITIES = {
    ".html": Density(0.02, 0.35),
    ".htm": Density(0.02, 0.35),
    ".pdf": Density(0.001, 0.25),  # from scans to plain text, compressed
    ".docx": Density(0.01, 1.0),
    ".xlsx": Density(0.05, 1.5),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), _IMAGE),
}


def estimate(params: DocumentParams) -> Estimate:
    """Tokens and cost of one job. Raises OSError for a file that is not there."""
    least, most = _document(params)
    asked = _prompt(params)
    questions = len(params.questions or ()) or 1
    parts = max(1.0, most / params.chunk_tokens) if params.chunk_tokens else 1.0
    longest = params.max_tokens or 0
    requests = questions * (parts + (1 if parts > 1 else 0))
    low_in, low_out = questions * (least + asked / 2), questions * min(_SHORTEST_ANSWER, longest)
    high_in = questions * (most + (longest * parts if parts > 1 else 0)) + requests * (asked + _TEMPLATE)
    high_out = requests * longest
    price = _price(params.model or "", str(Path.cwd()))
    cost = None if price is None else _cost(price, low_in, low_out, high_in, high_out)
    return Estimate((low_in + low_out, high_in + high_out), cost)


def _document(params: DocumentParams) -> tuple[float, float]:
    """Tokens of the document, at least and at most."""
    least = most = 0.0
    for path in [*([params.file] if params.file else []), *params.images]:
        size, density = os.stat(path).st_size, _DENSITIES.get(Path(path).suffix.lower(), _TEXT)
        least += size * density.least + density.fixed_least
        most += size * density.most + density.fixed_most
    text = len((params.text or "").encode("utf-8", "replace"))
    return least + text * _TEXT.least, most + text * _TEXT.most


def _prompt(params: DocumentParams) -> float:
    said = params.model_dump(include={"prompt", "system", "schema_", "messages"}, mode="json")
    texts = [*said.values(), *(params.questions or ())]
    return sum(len(text if isinstance(text, str) else json.dumps(text)) for text in texts if text) * _TEXT.most


@lru_cache(maxsize=64)
def _price(model: str, folder: str) -> Price | None:
    from batchmill.llm.prices import PriceList
    from batchmill.llm.settings import load

    return PriceList(load(Path(folder)).prices).price_of(model)


def _cost(price: Price, low_in: float, low_out: float, high_in: float, high_out: float) -> tuple[float, float]:
    least, most = price.most(round(low_in), round(low_out)), price.most(round(high_in), round(high_out))
    return least / MICRO_CENTS_PER_USD, most / MICRO_CENTS_PER_USD
