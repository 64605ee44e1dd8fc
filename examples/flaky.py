"""Stands for a service that fails now and then."""

from batchmill import Context


def fetch(item: str, ctx: Context) -> dict[str, str | int]:
    """What the service says of an item: the first request for some of them fails."""
    if item in ("plum", "fig") and ctx.attempt == 1:
        raise ConnectionError(f"the service hung up on {item}")
    return {"item": item, "letters": len(item)}
