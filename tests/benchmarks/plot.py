"""The evaluations as a picture for the README: a panel for each work, a bar for each contender, shorter is faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tests.benchmarks.contenders.field import DICT, PREPARED
from tests.benchmarks.evaluation import ALL, NAME
from tests.benchmarks.rows import Report, Row, number

PANELS = {  # work -> title
    "boolean": "Boolean flag, no event",
    "boolean, event": "Boolean flag, with its event",
    "rollout, event": "Percentage rollout, with its event",
    "5 rules of 2 conditions, event": "5 rules of 2 conditions, with its event",
    "segment of 10000, user absent": "Segment of 10,000 users, no event",
    ALL: "All 1,000 flags for one user",
}
_OURS, _OTHERS, _LIMIT = "#1f77b4", "#b8bec7", "#d62728"


def draw(report: Report, path: Path) -> None:
    """Draw what the report has of these panels, as PNG."""
    found = {work: [row for row in report.rows if (row.benchmark, row.work) == (NAME, work)] for work in PANELS}
    works = [work for work, rows in found.items() if rows]
    if not works:
        raise SystemExit("nothing that the plot shows was measured")
    figure = Figure(figsize=(11, 1.1 + 2.7 * ((len(works) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(works) + 1) // 2, 2, squeeze=False).flatten()
    singles = [row for work in works if work != ALL for row in found[work]]
    for axes, work in zip(panels, works, strict=False):
        _panel(axes, PANELS[work], found[work], found[work] if work == ALL else singles)
    for axes in panels[len(works) :]:
        axes.remove()
    handles = [Line2D([], [], color=_LIMIT, linewidth=2)]
    legend = ["the sum of the operations that Python code can't do without"]
    figure.legend(handles, legend, loc="outside lower center", fontsize=9, frameon=False)
    figure.suptitle("Time of one evaluation (logarithmic scale; shorter is faster)", fontsize=13, fontweight="bold")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _panel(axes: Axes, title: str, rows: list[Row], scale: list[Row]) -> None:
    """A bar for each row, on an axis with room for all of ``scale``."""
    places = range(len(rows))
    medians = [row.median for row in rows]
    spread: Any = [[row.median - row.low for row in rows], [row.high - row.median for row in rows]]
    colours = [_OURS if row.contender in (DICT, PREPARED) else _OTHERS for row in rows]
    axes.barh(places, medians, color=colours, height=0.72)
    axes.errorbar(medians, places, xerr=spread, fmt="none", ecolor="#555555", elinewidth=1, capsize=2)
    for place, row in zip(places, rows, strict=True):
        axes.text(row.high * 1.15, place, _duration(row.median), va="center", fontsize=9)
        if row.limit:
            axes.plot([row.limit] * 2, [place - 0.42, place + 0.42], color=_LIMIT, linewidth=2)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xscale("log")
    axes.set_xlim(min(row.limit or row.low for row in scale) / 2, max(row.high for row in scale) * 5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} µs" if value < 1000 else f"{value / 1000:g} ms")
    axes.set_yticks(places, [row.contender for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _duration(microseconds: float) -> str:
    if microseconds >= 1000:
        return f"{number(microseconds / 1000)} ms"
    return f"{number(microseconds)} µs" if microseconds >= 1 else f"{microseconds:.2f} µs"
