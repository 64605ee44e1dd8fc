"""The least that a task can be, in a module that imports nothing."""


def noop(x: int = 0) -> int:
    """What it got."""
    return x
