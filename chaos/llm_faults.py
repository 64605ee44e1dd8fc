"""Asks a service that fails in every way it knows, and checks that each request ends as its faults say.

Promises that are checked:
- what passes is tried again, until there is an answer or the tries are used up; what lasts is tried once and named;
- every request that left has its row, with the failure that it met;
- results are those of a service without faults.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from batchmill.testing import FakeLLM
from batchmill.testing.fake_llm import Entry
from batchmill.testing.fake_llm.faults import LASTING, PASSING
from chaos.llm import PRICES, Trial, check, number_of

TRIES = 4  # requests for one question, as the settings have it by default
HARMLESS = frozenset({"", "drip", "wrong_usage"})
MIX = {
    "server": 0.03,
    "unavailable": 0.01,
    "rate_limited": 0.008,
    "rate_limited_date": 0.004,
    "reset": 0.02,
    "cut": 0.01,
    "truncated": 0.01,
    "html": 0.005,
    "empty": 0.01,
    "hang": 0.002,
    "drip": 0.004,
    "wrong_usage": 0.005,
    "refusal": 0.004,
    "invalid_request": 0.002,
    "too_long": 0.002,
    "no_images": 0.001,
    "auth": 0.0005,
    "no_money": 0.0005,
}  # 12.8 % of the requests
NAMES = {  # what the service calls a fault, and what a failed request is called
    "server": "server",
    "unavailable": "server",
    "rate_limited": "rate_limited",
    "rate_limited_date": "rate_limited",
    "reset": "reset",
    "cut": "reset",
    "truncated": "truncated",
    "html": "malformed",
    "empty": "empty",
    "hang": "timeout",
    "refusal": "refusal",
    "invalid_request": "invalid_request",
    "too_long": "too_long",
    "no_images": "unsupported",
    "auth": "auth",
    "no_money": "no_money",
}


def main(requests: int, seed: int) -> int:
    """One run; returns 0 if every promise held."""
    with tempfile.TemporaryDirectory(prefix="batchmill-chaos-") as folder:
        plain, faulty = Trial(Path(folder) / "plain", requests), Trial(Path(folder) / "faulty", requests)
        plain.play([])
        options = {"latency": "1ms-20ms", "faults": MIX, "seed": seed, "drip": 0.01}
        with FakeLLM(default_price=PRICES, log=20 * requests, keep_texts=True, **options) as fake:
            faulty.finish(fake, BATCHMILL_READ_TIMEOUT="2s")
            log = fake.log
        failed = _check_jobs(faulty, log)
        wanted = {n: text for n, text in enumerate(plain.results()) if n not in failed}
        found = {n: text for n, text in enumerate(faulty.results()) if n not in failed}
        check(wanted == found, "an answer is not the one of a service without faults")
    met = Counter(entry.fault for entry in log if entry.fault)
    print(
        f"chaos: seed {seed}: {requests} questions, {sum(met.values())} of {len(log)} replies faulty "
        f"({len(met)} kinds): {requests - len(failed)} answered, {len(failed)} failed, each as its faults say"
    )
    return 0


def _check_jobs(trial: Trial, log: list[Entry]) -> set[int]:
    """Compare each job with what the service did to it; returns the numbers of those that rightly failed."""
    seen: dict[int, list[str]] = defaultdict(list)
    for entry in log:
        seen[number_of(entry)].append(entry.fault)
    rows = trial.rows_by_job()
    failed = set()
    for number, outcome in enumerate(trial.run().results()):
        faults, said = seen[number], [row.failure for row in rows[number]]
        expected = [NAMES.get(fault) for fault in faults]
        check(sorted(map(str, said)) == sorted(map(str, expected)), f"job {number}: rows {said}, faults {faults}")
        check(not set(faults[:-1]) & set(LASTING), f"job {number}: tried again after {faults}")
        succeeds = faults[-1] in HARMLESS
        check(outcome.state == ("succeeded" if succeeds else "failed"), f"job {number}: {outcome.state} after {faults}")
        if not succeeds:
            failed.add(number)
            check(outcome.error is not None, f"job {number} does not say why it failed")
        if faults[-1] in PASSING and not succeeds:
            counted = [fault for fault in faults if not fault.startswith("rate_limited")]
            check(len(counted) >= TRIES, f"job {number}: given up after {faults}")
    return failed
