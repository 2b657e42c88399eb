"""The evaluations as a picture for the README: a panel for each work, a bar for each contender, shorter is faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    for axes, work in zip(panels, works, strict=False):
        _panel(axes, PANELS[work], found[work])
    for axes in panels[len(works) :]:
        axes.remove()
    figure.suptitle(
        "One evaluation, in microseconds (logarithmic; shorter is faster)", fontsize=13, fontweight="bold", x=0.5
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _panel(axes: Axes, title: str, rows: list[Row]) -> None:
    places = range(len(rows))
    colours = [_OURS if row.contender in (DICT, PREPARED) else _OTHERS for row in rows]
    medians = [row.median for row in rows]
    left = min(row.limit or row.median for row in rows) / 2
    spread: Any = [[row.median - row.low for row in rows], [row.high - row.median for row in rows]]
    axes.barh(places, medians, color=colours, height=0.72)
    axes.errorbar(medians, places, xerr=spread, fmt="none", ecolor="#555555", elinewidth=1, capsize=2)
    for place, row in zip(places, rows, strict=True):
        axes.text(row.high * 1.12, place, number(row.median), va="center", fontsize=9)
        if row.limit:
            label = "sum of unavoidable operations" if place == 0 else None
            axes.plot([row.limit] * 2, [place - 0.42, place + 0.42], color=_LIMIT, linewidth=2, label=label)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xscale("log")
    axes.set_xlim(left, max(row.high for row in rows) * 3)
    axes.set_yticks(places, [row.contender for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if any(row.limit for row in rows):
        axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.98), borderaxespad=0)
