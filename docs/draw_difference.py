"""Draws the README's pictures: docs/figures/difference.svg, what ResNet adds and DenseNet appends, and both blocks.

    python docs/draw_difference.py

Strips of channels to scale, read from the library's own blocks. The page is opaque, so that the picture is the same on
a dark and on a white background, and its unit is a pixel of a phone 360 pixels wide.
"""

from pathlib import Path
from xml.sax.saxutils import escape

import keras

from resdense_keras.drawings import draw
from resdense_keras.experiments.add_or_concatenate.connections import GROWTH_RATE, WIDTH, bands, chain, holdings
from resdense_keras.experiments.lesson import COLORS, SOURCE_COLORS
from resdense_keras.files import write_text

TARGET = Path(__file__).parent / "figures" / "difference.svg"
BLOCK_TARGETS = {name: TARGET.with_name(f"{name}-block.svg") for name in ("residual", "dense")}
BLOCKS = 3

PAGE = (360, 430)
CHANNEL = 2.5  # width of one channel
STRIP, ARRIVING, FALL = 28, 10, 9  # height of what a block hands on, of what it has computed, and between the two
STEP = 86  # from one strip to the next
TOP = 64
LEFT = {"residual": 20, "dense": 190}
INK, MUTED, PAPER, RULE = "#1a1c20", "#595f69", "#ffffff", "#dcdfe4"
PANELS = {  # name: title, equation, what follows (short: fonts differ in width)
    "residual": ("ResNet adds", "y = x + F(x)", "Same width. The next|block reads one sum."),
    "dense": ("DenseNet appends", "y = [x, F(x)]", "Wider by {growth}. The next|layer reads every part."),
}
TITLE = "The difference between ResNet and DenseNet"
DESCRIPTION = (
    "Channel strips to scale. Left, three residual blocks: each adds what it computes onto the same {width} channels, "
    "so the width stays {width} and every channel is a sum. Right, three dense layers: each appends {growth} channels "
    "of its own, so the width grows from {width} to {wide} and every source can still be read by itself."
)


def picture():
    """The SVG as text."""
    chains = {name: holdings(chain(name, BLOCKS, width=WIDTH, growth_rate=GROWTH_RATE)) for name in PANELS}
    wide = _width(chains["dense"][-1])
    about = DESCRIPTION.format(width=WIDTH, growth=GROWTH_RATE, wide=wide)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PAGE[0]} {PAGE[1]}" width="{2 * PAGE[0]}" '
        f'height="{2 * PAGE[1]}" role="img" aria-labelledby="title about" '
        'font-family="-apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif">',
        f'<title id="title">{TITLE}</title>',
        f'<desc id="about">{escape(about)}</desc>',
        _box(0.5, 0.5, PAGE[0] - 1, PAGE[1] - 1, PAPER, f' stroke="{RULE}" rx="8"'),
        f'<path d="M172.5 16V{PAGE[1] - 16}" stroke="{RULE}"/>',
    ]
    for name, history in chains.items():
        lines += _panel(LEFT[name], history, COLORS[name], *PANELS[name])
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(left, history, color, title, equation, conclusion):
    """One net: its name, its equation, the strip after every block, and what follows."""
    yield _text(left, 27, title, 15, color, "bold")
    yield _text(left, 46, equation, 13, INK, family="monospace")
    for row, held in enumerate(history):
        y = TOP + STEP * row
        if row:
            yield from _arrival(left, y - FALL, row, held[row])
        yield from _strip(left, y, held)
        yield _text(left, y + STRIP + 15, f"{_width(held)} channels", 12, INK)
    for line, text in enumerate(conclusion.format(growth=GROWTH_RATE).split("|")):
        yield _text(left, TOP + STEP * len(history) - 10 + 15 * line, text, 11.5, INK, "bold")


def _arrival(left, bottom, source, channels):
    """What a block has computed, above the place where it goes, with an arrow."""
    x, width = left + CHANNEL * channels.start, CHANNEL * len(channels)
    yield _box(x, bottom - ARRIVING, width, ARRIVING, SOURCE_COLORS[source])
    middle = x + width / 2
    yield f'<path d="M{middle - 4:g} {bottom + 2:g}h8l-4 5z" fill="{MUTED}"/>'
    if channels.start:
        yield _text(x - 5, bottom - 0.5, f"append {_name(source)}", 11.5, MUTED, anchor="end")
    else:
        yield _text(x + width + 6, bottom - 0.5, f"add {_name(source)}", 11.5, MUTED)


def _name(source):
    return f"F{'₀₁₂₃₄₅₆₇₈₉'[source]}" if source else "x"


def _strip(left, y, held):
    """What a block hands on: sources on the same channels lie in bands, others side by side."""
    for source, channels, band, count in bands(held):
        x, width, height = left + CHANNEL * channels.start, CHANNEL * len(channels), STRIP / count
        yield _box(x, y + height * band, width, height, SOURCE_COLORS[source], f' stroke="{PAPER}"')
        if count == 1:
            yield _text(x + width / 2, y + STRIP / 2 + 4.5, _name(source), 13, INK, "bold", anchor="middle")
    if count > 1:
        yield _text(x + width + 6, y + STRIP / 2 + 4, "+".join(map(_name, held)), 12, INK, "bold")


def _width(held):
    return max(channels.stop for channels in held.values())


def _box(x, y, width, height, fill, more=""):
    return f'<rect x="{x:g}" y="{y:.4g}" width="{width:g}" height="{height:.4g}" fill="{fill}"{more}/>'


def _text(x, y, text, size, fill, weight="normal", anchor="start", family=None):
    more = f' font-family="{family}"' if family else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}"{more}>{escape(text)}</text>'
    )


def block(connection):
    """The inside of one block as SVG text, as `resdense_keras.draw` has it."""
    inside = chain(connection, 1, width=WIDTH, growth_rate=GROWTH_RATE)
    titled = keras.Model(
        inside.input, inside.output, name={"residual": "ResNet block", "dense": "DenseNet layer"}[connection]
    )
    return str(draw(titled))


if __name__ == "__main__":
    write_text(TARGET, picture())
    for connection, target in BLOCK_TARGETS.items():
        write_text(target, block(connection))
    print(TARGET, *BLOCK_TARGETS.values())
