"""Draws the curves of a run: loss and accuracy by epoch, for training and held-out images."""

from .. import files

COLOURS = {"training": "#777777", "held out": "#0b6aa2"}


def draw(path, history):
    """Writes curves.png from the records of the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name, scale in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        for label, prefix in (("training", ""), ("held out", "val_")):
            values = [scale * record[f"{prefix}{name}"] for record in history]
            axes.plot([record["epoch"] for record in history], values, ".-", color=COLOURS[label], label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss" if name == "loss" else "accuracy, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    with files.writing(path) as temporary:
        figure.savefig(temporary, dpi=150)
