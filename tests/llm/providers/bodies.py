"""Replies as the services write them, shortened: what is captured once is what the tables of tests stand on."""

from __future__ import annotations

import json
from typing import Any


def body(value: Any) -> bytes:
    """The value as a service's JSON."""
    return json.dumps(value, indent=1).encode()


OPENAI = {
    "id": "chatcmpl-9x1",
    "object": "chat.completion",
    "created": 1718000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A short summary.", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 7,
        "total_tokens": 1207,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}
OPENAI_REFUSAL = {
    **OPENAI,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": "I cannot help with that."},
            "finish_reason": "stop",
        }
    ],
}
OPENAI_FILTERED = {
    "id": "x",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}],
}
LLAMACPP = {
    "choices": [{"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": "Once upon"}}],
    "created": 1718000000,
    "model": "smollm2",
    "object": "chat.completion",
    "usage": {"completion_tokens": 2, "prompt_tokens": 30, "total_tokens": 32},
    "id": "chatcmpl-abc",
    "timings": {"prompt_n": 30, "predicted_per_second": 55.0},
}
VLLM_REASONING = {
    "id": "cmpl-1",
    "model": "qwen3",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "reasoning_content": "hmm", "content": "Yes.", "tool_calls": []},
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "prompt_tokens_details": None},
}
MISTRAL_PARTS = {
    "id": "m1",
    "model": "magistral-small",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "let me see"}]},
                    {"type": "text", "text": "Four."},
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}
DEEPSEEK = {
    "id": "d1",
    "model": "deepseek-chat",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 1,
        "total_tokens": 101,
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36,
    },
}
ANTHROPIC = {
    "id": "msg_01A",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Let me think.", "signature": "abc"},
        {"type": "text", "text": "A short "},
        {"type": "text", "text": "summary."},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 1000,
        "output_tokens": 12,
        "service_tier": "standard",
    },
}
ANTHROPIC_REFUSAL = {
    **ANTHROPIC,
    "content": [],
    "stop_reason": "refusal",
    "usage": {"input_tokens": 20, "output_tokens": 1},
}
GEMINI = {
    "candidates": [
        {
            "content": {
                "parts": [{"text": "I should count.", "thought": True}, {"text": "A short "}, {"text": "summary."}],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 900,
        "candidatesTokenCount": 8,
        "totalTokenCount": 948,
        "cachedContentTokenCount": 512,
        "thoughtsTokenCount": 40,
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r-1",
}
GEMINI_BLOCKED = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
    "modelVersion": "gemini-2.5-flash",
}
GEMINI_SAFETY = {"candidates": [{"finishReason": "SAFETY", "index": 0}], "modelVersion": "gemini-2.5-flash"}
GEMINI_CUT = {
    "candidates": [{"content": {"parts": [{"text": "A sho"}], "role": "model"}, "finishReason": "MAX_TOKENS"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7},
}
OLLAMA = {
    "model": "llama3.2",
    "created_at": "2025-06-01T10:00:00Z",
    "message": {"role": "assistant", "content": "A short summary.", "thinking": "so"},
    "done_reason": "stop",
    "done": True,
    "total_duration": 5191566416,
    "prompt_eval_count": 26,
    "eval_count": 298,
}
OLLAMA_CACHED_PROMPT = {
    "model": "llama3.2",
    "message": {"role": "assistant", "content": "Yes"},
    "done_reason": "length",
    "done": True,
    "eval_count": 1,
}
