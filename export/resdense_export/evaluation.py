"""`resdense eval`: the table and the picture of what `training.evaluate` found."""

from resdense_keras import files

from .tables import columns

MOST_ROWS = 20  # classes that a terminal shows; --json has all
MOST_NAMES = 30  # classes whose names fit beside the matrix


def table(result):
    """The figures for a terminal: the whole, then the worst classes first where there are many."""
    found = columns("", ">")
    found.add_row("images", f"{result['images']:,}")
    found.add_row("top-1", f"{result['accuracy']:.2%}")
    found.add_row("top-5", f"{result['top5']:.2%}")
    found.add_row("calibration error", f"{result['calibration_error']:.2%}")
    rows = [row for row in result["per_class"] if row["images"]]
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: row["accuracy"])[:MOST_ROWS]
        found.add_row(f"the {MOST_ROWS} worst of {len(result['per_class'])} classes", "")
    for row in rows:
        found.add_row(f"  {_name(row)}", f"{row['accuracy']:.2%}")
    return found


def draw(path, result):
    """Writes the confusion matrix, each row in shares of its class, as a picture."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(result["confusion"], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the class")
    axes.set(xlabel="answer", ylabel="class", title=f"{result['accuracy']:.2%} of {result['images']:,} images")
    if len(counts) <= MOST_NAMES:
        names = [_name(row) for row in result["per_class"]]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    with files.writing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _name(row):
    return row["name"] or str(row["class"])
