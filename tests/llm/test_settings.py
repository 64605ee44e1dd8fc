"""Where each setting comes from, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill import ManifestError, QuotaLimit, Rate
from batchmill.llm.configuration import line_of
from batchmill.llm.settings import LaneSettings, LocalSettings, Settings, as_environment, load

KEYS: list[tuple[str, Any, str, str, Any]] = [  # key, default, variable, a text for it, what that means
    ("max_file_size", 1_000_000, "BATCHMILL_MAX_FILE_SIZE", "2MB", 2_000_000),
    ("max_concurrent", 5, "BATCHMILL_MAX_CONCURRENT", "20", 20),
    ("timeout_per_file", 30.0, "BATCHMILL_TIMEOUT_PER_FILE", "2min", 120.0),
    ("connect_timeout", 10.0, "BATCHMILL_CONNECT_TIMEOUT", "500ms", 0.5),
    ("read_timeout", 120.0, "BATCHMILL_READ_TIMEOUT", "60", 60.0),
    ("retry_attempts", 3, "BATCHMILL_RETRY_ATTEMPTS", "0", 0),
    ("cache", "on", "BATCHMILL_CACHE", "off", "off"),
    ("default_pattern", "*", "BATCHMILL_DEFAULT_PATTERN", "*.txt", "*.txt"),
    ("results_directory", "results", "BATCHMILL_RESULTS_DIRECTORY", "out", "out"),
    ("model", "local/smollm2", "BATCHMILL_MODEL", "ollama/llama3.2", "ollama/llama3.2"),
    ("max_tokens", 1024, "BATCHMILL_MAX_TOKENS", "64", 64),
    ("temperature", None, "BATCHMILL_TEMPERATURE", "0.2", 0.2),
    ("seed", None, "BATCHMILL_SEED", "7", 7),
    ("endpoints", {}, "BATCHMILL_ENDPOINTS", '{"vllm": "http://h/v1"}', None),
    ("limits", {}, "BATCHMILL_LIMITS", '{"openai": {"requests": 60}}', None),
    ("prices", {}, "BATCHMILL_PRICES", '{"m/x": {"input": 1, "output": 2}}', {"m/x": {"input": 1.0, "output": 2.0}}),
    ("lane", "live", "BATCHMILL_LANE", "batch", "batch"),
    ("lanes", LaneSettings(), "BATCHMILL_LANES", '{"least": 20, "quiet": "1s"}', LaneSettings(least=20, quiet=1.0)),
    ("local", LocalSettings(), "BATCHMILL_LOCAL", '{"slots": 2}', LocalSettings(slots=2)),
]


def _load(tmp_path: Path, flags: Mapping[str, Any] | None = None, **environ: str) -> Settings:
    return load(tmp_path, flags, {"XDG_CONFIG_HOME": str(tmp_path / "user"), **environ})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("key", "default", "variable", "text", "value"), KEYS)
def test_each_key_has_a_default_and_a_variable(
    tmp_path: Path, key: str, default: Any, variable: str, text: str, value: Any
) -> None:
    assert getattr(_load(tmp_path), key) == default
    assert variable == f"BATCHMILL_{key.upper()}"
    found = getattr(_load(tmp_path, **{variable: text}), key)
    assert found == value if value is not None else found


def test_no_key_is_missing_above() -> None:
    assert {key for key, *_ in KEYS} == set(Settings.model_fields)


def test_flags_are_above_variables_above_the_folder_above_the_user(tmp_path: Path) -> None:
    _write(tmp_path / "user/batchmill/config.toml", 'seed = 1\nmax_tokens = 1\nmodel = "a/a"\nmax_concurrent = 1')
    assert _load(tmp_path).seed == 1
    _write(tmp_path / "batchmill.toml", 'max_tokens = 2\nmodel = "b/b"\nmax_concurrent = 2')
    environ = {"BATCHMILL_MODEL": "c/c", "BATCHMILL_MAX_CONCURRENT": "3"}
    settings = _load(tmp_path, {"max_concurrent": 4, "seed": None}, **environ)
    found = (settings.seed, settings.max_tokens, settings.model, settings.max_concurrent)
    assert found == (1, 2, "c/c", 4)


def test_without_xdg_the_users_file_is_in_the_home_folder(tmp_path: Path) -> None:
    _write(tmp_path / ".config/batchmill/config.toml", "seed = 5")
    assert load(tmp_path, environ={"HOME": str(tmp_path)}).seed == 5


def test_a_variable_names_another_file_than_the_folders(tmp_path: Path) -> None:
    _write(tmp_path / "batchmill.toml", "seed = 1")
    _write(tmp_path / "other.toml", "seed = 2")
    assert _load(tmp_path, BATCHMILL_CONFIG=str(tmp_path / "other.toml")).seed == 2
    with pytest.raises(ManifestError, match="no such file"):
        _load(tmp_path, BATCHMILL_CONFIG=str(tmp_path / "none.toml"))


def test_entries_of_tables_add_up_over_the_places(tmp_path: Path) -> None:
    _write(tmp_path / "user/batchmill/config.toml", '[endpoints]\na = "http://one"\nb = "http://two"')
    _write(
        tmp_path / "batchmill.toml",
        '[[endpoints.b]]\nurl = "http://three"\nweight = 2\n[[endpoints.b]]\nurl = "http://four"',
    )
    endpoints = _load(tmp_path).endpoints
    assert [a.url for a in endpoints["a"]] == ["http://one"]
    assert [(a.url, a.weight) for a in endpoints["b"]] == [("http://three", 2.0), ("http://four", 1.0)]


def test_limits_are_the_engines_quota_limits(tmp_path: Path) -> None:
    _write(
        tmp_path / "batchmill.toml",
        """
        [limits."openai/gpt-5-mini"]
        requests = "10/s"
        tokens = 200000
        concurrency = 8
        day_requests = 1000
        burst = 5
        """,
    )
    limit = _load(tmp_path).limits["openai/gpt-5-mini"].quota_limit
    assert limit == QuotaLimit(Rate(10, 1), Rate(200_000, 60), 8, 5.0, 1_000, None)


WRONG: list[tuple[str, int, str, str]] = [  # a file, the line that is wrong, what is said, a part of the hint
    ("seed = 1\nmax_tokns = 3", 2, "`max_tokns` is not a setting", "did you mean `max_tokens`?"),
    ("max_concurrent = 0", 1, "`max_concurrent`: ", ""),
    ('\n\ntimeout_per_file = "soon"', 3, "is not a duration", ""),
    ('model = "llama3.2"', 1, "write it as `provider/model`", ""),
    ('[limits.openai]\n\nrequests = "fast"', 3, "is not a rate", ""),
    ('[endpoints.vllm]\nurl = "http://h"\nkeys = "env:X"', 3, "`endpoints.vllm.keys` is not a setting", "`key`"),
    ('[endpoints.vllm]\nurl = "http://h"\nkey = "sk-very-secret-1234"', 3, "a secret is not written here", ""),
    ('[endpoints.x]\nfamily = "cohere"', 2, "`endpoints.x.family`", ""),
    ("seed = 1\nseed = 2", 2, "cannot overwrite a value", ""),
    ("model = ", 1, "invalid value", ""),
    ("a" * 10, 1, "", ""),
    ("x = " + "[" * 50_000, 1, "nested too deeply", ""),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, line: int, message: str, hint: str) -> None:
    path = tmp_path / "batchmill.toml"
    _write(path, text)
    with pytest.raises(ManifestError) as caught:
        _load(tmp_path)
    problem = caught.value.problems[0]
    assert (problem.source, problem.line) == (str(path), line)
    assert message in problem.message.lower()
    assert hint in problem.hint
    assert "sk-very" not in repr(caught.value) + repr(problem) + "".join(caught.value.__notes__ if problem.hint else [])


def test_a_wrong_variable_and_a_wrong_flag_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        _load(tmp_path, {"max_tokens": "many"}, BATCHMILL_SEED="odd")
    assert [problem.source for problem in caught.value.problems] == ["BATCHMILL_SEED", "--max-tokens"]
    with pytest.raises(ManifestError, match=r"`BATCHMILL_LIMITS` is not JSON"):
        _load(tmp_path, BATCHMILL_LIMITS="{nonsense")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 2_000_000])
def test_a_file_that_is_no_text_or_no_configuration_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "batchmill.toml").write_bytes(data)
    with pytest.raises(ManifestError):
        _load(tmp_path)


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "batchmill.toml").mkdir()
    with pytest.raises(ManifestError, match="is a directory"):
        _load(tmp_path)


def test_flags_can_be_handed_on_as_variables(tmp_path: Path) -> None:
    flags = {"model": "a/b", "seed": 3, "timeout_per_file": 1.5, "max_tokens": None, "limits": {"a": {"requests": 5}}}
    environ = as_environment(flags)
    assert "BATCHMILL_MAX_TOKENS" not in environ
    assert _load(tmp_path, **environ) == _load(tmp_path, flags)


def test_lines_are_found_below_quoted_and_dotted_keys() -> None:
    text = '# x\nlimits."a/b".requests = 1\n[limits]\n"c.d" = {requests = 2} # =\n[[endpoints.e]]\n\n  url = "="\n'
    assert line_of(text, ("limits", "a/b", "requests")) == 2
    assert line_of(text, ("limits", "c.d", "requests")) == 4
    assert line_of(text, ("endpoints", "e", "url")) == 7
    assert line_of(text, ("endpoints", "e", "key")) == 5
    assert line_of(text, ("nothing",)) == 0


@given(text=st.text(alphabet="ab.=[]\"'# \n\\", max_size=40))
def test_lines_of_any_text_are_searched_without_an_error(text: str) -> None:
    assert line_of(text, ("a", "b")) <= text.count("\n") + 1
