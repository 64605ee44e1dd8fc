from __future__ import annotations

import io
import sys
import types
from html.parser import HTMLParser

import pytest
from rich.console import Console

from batchmill.live import terminal
from batchmill.live.choice import choose
from batchmill.live.facts import Failed, Finished, GroupFacts, LiveFacts, RunInfoLite
from batchmill.live.lines import Lines, status
from batchmill.live.notebook import Notebook, html
from batchmill.live.quiet import Quiet
from batchmill.live.terminal import Terminal

from .conftest import Clock, busy

INFO = RunInfoLite("sweep-3", "identifiability", 4)
FAILURES = tuple(Failed(n, f"job-{n}", "timeout", "too slow") for n in range(1, 41))
GROUPS = {f"group-{n}": GroupFacts(n, 10, n % 2) for n in range(30)}
EVERYTHING = {
    "queued": ("next-1", "next-2"),
    "last": Finished("done-1", "succeeded", '{"words": 3}'),
    "jobs_per_hour": 1234.5,
    "eta": 185.0,
    "typical": 1.25,
    "memory": 1_200_000_000,
    "spent": 42_000_000,
    "waiting": ("memory",),
    "stopping": "deadline",
}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(facts: LiveFacts, *, info: RunInfoLite = INFO, width: int = 80, height: int = 30) -> list[str]:
    out = Screen()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    display = Terminal(out, console=console)
    display.begin(info)
    out.seek(0)
    out.truncate()
    console.print(display.render(facts))
    rows = out.getvalue().split("\n")[:-1]
    display.end()
    return rows


@pytest.mark.parametrize("workers", [0, 1, 8, 64, 4000])
@pytest.mark.parametrize("failures", [0, 1, 2, 3, 40])
def test_the_block_keeps_its_height_whatever_runs(workers: int, failures: int) -> None:
    info = INFO._replace(workers=16)
    facts = busy(workers, failures=FAILURES[:failures], groups=GROUPS)
    rows = drawn(facts, info=info)
    assert len(rows) == 7 + 8 + 4 + 3
    assert sum("failed: job-" in row for row in rows) == min(failures, 3)


def test_what_does_not_fit_is_counted() -> None:
    text = "\n".join(drawn(busy(64, groups=GROUPS), info=INFO._replace(workers=64)))
    assert "+ 57 more" in text
    assert "+ 27 more" in text


@pytest.mark.parametrize("height", [1, 2, 5, 8, 11, 24, 100])
@pytest.mark.parametrize("width", [10, 40, 200])
def test_the_block_fits_the_terminal(width: int, height: int) -> None:
    facts = busy(64, failures=FAILURES, groups=GROUPS, **EVERYTHING)
    rows = drawn(facts, info=INFO._replace(workers=64), width=width, height=height)
    assert len(rows) == min(22, max(height - 1, 1))
    assert all(len(row) <= width for row in rows)


def test_the_block_tells_every_fact() -> None:
    text = "\n".join(drawn(busy(2, failures=FAILURES[:1], groups={"simple": GroupFacts(3, 9, 1)}, **EVERYTHING)))
    for fact in (
        *(
            "sweep-3 · identifiability · 1 min 20 s",
            "443/1,000 (44.3%)",
            "440 succeeded (12 cached), 3 failed, 5 retried",
        ),
        *("1,230 jobs/h", "3 min 5 s left", "typically 1.2 s", "memory 1.2 GB", "spent 0.42 USD"),
        *("deadline; waiting: memory", "job-0 10.0 s, 3/10 fitting, 100 MB", "simple 3/9, 1 failed, 66.7% good"),
        *("last: done-1 succeeded", "next: next-1, next-2", "failed: job-1 (timeout): too slow"),
    ):
        assert fact in text


def test_names_and_results_cannot_control_the_terminal() -> None:
    evil = "\x1b]0;title\x07[red]x[/red]\x1b[2J\x9b31m\r\nsecond"
    facts = busy(0, last=Finished(evil, "succeeded", evil), failures=(Failed(1, evil, "error", evil),), queued=(evil,))
    rows = drawn(facts, width=200)
    assert any("last: [red]x[/red] second succeeded" in row for row in rows)
    assert not any(c in "".join(rows) for c in "\x1b\x07\x9b\r")


def test_a_terminal_without_utf_8_gets_ascii_bars() -> None:
    facts = busy(1)
    assert terminal.lines(INFO, facts, 10, ascii_only=True)[1][0].startswith("#" * 14 + "." * 18)


def test_the_terminal_is_redrawn_at_most_four_times_a_second(clock: Clock) -> None:
    out = Screen()
    console = Console(file=out, width=80, height=30, force_terminal=True)
    display = Terminal(out, clock, console)
    display.begin(INFO)
    drawn_blocks = 0
    for n in range(200):
        clock.now += 0.01
        before = out.tell()
        display.update(busy(n % 4))
        drawn_blocks += out.tell() > before
    assert 8 <= drawn_blocks <= 9
    display.end()
    display.end()
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in out.getvalue()[-200:]


# --- lines -------------------------------------------------------------------------------------------------------


def test_a_line_comes_every_ten_seconds_and_one_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    display = Lines(out, clock)
    display.begin(INFO)
    for _ in range(101):
        clock.now += 0.25
        display.update(busy(5, **EVERYTHING))
    display.end()
    display.end()
    first, *rest = out.getvalue().splitlines()
    assert first == "sweep-3 starts: task identifiability, 4 workers"
    assert len(rest) == 3
    for fact in (
        "443/1,000 (44.3%)",
        "440 succeeded",
        "job-0 10.0 s, 3/10 fitting",
        "+ 3 more",
        "last done-1",
        "next next-1",
    ):
        assert fact in rest[0]


def test_failures_are_told_as_they_happen_but_not_without_end(clock: Clock) -> None:
    out = io.StringIO()
    display = Lines(out, clock)
    display.begin(INFO)
    display.update(busy(0, failures=FAILURES[:2]))
    display.update(busy(0, failures=FAILURES[:2]))
    assert out.getvalue().count("failed: job-") == 2
    display.update(busy(0, failures=FAILURES))
    assert out.getvalue().count("failed: job-") == 5
    clock.now += 10
    display.update(busy(0, failures=FAILURES))
    assert "failed: and 35 more\n" in out.getvalue()
    more = (*FAILURES, Failed(41, "job-41", "error", "again"))
    display.update(busy(0, failures=more))
    assert out.getvalue().endswith("failed: job-41 (error): again\n")


def test_a_line_is_one_line_whatever_the_names() -> None:
    facts = busy(0, last=Finished("a\nb\x1b[0m", "succeeded", "x\ny"), groups={"g\n": GroupFacts(1, 2, 0)})
    assert "\n" not in status(facts)
    assert "\x1b" not in status(facts)


def test_a_stream_that_closes_does_not_end_the_run(clock: Clock) -> None:
    out = io.StringIO()
    display = Lines(out, clock)
    display.begin(INFO)
    out.close()
    display.update(busy(1, failures=FAILURES))
    display.end()
    assert out.closed


def test_a_stream_without_utf_8_is_written_to(clock: Clock) -> None:
    raw = io.BytesIO()
    display = Lines(io.TextIOWrapper(raw, "ascii"), clock)
    display.begin(INFO._replace(id="é"))
    assert raw.getvalue().startswith(b"? starts")


# --- notebook ----------------------------------------------------------------------------------------------------


class FakeHandle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, shown: str) -> None:
        self.shown.append(shown)


def test_a_notebook_cell_is_updated_in_place(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = FakeHandle()
    module = types.ModuleType("IPython.display")
    module.HTML = str  # type: ignore[attr-defined]
    module.display = lambda shown, display_id: handle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    display = Notebook(clock)
    display.begin(INFO)
    for _ in range(8):
        clock.now += 0.25
        display.update(busy(1))
    display.end()
    display.end()
    assert len(handle.shown) == 5
    assert "443/1,000" in handle.shown[-1]


def test_no_text_of_a_job_is_markup_in_a_notebook() -> None:
    evil = "<script>alert(1)</script>&amp;"
    facts = busy(0, last=Finished(evil, "succeeded", evil), failures=(Failed(1, evil, "error", evil),))
    tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Parser().feed(html(INFO._replace(id=evil), facts))
    assert tags == ["div", "progress", "pre"]


# --- choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "stream", "environ", "expected"),
    [
        ("human", Screen(), {}, Terminal),
        ("human", io.StringIO(), {}, Lines),
        ("human", Screen(), {"CI": "true"}, Lines),
        ("human", Screen(), {"CI": "false"}, Terminal),
        ("human", Screen(), {"NO_COLOR": "1"}, Lines),
        ("human", Screen(), {"NO_COLOR": ""}, Terminal),
        ("human", Screen(), {"TERM": "dumb"}, Lines),
        ("json", Screen(), {}, Lines),
        ("quiet", Screen(), {}, Quiet),
    ],
)
def test_the_display_fits_where_the_output_goes(
    output: str, stream: io.StringIO, environ: dict[str, str], expected: type
) -> None:
    assert type(choose(output, stream, environ)) is expected


def test_a_notebook_is_recognised_by_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        pass

    module = types.ModuleType("IPython")
    module.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert type(choose("human", io.StringIO(), {})) is Notebook
    assert type(choose("json", io.StringIO(), {})) is Lines


def test_a_quiet_display_takes_everything_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Quiet()
    display.begin(INFO)
    display.update(busy(1))
    display.end()
    assert capsys.readouterr() == ("", "")


def test_choosing_a_display_does_not_load_rich() -> None:
    import subprocess

    code = "import sys, batchmill.live.choice; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
