"""A projector file that makes the embedded model see six colours: not trained, its weights are set by hand.

llama.cpp runs it as the vision tower of a Gemma 3 model: one transformer block of SigLIP, whose feed-forward layer
tells the nearest of six colours, and a projection that says its name in the words of the language model. What it
answers is poor, but a picture takes the whole way of a picture through the server.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import gguf
import numpy as np

_SIDE, _PATCH = 64, 8  # pixels
_WIDTH, _HIDDEN = 32, 64  # of the tower; were they equal, llama.cpp would take the hidden layers for each other
_MERGED = 4  # patches a side that become one token: 4 tokens for a picture
_SHARPNESS, _THRESHOLD = 8.0, -13.6
_LOUDNESS = 0.5  # of a colour's name for the language model, by trial
_TABLE_AT, _ROW, _BLOCK = 1_785_664, 612, 34  # bytes: the token embeddings in the weights, whose digest is pinned
_ANCHORS = {  # each colour's place among red, green and blue from -1 to 1, and the token of its name
    "red": ((1, -1, -1), 2382),
    "green": ((-1, 1, -1), 2654),
    "blue": ((-1, -1, 1), 4461),
    "yellow": ((1, 1, -1), 5724),
    "white": ((1, 1, 1), 2537),
    "black": ((-1, -1, -1), 2632),
}
_COUNT = len(_ANCHORS)


def write(path: Path, model: Path) -> Path:
    """Write the projector for a language model's file; 140 KB."""
    words = _word_embeddings(model)
    writer = gguf.GGUFWriter(path, "clip")
    _describe(writer, words.shape[1])
    for name, tensor in (_tower() | _projection(words)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _word_embeddings(model: Path) -> np.ndarray:
    """What the colours' names are to the language model: one row each, of 8-bit blocks with a 16-bit scale."""
    table = np.memmap(model, np.uint8, "r", offset=_TABLE_AT).reshape(-1)
    rows = np.stack([table[token * _ROW : (token + 1) * _ROW] for _, token in _ANCHORS.values()])
    blocks = rows.reshape(_COUNT, -1, _BLOCK)
    scales = blocks[:, :, :2].copy().view(np.float16).astype(np.float32)
    return (scales * blocks[:, :, 2:].view(np.int8)).reshape(_COUNT, -1)


def _describe(writer: gguf.GGUFWriter, width: int) -> None:
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "gemma3")
    writer.add_bool("clip.use_gelu", True)
    numbers = {
        "image_size": _SIDE,
        "patch_size": _PATCH,
        "embedding_length": _WIDTH,
        "feed_forward_length": _HIDDEN,
        "block_count": 1,
        "projection_dim": width,
        "attention.head_count": 4,
        "projector.scale_factor": _MERGED,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)


def _tower() -> dict[str, np.ndarray]:
    """Channels k and 6 + k: how much of colour k a patch has, and its negative, so that their mean is zero as layer
    normalisation makes it. Channels 12 + k and 18 + k: whether it has most of colour k, told by the block."""
    see = np.zeros((_WIDTH, 3, _PATCH, _PATCH), np.float32)
    for (k, (anchor, _)), channel in product(enumerate(_ANCHORS.values()), range(3)):
        see[k, channel] = anchor[channel] / _PATCH**2 / 3
        see[_COUNT + k, channel] = -see[k, channel]
    up, down = np.zeros((_HIDDEN, _WIDTH), np.float32), np.zeros((_WIDTH, _HIDDEN), np.float32)
    for k in range(_COUNT):
        up[k, k], down[2 * _COUNT + k, k], down[3 * _COUNT + k, k] = _SHARPNESS, 1, -1
    bias = np.zeros(_HIDDEN, np.float32)
    bias[:_COUNT] = _THRESHOLD
    one, none = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)
    parts = {"v.patch_embd.weight": see, "v.patch_embd.bias": none}
    parts["v.position_embd.weight"] = np.zeros(((_SIDE // _PATCH) ** 2, _WIDTH), np.float32)
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        parts[f"v.blk.0.{part}.weight"] = np.zeros((_WIDTH, _WIDTH), np.float32)
        parts[f"v.blk.0.{part}.bias"] = none
    parts |= {"v.blk.0.ffn_up.weight": up, "v.blk.0.ffn_up.bias": bias}
    parts |= {"v.blk.0.ffn_down.weight": down, "v.blk.0.ffn_down.bias": none}
    for norm in ("v.blk.0.ln1", "v.blk.0.ln2", "v.post_ln"):
        parts |= {f"{norm}.weight": one, f"{norm}.bias": none}
    return parts


def _projection(words: np.ndarray) -> dict[str, np.ndarray]:
    say = np.zeros((_WIDTH, words.shape[1]), np.float32)
    say[2 * _COUNT : 3 * _COUNT] = _LOUDNESS * words
    return {"mm.soft_emb_norm.weight": np.ones(_WIDTH, np.float32), "mm.input_projection.weight": say}
