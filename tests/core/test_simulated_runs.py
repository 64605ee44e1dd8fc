"""Thousands of small runs with everything that can go wrong, drawn from seeds, judged by the oracle."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from batchmill.core.policy import Place, Policy, Traits
from batchmill.model.jobs import FileIdentity, Row, Source
from batchmill.model.limits import Backoff, Failures, Limits, QuotaLimit, Rate, Retry
from batchmill.model.states import Mode
from batchmill.testing import FaultPlan, Simulation
from tests.core.oracle import judge

SEEDS_PER_TEST = 100
MB = 1_000_000


def some(chance: Random, share: float, value: object) -> object:
    return value if chance.random() < share else None


def places(chance: Random) -> tuple[Place, ...]:
    kind = chance.random()
    if kind < 0.1:
        return (Place(0, Mode.INLINE),)
    slots = [Place(n, Mode.PROCESS) for n in range(chance.randint(1, 4))]
    if kind < 0.5:
        slots.append(Place(len(slots), Mode.ASYNC, chance.randint(1, 8)))
    return tuple(slots)


def jobs(chance: Random, modes: list[Mode], keys: dict[int, str | None]) -> list[Row]:
    count = chance.choice((0, 1, 5, 20, 60))
    twins = chance.random() < 0.3
    inputs = chance.random() < 0.2
    found = []
    for n in range(1, count + 1):
        task = chance.choice(("a", "b"))
        key = f"{task}{chance.randint(1, 10)}" if twins else f"{task}{n}"
        row = Row(n, f"j{n}", task, chance.choice(modes), "1", "{}", key)
        row = row._replace(
            group=chance.choice((None, "x", "y")),
            lane=chance.choice((0, 0, 1)),
            priority=chance.choice((-1, 0, 0, 0, 5)),
            memory=some(chance, 0.1, 80 * MB),
        )
        if inputs and chance.random() < 0.5:
            keys[n] = some(chance, 0.9, key)
            row = row._replace(key=None, inputs=(FileIdentity("/a", 1, 1, n),))
        found.append(row)
    return found


def limits(chance: Random) -> Limits:
    return Limits(
        group_concurrency=(("x", chance.randint(1, 3)),) if chance.random() < 0.3 else (),
        timeout=chance.uniform(0.5, 5.0),
        memory=some(chance, 0.3, 100 * MB),
        total_memory=some(chance, 0.2, chance.choice((50 * MB, 250 * MB))),
        budget=some(chance, 0.3, chance.choice((0, 3_000, 20_000))),
        budget_per_day=some(chance, 0.2, chance.choice((0, 3_000, 20_000))),
        budgets=(("service", 10_000),) if chance.random() < 0.2 else (),
        max_failures=some(
            chance, 0.3, Failures(number=chance.randint(0, 5)) if chance.random() < 0.5 else Failures(fraction=0.2)
        ),
        deadline=some(chance, 0.2, chance.uniform(0.5, 30.0)),
        rate=some(chance, 0.2, Rate(chance.randint(1, 5), 1.0)),
        quotas=(("service", QuotaLimit(Rate(20, 1.0), Rate(5000, 1.0), chance.randint(1, 5))),)
        if chance.random() < 0.5
        else (),
        kill_grace=chance.choice((0.0, 0.0, 0.5)),
        jobs_per_worker=some(chance, 0.2, chance.randint(1, 5)),
    )


def faults(seed: int, chance: Random) -> FaultPlan:
    def share(most: float) -> float:
        return chance.uniform(0, most) if chance.random() < 0.4 else 0.0

    return FaultPlan(
        seed,
        seconds=chance.choice(((0.0001, 0.001), (0.001, 2.0), (0.01, 0.2))),
        raises=share(0.5),
        retry_later=share(0.2),
        permanent=share(0.1),
        skips=share(0.2),
        invalid=share(0.1),
        crashes=share(0.3),
        hangs=share(0.2),
        hogs=share(0.2),
        steps=share(0.8),
        calls=share(0.8),
        offloads=share(0.8),
        hooks_fail=share(0.3),
        commits_fail=share(0.02),
        lender_fails=share(0.05),
    )


def simulation(seed: int) -> Simulation:
    chance = Random(seed)
    slots = places(chance)
    keys: dict[int, str | None] = {}
    rows = jobs(chance, sorted({place.mode for place in slots}), keys)
    hooks = frozenset(h for h in ("prepare", "summarise", "report") if chance.random() < 0.15)
    retry = Retry(
        attempts=some(chance, 0.4, chance.randint(1, 4)),
        on=some(chance, 0.3, ("timeout", "ConnectionError")),
        backoff=Backoff(chance.choice((0.0, 0.1, 1.0)), 2.0, 5.0, chance.choice(("full", "none"))),
        max_elapsed=some(chance, 0.2, chance.uniform(0.5, 20.0)),
    )
    policy = Policy(
        slots,
        limits(chance),
        retry,
        {"a": Traits(hooks=hooks), "b": Traits(reuses=chance.random() < 0.5, attempts={})},
        window=chance.choice((2, 10, 1000)),
        drain_grace=chance.choice((0.1, 5.0)),
        everything=chance.random() < 0.9,
        shared=chance.random() < 0.5,
        plan_whole=chance.random() < 0.2,
    )
    if chance.random() < 0.3:
        policy = replace(policy, plan_whole=True, waiting={})
    times = [chance.expovariate(0.3) for _ in range(6)]
    asks = [(t, chance.choice(("cancel", "retry", "cancel", "retry", "drain")), chance.randint(1, 60)) for t in times]
    return Simulation(
        seed,
        rows,
        policy,
        faults(seed, chance),
        kills=sorted(chance.expovariate(0.3) for _ in range(chance.randint(1, 5))) if chance.random() < 0.4 else (),
        asks=asks[: chance.randint(1, 6)] if chance.random() < 0.3 else (),
        keys=keys,
        elsewhere={"a3": Source("other-1", 3)} if chance.random() < 0.2 else {},
        chunk=chance.choice((7, 1000)),
        late=chance.choice((0.0, 0.002, 0.05)),
        sample_interval=some(chance, 0.5, 0.1),
        machine_memory=chance.choice((100 * MB, 64_000 * MB)),
    )


@pytest.mark.parametrize("block", range(20))
def test_any_run_keeps_every_rule(block: int) -> None:
    for seed in range(block * SEEDS_PER_TEST, (block + 1) * SEEDS_PER_TEST):
        run = simulation(seed)
        try:
            run.play()
            assert judge(run) is run
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
