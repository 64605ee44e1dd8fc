"""Pictures of what cannot be told apart, and of how an analysis grows: matplotlib figures, PNG and SVG.

The same model and seed give the same bytes with the same matplotlib. Nothing here is imported before a picture is
asked for; the extra `plots` installs matplotlib.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from batchmill import TaskError
from batchmill.workloads.identifiability.model import Model, Unsupported
from batchmill.workloads.identifiability.presentation import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from batchmill.workloads.identifiability.orbits import Orbit
    from batchmill.workloads.identifiability.studies.fits import PowerLaw

KINDS = ("png", "svg")
MOST_PANELS = 4
MOST_NAMES = 40  # in one picture: beyond them no label can be read
_STYLE: Any = {"svg.hashsalt": "batchmill", "svg.fonttype": "none", "text.parse_math": False, "font.size": 9}


def has_matplotlib() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def draw(model: Model, seed: int = 0) -> dict[str, bytes]:
    """All pictures of a model by file name; none where nothing is confounded.

    An orbit that numbers cannot follow is left out. Raises TaskError without matplotlib, Unsupported for models
    outside the method's scope.
    """
    if not has_matplotlib():
        raise TaskError("pictures need matplotlib", hint="`pip install 'batchmill[plots]'`")
    from batchmill.workloads.identifiability.analysis import sample
    from batchmill.workloads.identifiability.orbits import confounded

    model = replace(model.resolved(), name=printable(model.name)[:80])
    links = confounded(sample(model, seed))
    if not links:
        return {}
    figures = {"confounded": confounding_graph(model, links), **_numeric(model, seed)}
    return {f"{name}.{kind}": render(figure, kind) for name, figure in figures.items() for kind in KINDS}


def _numeric(model: Model, seed: int) -> dict[str, Figure]:
    """The pictures that need floating point, as far as that can be trusted."""
    from batchmill.workloads.identifiability.orbits import Field, trustworthy

    try:
        field = Field(model, seed)
        vectors = field.vectors(field.start)
    except (ArithmeticError, Unsupported):
        return {}
    figures = {"null_space": null_space_map(model.name, field.names, vectors)}
    if found := trustworthy(field.orbits(MOST_PANELS)):
        figures["orbits"] = orbit_panels(model.name, found)
    return figures


def render(figure: Figure, kind: str) -> bytes:
    """The bytes of a picture, without dates."""
    import matplotlib

    out = io.BytesIO()
    metadata = {"Date": None, "Creator": "batchmill"} if kind == "svg" else {"Software": "batchmill"}
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a name in a script that the font lacks becomes boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format=kind, metadata=metadata, dpi=150)
    return out.getvalue()


def orbit_panels(title: str, orbits: Sequence[Orbit]) -> Figure:
    """A panel for each orbit: what else changes, against the name that changes most, as multiples of the start."""
    figure = _figure(max(6.0, 4.2 * len(orbits)), 3.8)
    for place, orbit in enumerate(orbits, 1):
        _orbit(figure.add_subplot(1, len(orbits), place), orbit)
    figure.suptitle(f"{title}: moving along these curves changes no output")
    return figure


def _orbit(axes: Axes, orbit: Orbit) -> None:
    first, *others = orbit.moved()
    relative = orbit.values / orbit.values[orbit.start]
    for name in others[:MOST_NAMES]:
        axes.plot(relative[:, orbit.names.index(first)], relative[:, orbit.names.index(name)], label=name)
    if not others:
        axes.plot(relative[:, orbit.names.index(first)], [1.0] * len(relative), label="everything else")
    axes.plot([1.0], [1.0], "ko", markersize=4)
    axes.set_xlabel(f"{first} / its start")
    axes.set_ylabel("value / its start")
    axes.legend(fontsize=7)


def null_space_map(title: str, names: Sequence[str], vectors: Any) -> Figure:
    """The null vectors as a heat map: relative change of each name that any of them moves."""
    import numpy as np

    moved = [i for i in range(len(names)) if np.abs(vectors[:, i]).max() > 0][:MOST_NAMES]
    shown = vectors[:, moved]
    figure = _figure(max(6.0, 1.6 + 0.55 * len(moved)), 1.6 + 0.45 * len(shown))
    axes = figure.add_subplot()
    limit = float(np.abs(shown).max())
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(moved)), [names[i] for i in moved], rotation=60, ha="right")
    axes.set_yticks(range(len(shown)), [str(number + 1) for number in range(len(shown))])
    for row, vector in enumerate(shown):
        for column, value in enumerate(vector):
            if value:
                colour = "white" if abs(value) > 0.6 * limit else "black"
                axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title(f"{title}: null vectors, relative change of each name")
    figure.colorbar(image, ax=axes)
    return figure


def confounding_graph(model: Model, links: Mapping[str, frozenset[str]]) -> Figure:
    """Names that change together unseen, joined by lines; parameters are discs, states are squares."""
    names = list(links)[:MOST_NAMES]
    turn = 2 * math.pi / max(len(names), 1)
    at = {name: (math.cos(i * turn), math.sin(i * turn)) for i, name in enumerate(names)}
    figure = _figure(5, 5)
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            if other in links[name]:
                axes.plot(*zip(at[name], at[other], strict=True), color="0.6", linewidth=1, zorder=1)
    for name in names:
        is_state = name in model.states
        axes.scatter(*at[name], s=90, marker="s" if is_state else "o", color="C1" if is_state else "C0", zorder=2)
        x, y = at[name]
        axes.annotate(name, (1.12 * x, 1.12 * y), ha="center", va="center")
    left = f" (first {MOST_NAMES} of {len(links)})" if len(links) > MOST_NAMES else ""
    axes.set_title(f"{model.name}: confounded with each other{left}")
    axes.set_xlim(-1.3, 1.3)
    axes.set_ylim(-1.3, 1.3)
    axes.set_axis_off()
    return figure


def log_log(points: Mapping[str, Sequence[Mapping[str, Any]]], laws: Mapping[str, PowerLaw | None]) -> Figure:
    """Time against size for each label of a scaling study, with the fitted power laws."""
    figure = _figure(6, 4.2)
    axes = figure.add_subplot()
    for number, (label, found) in enumerate(points.items()):
        sizes = [point["size"] for point in found]
        law, colour = laws[label], f"C{number % 10}"
        slope = f": size^{law.exponent:.2f}" if law else ""
        axes.plot(sizes, [point["engine_s"] for point in found], "o", color=colour, label=f"{label}{slope}")
        if law:
            ends = [min(sizes), max(sizes)]
            axes.plot(ends, [law.factor * n**law.exponent for n in ends], color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=7)
    return figure


def _figure(width: float, height: float) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        return Figure(figsize=(min(width, 24), min(height, 24)), layout="constrained")
