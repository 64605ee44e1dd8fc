"""`batchmill calls`: what metered requests cost, also those that a kill left without an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Call

MODULE = """
import os, signal
from batchmill import Context

def ask(x: int, ctx: Context) -> dict:
    if x == 1:
        ctx.cache_hit(quota="oracle", usage={"model": "oracle/small"})
    with ctx.call(quota="oracle", tokens=100, cost="0.02") as call:
        if x == 3 and not os.path.exists("again"):
            open("again", "w").close()
            os.kill(os.getppid(), signal.SIGSTOP)  # the zygote reports nothing more
            os.kill(int(os.environ["DRIVER"]), signal.SIGKILL)
            os.kill(os.getppid(), signal.SIGCONT)
            signal.pause()
        call.settle({"model": "oracle/small", "input": 10, "output": x}, tokens=10 + x, cost="0.01")
    return {"x": x}
"""
MANIFEST = """\
name: asking
task: python
defaults: {function: "asking:ask"}
matrix: {axes: {x: [1, 2, 3]}}
limits: {workers: 1, budget: 1 USD}
"""
DRIVE = "import os; os.environ['DRIVER'] = str(os.getpid()); from batchmill.cli.app import run; run(['run', 'a.yaml'])"


def killed(folder: Path) -> None:
    """Run the batch until its third job kills the driver while a request is under way."""
    (folder / "asking.py").write_text(MODULE)
    (folder / "a.yaml").write_text(MANIFEST)
    environment = {name: value for name, value in os.environ.items() if name != "BATCHMILL_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVE], cwd=folder, env=environment, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_request_that_a_kill_left_open_is_possibly_billed_until_it_is_settled(call: Call, tmp_path: Path) -> None:
    killed(tmp_path)
    assert call("show", "last", "--output", "json").json["spent"] == 0.04
    assert call("run", "a.yaml").code == 0
    listed = call("calls", "list", "last", "--output", "json").json["calls"]
    assert (listed["answered"], listed["cache_hits"], listed["possibly_billed_requests"]) == (3, 1, 1)
    assert (listed["cost"], listed["possibly_billed"]) == (0.03, 0.02)
    assert listed["models"]["oracle/small"]["tokens_in"] == 30
    assert "0.02 USD of it possibly billed: 1 request without an answer" in call("show", "last").out

    said = call("calls", "settle", "last")
    assert (said.code, said.out) == (0, "released 1 request of `asking-1`: 0.02 USD\n")
    assert call("calls", "settle", "last").out == "every request has its answer\n"
    assert call("show", "last", "--output", "json").json["spent"] == 0.03
    assert '"spent": 0.03' in (tmp_path / ".batchmill/runs/asking-1/summary.json").read_text()
    assert call("verify", "last").code == 0


def test_what_the_provider_did_bill_counts_as_spent(call: Call, tmp_path: Path) -> None:
    killed(tmp_path)
    assert call("calls", "settle", "last", "--billed").out == "counted 1 request as billed of `asking-1`: 0.02 USD\n"
    assert call("show", "last", "--output", "json").json["calls"]["cost"] == 0.04
    assert call("calls", "list", "last", "--billed").code == 2


def test_a_run_without_requests_says_so(call: Call, squares: Path) -> None:
    call("run", squares)
    assert call("calls", "list", "last").out == "`squares-1` made no metered request\n"
