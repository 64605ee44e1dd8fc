"""Foreign formats run as they are, and what is wrong in them points into their own text."""

from __future__ import annotations

from batchmill.manifest import template
from batchmill.manifest.document import read
from tests.manifest.conftest import DATA, Problems, Read, place


def test_an_experiments_manifest_is_eleven_jobs_of_wildcards() -> None:
    found = read(DATA / "experiments.yaml")
    manifest = found.manifest
    assert (found.foreign, found.name, found.parts) == ("experiments", "experiments", (found,))
    assert (manifest.task, manifest.output) == ("wildcards", "output/leaf-study")
    assert manifest.defaults == {"dataset": "tencent", "analyze": True, "save_stats": True}
    assert manifest.matrix is not None
    leaf, threshold = manifest.matrix.axes["min_leaf_size"], manifest.matrix.axes["semantic_threshold"]
    assert isinstance(leaf, list)
    assert isinstance(threshold, list)
    assert len(manifest.jobs) + len(leaf) * len(threshold) == 11


def test_its_jobs_have_short_names() -> None:
    matrix = read(DATA / "experiments.yaml").manifest.matrix
    assert matrix is not None
    name = template.parse(matrix.name or "").render({"min_leaf_size": 50, "semantic_threshold": 0.1})
    assert name == "matrix_leaf50_thresh0.1"


def test_our_own_keys_may_stand_in_an_experiments_manifest(read_text: Read) -> None:
    text = "name: trees\nconfig: {dataset: coco}\nlimits: {workers: 2}\njobs: [{name: a}]\n"
    found = read_text(text, ["config.dataset=tencent", "defaults.x=1"])
    assert (found.name, found.manifest.limits.workers) == ("trees", 2)
    assert found.manifest.defaults == {"dataset": "tencent", "x": 1}


def test_an_axis_that_cannot_stand_in_a_template_leaves_the_default_names(read_text: Read) -> None:
    matrix = read_text("config: {}\nmatrix: {axes: {'a:b': [1]}}").manifest.matrix
    assert matrix is not None
    assert matrix.name is None


def test_problems_of_experiments_point_into_their_own_text(problems: Problems) -> None:
    found = problems(
        "config:\n  output_dir: 3\n  data_set: coco\njobs:\n  - {name: a, prams: {}}\n  - {name: a}\n"
        "matrix:\n  axes: {min_leaf_size: []}\n"
    )
    assert [(place(problem), problem.code) for problem in found] == [
        ((2, 15), "manifest/type"),
        ((3, 3), "manifest/unknown-key"),
        ((5, 15), "manifest/unknown-key"),
        ((6, 12), "manifest/duplicate-job"),
        ((8, 25), "manifest/empty-axis"),
    ]


def test_a_workflow_has_a_part_for_each_task() -> None:
    found = read(DATA / "workflow.yaml")
    notes, plates, motto = found.parts
    assert (found.foreign, found.name) == ("workflow", "field-notes")
    assert {part.manifest.task for part in found.parts} == {"documents"}
    assert notes.manifest.files is not None
    assert (notes.manifest.files.directory, notes.manifest.files.pattern) == ("notes", "*.md")
    assert notes.manifest.files.group == "summaries"
    assert notes.manifest.defaults["method"] == "llm/chat"
    assert notes.manifest.defaults["temperature"] == 0.2
    assert notes.manifest.defaults["messages"][0]["role"] == "system"
    assert plates.manifest.files is not None
    assert plates.manifest.files.paths == ["photos/plate-01.jpg", "photos/plate-02.jpg"]
    assert plates.manifest.defaults["model"] == "openai/gpt-4o"
    assert [(job.name, job.group) for job in motto.manifest.jobs] == [("motto", "motto")]


def test_a_problem_of_a_part_points_at_its_task() -> None:
    first, second, _ = read(DATA / "workflow.yaml").parts
    lines = (DATA / "workflow.yaml").read_text().splitlines()
    missing = first.problem(("files", "directory"), "plan/missing-folder", "there is no folder `notes`")
    absent = second.problem(("files", "paths", 1), "plan/missing-file", "there is no file")
    assert lines[missing.line - 1].strip() == "directory: notes"
    assert lines[absent.line - 1].strip() == "- photos/plate-02.jpg"


def test_problems_of_a_workflow_point_into_its_own_text(problems: Problems) -> None:
    found = problems(
        "name: w\nlimts: {}\ntasks:\n"
        "  - {name: a, protocol: llm/v2, method: llm/chat, params: {directory: 3}}\n"
        "  - {name: a, protocol: llm/v1, method: llm/vison, prams: {}}\n"
        "  - {name: b, method: llm/chat, params: {file_pattern: '*'}}\n"
        "  - 7\n"
    )
    assert [(place(problem), problem.code) for problem in found] == [
        ((2, 1), "manifest/unknown-key"),
        ((4, 25), "manifest/value"),
        ((4, 71), "manifest/type"),
        ((5, 12), "manifest/duplicate-job"),
        ((5, 41), "manifest/value"),
        ((5, 52), "manifest/unknown-key"),
        ((6, 5), "manifest/missing-key"),
        ((6, 33), "manifest/no-source"),
        ((7, 5), "manifest/type"),
    ]


def test_an_empty_workflow_has_no_jobs(problems: Problems) -> None:
    (found,) = problems("name: w\ntasks: []\n")
    assert (found.code, place(found)) == ("manifest/no-jobs", (2, 8))
