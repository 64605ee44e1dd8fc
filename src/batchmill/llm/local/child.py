"""The process of an embedded chat server: loads the model, tells where it listens, serves until it is killed.

Run as `python -m batchmill.llm.local.child OPTIONS` by `server`, which says what the options are. The server itself is
llama.cpp's own, in native threads; a crash of it ends this process and nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY = 1.0  # seconds
_ADOPTED_WITHIN, _SOON = 5.0, 0.002
_LOOPBACK = "127.0.0.1"
_PROMPT_CACHE_MIB = 0  # beyond what the slots hold; its default is 8 GB


def main(options: dict[str, Any]) -> None:
    """Serve, and write one JSON line into the file whose lock this process holds once requests can come."""
    die_with(options["parent"])
    # idle OpenMP threads would spin by default: up to 7 times slower where other processes use the cores
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    key = secrets.token_hex(16)
    server = _serve(options, key)
    ready = {"url": server.listening_address, "key": key, "pid": os.getpid()}
    os.pwrite(options["lock"], json.dumps(ready).encode() + b"\n", 0)
    while os.getppid() == options["parent"]:
        time.sleep(_LOOK_EVERY)  # only where the kernel does not end us with our parent


def _serve(options: dict[str, Any], key: str) -> Any:
    """A running server; returns when the model is loaded."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["weights"]
    params.mmproj.path = options["projector"]
    params.model_alias = {options["name"]}
    params.n_parallel = options["slots"]
    params.n_ctx = options["slots"] * options["context"]  # it is divided over the slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options["threads"]
    params.hostnames, params.port, params.api_keys = [_LOOPBACK], 0, [key]
    params.ui = params.endpoint_slots = params.endpoint_props = False
    params.verbosity = 0
    # what a request leaves open: the likeliest words, and nothing kept of earlier prompts, since the same question
    # is to have the same answer whatever was asked before
    params.sampling.temp, params.sampling.seed = 0.0, 0
    params.cache_prompt, params.cache_ram_mib = False, _PROMPT_CACHE_MIB
    return xllamacpp.Server(params)


def die_with(parent: int) -> None:
    """Have the kernel kill this process with its parent; leave at once if that is gone already.

    Whoever is to be the parent may have to adopt it first.
    """
    until = time.monotonic() + _ADOPTED_WITHIN
    while os.getppid() != parent and time.monotonic() < until:
        time.sleep(_SOON)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
