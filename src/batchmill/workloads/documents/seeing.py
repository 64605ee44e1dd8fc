"""Which models see, and what images their providers take."""

from __future__ import annotations

from batchmill.workloads.documents.readers import PictureLimits

BASIC = "describe/basic"
_BLIND = {"local", "extractive"}  # providers whose models read text only, unless a job says otherwise
_COMMON = ("image/png", "image/jpeg")
_LIMITS = {  # a margin below what the providers document, since base64 makes bytes a third more
    "anthropic": PictureLimits(3_700_000, 1568, 20, (*_COMMON, "image/gif", "image/webp")),
    "openai": PictureLimits(10_000_000, 2048, 50, (*_COMMON, "image/gif", "image/webp")),
    "gemini": PictureLimits(1_400_000, 2048, 10, (*_COMMON, "image/webp")),  # 20 MB are for the whole request
    "groq": PictureLimits(2_900_000, 2048, 5),
    "ollama": PictureLimits(4_000_000, 1568, 8),
    "describe": PictureLimits(  # as they are, since their true size and format are told
        100_000_000, 100_000, 1, (*_COMMON, "image/gif", "image/webp", "image/bmp", "image/tiff")
    ),
}


def sees(model: str, vision: bool | None) -> bool:
    """Whether images may be sent to a model; `vision` is what the job says of it."""
    return model.partition("/")[0] not in _BLIND if vision is None else vision


def eyes_of(model: str) -> str:
    """The model that looks at images for a model: itself, or what can be said of a picture without any."""
    return BASIC if model.partition("/")[0] in _BLIND else model


def limits_of(model: str) -> PictureLimits:
    """What the provider takes of the model that looks at images for a model."""
    return _LIMITS.get(eyes_of(model).partition("/")[0], PictureLimits())
