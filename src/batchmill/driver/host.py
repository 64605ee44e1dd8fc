"""What this machine offers: usable cores, memory, and what its control group leaves of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
SHARE_OF_MEMORY = 0.8  # of the machine or cgroup, for all workers together


class Host(NamedTuple):
    """Cores that may be used, bytes of memory (the smaller of machine and cgroup), bytes available now."""

    cores: int
    memory: int
    available: int
    cgroup_memory: int | None
    cgroup_cores: float | None


def look() -> Host:
    """Look at the machine."""
    meminfo = _meminfo()
    cgroup_memory, cgroup_cores = _cgroup_memory(), _cgroup_cores()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cgroup_cores is not None:
        cores = max(1, min(cores, int(cgroup_cores)))
    total = meminfo.get("MemTotal", _UNLIMITED)
    return Host(
        cores,
        min(total, cgroup_memory or total),
        meminfo.get("MemAvailable", total),
        cgroup_memory,
        cgroup_cores,
    )


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: int(rest.split()[0]) * 1024 for name, rest in pairs if rest.split()}


def _number(*paths: Path) -> int | None:
    for path in paths:
        try:
            text = path.read_text().split()[0]
        except (OSError, IndexError):
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def _cgroup_memory() -> int | None:
    return _number(_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")


def _cgroup_cores() -> float | None:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        v1 = _number(_CGROUP / "cpu" / "cpu.cfs_quota_us"), _number(_CGROUP / "cpu" / "cpu.cfs_period_us")
        return v1[0] / v1[1] if v1[0] and v1[1] else None
    return int(quota) / int(period) if quota.isdigit() else None
