"""Draws the plots of a report, each once: .svg and .png files, and the SVG in the page.

They have the width of a phone, so that a narrow page shows the text at its size and a wide page larger. pyplot is not
used, because a notebook would share its state. The same report gives the same bytes.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from ..schemes import marker
from . import noise, view
from .palette import FAMILIES, light

WIDTH = 4.7  # inches, 338 points
DPI = 200  # of the .png
CLIPPED = 2.5  # times the largest median: where the axis of milliseconds ends at the latest
MAX_PANELS = 12  # devices in the latency plot; the table has all

_STYLE = {
    "figure.facecolor": light("paper"),
    "axes.facecolor": light("paper"),
    "axes.edgecolor": light("muted"),
    "axes.labelcolor": light("muted"),
    "axes.titlecolor": light("ink"),
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": light("rule"),
    "grid.linewidth": 0.7,
    "xtick.color": light("muted"),
    "ytick.color": light("muted"),
    "xtick.labelcolor": light("muted"),
    "ytick.labelcolor": light("muted"),
    "text.color": light("ink"),
    "text.parse_math": False,  # a device may be called $x$
    "font.family": ["DejaVu Sans", "sans-serif"],  # ships with matplotlib
    "font.size": 10,
    "legend.frameon": False,
    "legend.labelcolor": light("ink"),
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "resdense-report",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.07,
}


@dataclass(frozen=True)
class Plot:
    """One plot. `draw(report, figure)` fills a figure and returns its height in inches, or None where there is nothing
    to show; `more` are sentences of the caption, each with the test whether a report needs it."""

    title: str
    caption: str
    draw: Callable
    more: tuple[tuple[Callable, str], ...] = ()

    def caption_of(self, report):
        return " ".join((self.caption, *(sentence for needed, sentence in self.more if needed(report))))


@dataclass(frozen=True)
class Drawn:
    """`svg` is a whole document, `png` the same picture in pixels."""

    title: str
    caption: str
    svg: str
    png: bytes


def draw(report):
    """{name: Drawn} for all plots for which the report has numbers."""
    drawn = {}
    for name, plot in PLOTS.items():
        with styled() as figure:
            height = plot.draw(report, figure)
            if height is not None:
                figure.set_size_inches(WIDTH, height)
                drawn[name] = Drawn(plot.title, plot.caption_of(report), _svg(figure), _png(figure))
    return drawn


@contextlib.contextmanager
def styled():
    """An empty figure, and this module's style while it is drawn and saved."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script that DejaVu lacks has boxes in the .png; the .svg and the page show it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield Figure(figsize=(WIDTH, WIDTH))


def _svg(figure):
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return stream.getvalue()


def _png(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def _colour(model):
    return light(view.look(model))


def _family_legend(figure, models, **dots):
    """The legend above the plot: each net with its family's colour as a line, or as `dots`."""
    from matplotlib.lines import Line2D

    looks = [{"linestyle": FAMILIES[view.look(model)].line, "color": _colour(model)} | dots for model in models]
    handles = [Line2D([], [], **look) for look in looks]
    names = [_shortened(model["name"]) for model in models]
    columns = 3 if len(models) == 3 and sum(map(len, names)) < 40 else 2
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=2.2, columnspacing=1.4)


def _shortened(text, limit=34):
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _legend_height(models):
    return 0.22 * (1 if len(models) <= 3 else -(-len(models) // 2))


def _rows(axes, labels):
    """A horizontal axis for a list of names, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)


def _percent_axis(axes, letter):
    """Shows an axis of fractions as percentages that end at 100 %; call it when everything is drawn."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = getattr(axes, f"{letter}axis")
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}"))
    low, high = axis.get_view_interval()
    axes.set(**{f"{letter}lim": (max(low, -0.01), min(high, 1.004))})


def _seeds(report, figure):
    """One row per net: its trainings as dots, their mean with its 95 % interval."""
    images = view.test_images(report)
    found = [(model, noise.accuracy(model, images)) for model in report["models"]]
    found = [(model, estimate) for model, estimate in found if estimate]
    if not found:
        return None
    axes = figure.subplots()
    for row, (model, estimate) in enumerate(found):
        colour = _colour(model)
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=1.6)
        axes.plot(estimate.value, row, "|", color=colour, markersize=15, markeredgewidth=2.4)
        seeds = model["accuracy_by_seed"]
        if len(seeds) > 1:
            axes.plot(seeds, [row + 0.24] * len(seeds), "o", color=colour, markersize=4.5, alpha=0.75)
    _rows(axes, [_shortened(model["name"], 20) for model, _ in found])
    _percent_axis(axes, "x")
    axes.set_xlabel("test accuracy (%)")
    return 0.75 + 0.42 * len(found)


def _sizes(report, figure):
    """One point per file: bytes on a logarithmic axis, accuracy with its 95 % interval."""
    models = [model for model in report["models"] if any(row["accuracy"] is not None for row in model["exports"])]
    if not models:
        return None
    axes = figure.subplots()
    for model in models:
        for converter in ("rewritten", "stock"):
            files = [row for row in view.exports(model, converter).values() if row["accuracy"] is not None]
            _size_points(axes, model, sorted(files, key=lambda row: row["bytes"]), converter)
    axes.set_xscale("log")
    axes.margins(x=0.08)
    _size_axis(axes.xaxis)
    _percent_axis(axes, "y")
    axes.set(xlabel="file size", ylabel="test accuracy (%)")
    _family_legend(figure, models)
    _scheme_legend(figure, models)
    return 3.4 + _legend_height(models)


def _size_points(axes, model, files, converter):
    colour, family = _colour(model), FAMILIES[view.look(model)]
    axes.plot(
        [row["bytes"] for row in files],
        [row["accuracy"] for row in files],
        color=colour,
        linestyle=family.line,
        alpha=0.55,
    )
    for row in files:
        if row["accuracy_interval"]:
            axes.plot([row["bytes"]] * 2, row["accuracy_interval"], color=colour, linewidth=1, alpha=0.6)
        axes.plot(
            row["bytes"],
            row["accuracy"],
            marker(row["scheme"]),
            color=colour,
            markersize=6.5,
            markerfacecolor=light("paper") if converter == "stock" else colour,
        )


def _scheme_legend(figure, models):
    from matplotlib.lines import Line2D

    options = {"color": light("muted"), "linestyle": "", "markersize": 6}
    handles = [
        Line2D([], [], marker=marker(scheme), label=_shortened(scheme, 12), **options)
        for scheme in view.schemes(models)
    ]
    if any(view.exports(model, "stock") for model in models):
        handles.append(Line2D([], [], marker="o", markerfacecolor=light("paper"), label="stock", **options))
    figure.legend(handles=handles, loc="outside lower left", ncols=5, handletextpad=0.1, columnspacing=1.2)


def _size_axis(axis):
    _log_axis(axis, _round("B"), most=6)


def _log_axis(axis, formatter, most):
    """At most `most` ticks, at the finest steps of each power of ten that allow it; call it when all is drawn.

    Where the coarsest are still too many only each second or third power has one, and where fewer than two are visible
    a few round numbers do. A LogLocator puts as many on a small panel as on a wide one, one over the other.
    """
    import numpy as np
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    powers = np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    finest = [np.outer(10.0**powers, steps).ravel() for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3))]
    coarse = [10.0 ** powers[powers % stride == 0] for stride in range(1, len(powers) + 1)]
    seen = [ticks[(ticks >= low) & (ticks <= high)] for ticks in (*finest, *coarse)]
    ticks = next((each for each in seen if len(each) <= most), ())
    axis.set_major_locator(FixedLocator(ticks) if len(ticks) > 1 else MaxNLocator(3, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(formatter)
    axis.set_minor_formatter(NullFormatter())


def _round(unit):
    """Writes 200000 at a tick as `200 kB`; ticks are at round numbers."""
    from matplotlib.ticker import FuncFormatter

    def text(value, _):
        scale, prefix = next(((s, p) for s, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s), (1, ""))
        return f"{value / scale:g} {prefix}{unit}".rstrip() if value else "0"

    return FuncFormatter(text)


def _latency(report, figure):
    """One panel per device: medians as dots, the range from the 10th to the 90th percentile as lines, grouped by
    scheme."""
    timed = [(condition, rows) for condition in view.conditions(report) if (rows := _timed(report, condition))]
    if not timed:
        return None
    shown = timed[:MAX_PANELS]
    heights = [0.85 + 0.15 * (len(rows) + _groups(rows)) for _, rows in shown]
    every = figure.subplots(len(shown), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (condition, rows) in zip(every, shown, strict=True):
        _latency_panel(axes, rows)
        axes.set_title(_shortened(condition.name, 48))
        axes.set_xlabel(f"milliseconds per image\n{_shortened(condition.details, 64)}")
    if len(timed) > len(shown):
        every[-1].set_xlabel(f"{every[-1].get_xlabel()}\n{len(timed) - len(shown)} more are in the table")
    models = [model for model in report["models"] if any(model is row[0] for _, rows in shown for row in rows)]
    _family_legend(figure, models, marker="o", linestyle="")
    return sum(heights) + 0.1 + _legend_height(models)


def _timed(report, condition):
    """(model, export, measurement) by scheme, then in the order of the report, our file before its stock twin."""
    return [
        (model, export, measurement)
        for scheme in view.schemes(report["models"])
        for model in report["models"]
        for export in view.ordered(model)
        if export["scheme"] == scheme and (measurement := view.measured(export, condition))
    ]


def _groups(rows):
    return len({export["scheme"] for _, export, _ in rows})


def _has_stock(report):
    return any(view.exports(model, "stock") for model in report["models"])


def _has_clipped(report):
    panels = [_timed(report, condition) for condition in view.conditions(report)[:MAX_PANELS]]
    return any((row["p90_ms"] or 0) > _right_end(rows) for rows in panels for *_, row in rows)


def _right_end(rows):
    """Where the axis of milliseconds ends, so that one unsteady file does not press the others together."""
    return CLIPPED * max(measurement["median_ms"] for *_, measurement in rows)


def _latency_panel(axes, rows):
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    end = _right_end(rows)
    position, before, ticks = -1.0, None, {}
    for model, export, measurement in rows:
        position += 1 if export["scheme"] == before else 2 if before else 1
        before = export["scheme"]
        ticks.setdefault(before, []).append(position)
        colour = _colour(model)
        if measurement["p10_ms"] and measurement["p90_ms"]:
            edges = [measurement["p10_ms"], min(measurement["p90_ms"], end)]
            axes.plot(edges, [position] * 2, color=colour, linewidth=3, alpha=0.45)
            if measurement["p90_ms"] > end:
                axes.plot(end, position, ">", color=colour, markersize=5)
        axes.plot(
            measurement["median_ms"],
            position,
            "o",
            color=colour,
            markersize=5,
            markerfacecolor=light("paper") if export["converter"] == "stock" else colour,
        )
    axes.set_yticks([sum(places) / len(places) for places in ticks.values()], [_shortened(name, 12) for name in ticks])
    axes.set_ylim(position + 0.8, -0.8)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="y", length=0, labelcolor=light("ink"))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)


def _devices(report, figure):
    """A row of two panels per device: accuracy and bytes against latency; each point is a file."""

    timed = [(condition, rows) for condition in view.conditions(report) if (rows := _timed(report, condition))]
    if not any(export["accuracy"] is not None for _, rows in timed for _, export, _ in rows):
        return None
    shown = timed[:MAX_PANELS]
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, (condition, rows) in zip(parts, shown, strict=True):
        _device_panels(part, rows)
        title = f"{_shortened(condition.name, 34)}, {condition.place}"
        part.suptitle(title, x=0.02, ha="left", fontsize=9.5, fontweight="bold", color=light("ink"))
    models = [model for model in report["models"] if any(model is row[0] for _, rows in shown for row in rows)]
    _family_legend(figure, models, marker="o", linestyle="")
    _scheme_legend(figure, models)
    return 0.5 + 1.95 * len(shown) + _legend_height(models)


def _device_panels(part, rows):
    """Accuracy on the left, bytes on the right, both over milliseconds."""
    from matplotlib.ticker import FuncFormatter

    panels = part.subplots(1, 2)
    for model, export, measurement in rows:
        for panel, value in zip(panels, (export["accuracy"], export["bytes"]), strict=True):
            if value is not None:
                _device_point(panel, model, export, measurement["median_ms"], value)
    for panel in panels:
        panel.margins(0.12)  # before the axis of percentages keeps what it sees
    _percent_axis(panels[0], "y")
    panels[1].set_yscale("log")
    _size_axis(panels[1].yaxis)
    for panel, label in zip(panels, ("accuracy (%)", "file size"), strict=True):
        panel.set(xscale="log", xlabel="milliseconds", ylabel=label)
        _log_axis(panel.xaxis, FuncFormatter(lambda value, _: f"{value:g}"), most=4)


def _device_point(panel, model, export, milliseconds, value):
    panel.plot(
        milliseconds,
        value,
        marker(export["scheme"]),
        color=_colour(model),
        markersize=6,
        markerfacecolor=light("paper") if export["converter"] == "stock" else _colour(model),
    )


def _training(report, figure):
    """Loss above, accuracy below, over the epochs of the first seed."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    curves = ("loss", "accuracy", "val_accuracy")
    models = [
        model for model in report["models"] if any(row[key] is not None for row in model["history"] for key in curves)
    ]
    if not models:
        return None
    loss, accuracy = figure.subplots(2, sharex=True)
    for model in models:
        line = {"color": _colour(model), "linestyle": FAMILIES[view.look(model)].line}
        _curve(loss, model, "loss", **line)
        _curve(accuracy, model, "accuracy", **line | {"alpha": 0.4, "linewidth": 1.1})
        _curve(accuracy, model, "val_accuracy", **line)
    losses = [row["loss"] for model in models for row in model["history"] if row["loss"] is not None]
    if losses and min(losses) > 0:
        loss.set_yscale("log")
    loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    loss.set_ylabel("training loss")
    _percent_axis(accuracy, "y")
    accuracy.set(ylabel="accuracy (%)", xlabel="epoch")
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
    _family_legend(figure, models)
    return 4.1 + _legend_height(models)


def _curve(axes, model, key, **line):
    rows = [row for row in model["history"] if row[key] is not None]
    # A single epoch does not make a line.
    axes.plot([row["epoch"] for row in rows], [row[key] for row in rows], marker="o" if len(rows) == 1 else "", **line)


def _memory(report, figure):
    """One point per net with its name; both axes begin at 0, so that equal sizes look equal."""
    models = [model for model in report["models"] if model["activation_bytes"] and model["parameters"]]
    if len(models) < 2:
        return None
    axes = figure.subplots()
    right = 1.12 * max(model["parameters"] for model in models)
    top = 1.18 * max(model["activation_bytes"] for model in models)
    models.sort(key=lambda model: model["activation_bytes"])
    heights = _apart([model["activation_bytes"] for model in models], 0.085 * top)
    for model, height in zip(models, heights, strict=True):
        x, y, leftwards = model["parameters"], model["activation_bytes"], model["parameters"] > right / 2
        axes.plot(x, y, "o", color=_colour(model), markersize=8)
        axes.annotate(
            _shortened(model["name"], 24),
            (x, height),
            xytext=(-9 if leftwards else 9, 0),
            textcoords="offset points",
            ha="right" if leftwards else "left",
            va="center",
            color=_colour(model),
        )
    axes.set(xlim=(0, right), ylim=(0, max(top, heights[-1] + 0.06 * top)))
    axes.xaxis.set_major_formatter(_round(""))
    axes.yaxis.set_major_formatter(_round("B"))
    axes.set(xlabel="parameters", ylabel="activation memory, one image")
    return 3.0


def _apart(values, gap):
    """Ascending `values`, moved up until they are `gap` apart."""
    moved = []
    for value in values:
        moved.append(max(value, moved[-1] + gap) if moved else value)
    return moved


PLOTS = {
    "accuracy": Plot(
        "Accuracy of each net",
        "Bar: mean over the seeds, or the one training there is; line: its 95 % interval; dots: each seed.",
        _seeds,
    ),
    "sizes": Plot(
        "Accuracy against file size",
        "Each point is a file, the vertical line its 95 % interval on the test images. Up and to the left is better.",
        _sizes,
    ),
    "latency": Plot(
        "Latency",
        "Dot: median; line: from the 10th to the 90th percentile of all rounds. Where lines overlap, the files tie.",
        _latency,
        (
            (lambda report: len(report["models"]) > 1, "In each group the nets have the order of the legend."),
            (_has_stock, "Hollow dots are the stock converter's files."),
            (_has_clipped, "A line that ends in an arrow goes on; the table says how far."),
        ),
    ),
    "devices": Plot(
        "Accuracy and size against time, device by device",
        "Each point is a file. In the left panel up and to the left is better, in the right panel down and left. "
        "Times of different devices are never mixed.",
        _devices,
    ),
    "training": Plot(
        "Training curves",
        "Training with the first seed. Strong lines: validation images; pale lines: training images.",
        _training,
    ),
    "memory": Plot(
        "Activation memory against parameters",
        "Memory that training keeps for one image, against the numbers that the net stores.",
        _memory,
    ),
}
