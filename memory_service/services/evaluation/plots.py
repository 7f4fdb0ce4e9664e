"""Plots as SVG, with nothing loaded from anywhere. The same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, LINE = "#1c1b22", "#66636f", "#d9d5e2"
ONE, TWO, THREE = "#5b3a96", "#c2571a", "#14804a"
STYLE: Any = {  # matplotlib types its keys one by one
    "svg.fonttype": "none",
    "svg.hashsalt": "simmim",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#eeebf3",
    "legend.frameon": False,
}
Figure = Mapping[str, float]  # mean, low, high


def _drawn(width: float, height: float, draw: Any, columns: int = 1) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE):
        figure = Canvas(figsize=(width, height), layout="constrained")
        draw(figure.subplots(1, columns, squeeze=False)[0])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


JUDGES = (("judge", "judge of form", "D", TWO), ("meaning", "judge of meaning", "s", THREE))


def ladder(table: Mapping[str, Any], strong: Sequence[str]) -> bytes:
    """Bars of the headline measure with their intervals; unseen concepts alone as rings, the judges
    as diamonds and squares."""
    from matplotlib.patches import Patch

    name = table["headline"]
    rows = [row for row in table["rows"] if name in row][::-1]
    suffix = "_recall_at_10" if name.startswith("recall") else "_cosine"

    def draw(axes: Sequence[Axes]) -> None:
        (ax,) = axes
        places = range(len(rows))
        means = [row[name]["mean"] for row in rows]
        colours = [ONE if row["what"] in strong else "#b9a9d6" for row in rows]
        ax.barh(places, means, 0.62, color=colours, zorder=2)
        spread = _spread([row[name] for row in rows])
        ax.errorbar(means, places, xerr=spread, fmt="none", ecolor=INK, elinewidth=1, zorder=3)
        for key, label, marker, colour in JUDGES:
            told = [
                (row[key + suffix]["mean"], at)
                for at, row in enumerate(rows)
                if key + suffix in row
            ]
            if told:
                ax.plot(*zip(*told, strict=True), marker, color=colour, markersize=4.5, label=label,
                        zorder=4)  # fmt: skip
        few = [
            (row[name]["unseen"]["mean"], at)
            for at, row in enumerate(rows)
            if "unseen" in row[name]
        ]
        if few:
            ax.plot(*zip(*few, strict=True), "o", color=INK, fillstyle="none", markersize=6,
                    label="unseen concepts", zorder=5)  # fmt: skip
        handles, _ = ax.get_legend_handles_labels()
        handles.append(Patch(color=ONE, label="the rungs of the ladder"))
        if name in table["chance"]:
            chance = table["chance"][name]
            ax.axvline(chance, color=QUIET, linestyle=":", label=f"chance {chance:.2f}")
        ax.set_yticks(places, [row["what"] for row in rows])
        ax.set_xlim(min(0.0, *means), 1)
        ax.set_xlabel(f"{name.replace('_at_', '@').replace('_', ' ')}, n = {table['queries']}")
        ax.grid(axis="y", visible=False)
        ax.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, fontsize=8
        )

    return _drawn(8.6, 0.3 * len(rows) + 1.1, draw)


def _spread(rows: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """Below and above each mean."""
    return [[r["mean"] - r["low"] for r in rows], [r["high"] - r["mean"] for r in rows]]


def curve(table: Mapping[str, Any]) -> bytes:
    """Recall against the level of noise, and what is made through it."""
    quality = table["quality"]
    levels = [point["level"] for point in table["points"]]

    def line(ax: Axes, key: str, colour: str, label: str) -> None:
        points = [point[key] for point in table["points"]]
        ax.plot(levels, [p["mean"] for p in points], "-o", color=colour, markersize=4, label=label)
        low, high = [p["low"] for p in points], [p["high"] for p in points]
        ax.fill_between(levels, low, high, color=colour, alpha=0.15, linewidth=0)
        if all("unseen" in point for point in points):
            few = [point["unseen"]["mean"] for point in points]
            ax.plot(levels, few, "--", color=colour, linewidth=1)

    def draw(axes: Sequence[Axes]) -> None:
        recall = axes[0]
        line(recall, "itself", ONE, "finds itself, R@1")
        if "across" in table["points"][0]:
            line(recall, "across", TWO, f"finds its {table['across']}, R@10")
            recall.axhline(table["chance_across"], color=TWO, linestyle=":", linewidth=1)
        recall.axhline(table["chance_itself"], color=ONE, linestyle=":", linewidth=1)
        recall.set_ylim(0, 1.03)
        recall.set_title(f"{table['modality']}: {table['noise']}")
        recall.legend(fontsize=8)
        if quality is not None:
            names = {"ssim": "SSIM", "log_mel": "log-mel distance", "cosine": "cosine"}
            line(axes[1], "made", THREE, names[quality])
            axes[1].set_title(f"what is made: {names[quality]}")
            axes[1].set_ylim(bottom=0)
        for ax in axes:
            ax.set_xlabel(table["unit"], fontsize=8)

    return _drawn(8.6 if quality else 4.6, 2.9, draw, 2 if quality else 1)


def latency(rows: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> bytes:
    """Median milliseconds by task, stage beside stage."""
    colours = ["#5b3a96", "#8a6bbf", "#b9a9d6", "#dcd3ea", "#c2571a", "#e39a6f", "#14804a"]

    def draw(axes: Sequence[Axes]) -> None:
        (ax,) = axes
        places = list(range(len(rows)))[::-1]
        left = [0.0] * len(rows)
        for stage, colour in zip(stages, colours, strict=True):
            widths = [row["stages"].get(stage, {"median_ms": 0.0})["median_ms"] for row in rows]
            ax.barh(places, widths, 0.55, left=left, color=colour, label=stage, zorder=2)
            left = [at + width for at, width in zip(left, widths, strict=True)]
        names = [f"{row['task']}, creativity {row['creativity']:g}" for row in rows]
        ax.set_yticks(places, names)
        ax.set_xlabel("ms, median")
        ax.grid(axis="y", visible=False)
        ax.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.15))

    return _drawn(8.6, 0.36 * len(rows) + 1.7, draw)
