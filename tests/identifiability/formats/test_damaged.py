"""Damaged files are read or refused with a message; they never end in any other error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill import ManifestError
from batchmill.workloads.identifiability.formats.importing import check
from batchmill.workloads.identifiability.formats.reading import document_of

SAMPLES = Path(__file__).parent / "samples"
PIECES = ["(", ")", "[", "]", "'", "0", "-1", "1e5", "^", "**", "\n", ";", "nan", "x", "=", "inf", "é", "\t", ""]
PIECES += ["<apply><divide/><ci>S</ci></apply>", "<apply><minus/></apply>", '<cn type="rational">1<sep/>0</cn>']
NEEDS = {".xml": "libsbml", ".ant": "antimony", ".tsv": "libsbml"}
damages = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["drop", "copy", "put"]), st.sampled_from(PIECES)), max_size=4
)


def damaged(text: str, changes: list[tuple[float, str, str]]) -> str:
    """The text with some of its words dropped, repeated elsewhere, or other ones put in."""
    words = re.findall(r"<[^>]*>|\w+|\s+|.", text)
    for where, how, piece in changes:
        index = min(int(where * len(words)), len(words) - 1)
        if how == "drop":
            del words[index]
        else:
            words.insert(index, piece if how == "put" else words[len(words) - 1 - index])
    return "".join(words)


@pytest.mark.parametrize(
    "name",
    [
        "C2M.py",
        "goodwin.m",
        "sirs_forced.jl",
        "lotka_volterra.ant",
        "sir.xml",
        "petab/observables.tsv",
        "petab/parameters.tsv",
    ],
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=damages)
def test_a_damaged_file_is_read_or_refused(name: str, changes: list[tuple[float, str, str]], tmp_path: Path) -> None:
    if needed := NEEDS.get(Path(name).suffix):
        pytest.importorskip(needed)
    source = SAMPLES / name
    for file in source.parent.iterdir() if name.startswith("petab") else ():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / source.name).write_text(damaged(source.read_text(), changes))
    path = tmp_path / ("sir.yaml" if name.startswith("petab") else source.name)
    try:
        check(document_of(str(path)))
        message = str(tmp_path)
    except ManifestError as error:
        message = error.message
    assert str(tmp_path) in message  # a refusal names the file
