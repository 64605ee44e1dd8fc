"""The report of option sweeps."""

from __future__ import annotations

from types import SimpleNamespace

from batchmill.workloads.identifiability import task
from batchmill.workloads.identifiability.studies.comparison import report

CTX = SimpleNamespace(seed=3)


def record(**params):
    result = task.fn(task.params(**params), CTX).model_dump()
    return SimpleNamespace(name="-".join(map(str, params.values())), params=params, state="succeeded", result=result)


def failed(**params):
    return SimpleNamespace(name="broken", params=params, state="failed", result=None)


def test_a_sweep_over_inputs_tells_what_changed_and_why():
    records = [record(model=model, nonzero_input_derivatives=k) for model in ("Bolie", "pk1") for k in ("generic", 0)]
    text = report(records)
    assert "| `Bolie` | 6 of 7 (p2, p4, q2) | 5 of 7 (" in text
    assert (
        "- `Bolie`: input derivatives generic → 0: rank 6 → 5, the outputs fix 1 fewer combination of them"
        " (null space 1 → 2); no longer identifiable `Vp`, `p1`, `p3`; no longer observable `q1`" in text
    )


def test_known_initial_values_are_fewer_unknowns():
    records = [record(model="Bolie"), record(model="Bolie", known_initial_conditions=["q2"])]
    assert (
        "known x(0) as in the model → q2: rank 6 → 6, 1 fewer unknown (null space 1 → 0);"
        " now identifiable `p2`, `p4`; now observable `q2`" in report(records)
    )


def test_what_is_known_or_left_out_is_not_told_as_gained():
    records = [record(model="Bolie"), record(model="Bolie", known_parameters=["p2"])]
    assert "now identifiable `p4`; now observable `q2`" in report(records)
    records = [record(model="goodwin"), record(model="goodwin", parameters_only=True)]
    assert "No option changed a verdict." in report(records)


def test_models_are_sorted_by_the_dimension_of_their_null_space():
    text = report([record(model="Bolie"), record(model="C2M"), record(model="goodwin")])
    assert "| 0 | everything is locally identifiable and observable | 1 | `C2M` |" in text
    assert "What changed" not in text


def test_repetitions_count_once_and_equal_verdicts_are_no_change():
    text = report(
        [record(model="C2M", repeat=n) for n in range(2)] + [record(model="C2M", known_initial_conditions=[])]
    )
    assert "| `C2M` | 6 of 6, all | 6 of 6, all |" in text
    assert "No option changed a verdict." in text


def test_models_without_a_verdict_are_named():
    text = report([record(model="C2M"), failed(model="bad|.yaml")])
    assert "| `bad\\|.yaml` | `broken` | failed |" in text


def test_an_options_file_is_called_by_its_stem_and_default_by_nothing():
    base = record(model="C2M")

    def under(file):
        return SimpleNamespace(**{**vars(base), "params": {"model": "C2M", "options_file": file}})

    assert "| model | default | ramps |" in report([under("default"), under("options/ramps.yaml")])
    # two files of one stem stay apart
    assert "| model | a/ramps.yaml | b/ramps.py | flat |" in report(
        [under("a/ramps.yaml"), under("b/ramps.py"), under("a/flat.yaml")]
    )


def test_a_run_without_results_says_so():
    assert report([]) == "No job ended with a verdict."
