"""Draws nets and single blocks as SVG: what is added, what is appended, and how wide the result is."""

import re
from collections import Counter
from typing import NamedTuple
from xml.sax.saxutils import escape

import keras
from keras import layers

from . import compat
from .errors import RequestError, unknown
from .recompute import RecomputedDenseLayer

WIDTH = 360  # units, each a pixel of a phone
MOST_BOXES = 40
ADD, APPEND, PLAIN = "#0067ad", "#c04a00", "#6a7079"  # as in the report: residual, dense, plain
INK, MUTED, PAPER, BOX = "#1a1c20", "#595f69", "#ffffff", "#f2f4f7"
_BLOCK = re.compile(r"(stage(\d+)_block(\d+))(?:_|$)")
_FONT = "-apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif"


class Drawing(str):
    """SVG text; a notebook shows it as the picture."""

    def _repr_svg_(self):
        return str(self)


def draw(model: keras.Model, block: str | None = None) -> Drawing:
    """Draws a net as stages and blocks, or one block with all its layers.

    In a net each circle is a block: (+) adds its result to its input, [ , ] appends its result, and an empty circle
    hands on only its result. The height of the band below shows the number of channels. Of a stage of more than 11
    blocks the first five, the last five and the number of blocks between are drawn. In a block each box is a layer with
    the channels that it reads and makes, and the coloured line is the shortcut.

    Args:
        model: Functional Keras model: a net of this package (or named like one: `stage1_block1_...`), or a block of at
            most 40 layers.
        block: Name of a block of the net, e.g. "stage1_block1": draws its inside.
    Returns:
        Drawing: a str with the SVG, 360 units wide; `pathlib.Path("net.svg").write_text(drawing)` keeps it.
    Raises:
        RequestError (a ValueError): the model is not Functional, the block is unknown, or the model is neither a net
            nor a block.
    Example:
        >>> drawing = resdense_keras.draw(resdense_keras.resnet20(), block="stage1_block1")
        >>> "adds: still 16" in drawing
        True
    """
    graph = compat.graph(model)
    if not isinstance(graph, keras.Function):
        raise RequestError(
            f"draw() was given {type(model).__name__}; it needs a Functional model (or a Sequential that is built)",
            "build it with keras.Model(inputs, outputs)",
        )
    operations = [operation for operation in graph.operations if not isinstance(operation, layers.InputLayer)]
    blocks = _blocks(operations)
    if block is not None:
        if block not in blocks:
            raise unknown("block", block, list(blocks))
        return _draw_block(blocks[block], f"{model.name}, {block.replace('_', ' ')}")
    if len(blocks) > 1:
        return _draw_net(model, operations, blocks)
    if len(operations) > MOST_BOXES:
        raise RequestError(
            f"draw() was given {model.name} with {len(operations)} layers and no blocks it knows; "
            f"it draws nets of stages and blocks, and blocks of at most {MOST_BOXES} layers",
            "name the layers of a block stage1_block1_..., as resdense_keras does",
        )
    return _draw_block(operations, model.name)


def _blocks(operations):
    """{name of a block: its operations}, in graph order."""
    found = {}
    for operation in operations:
        if match := _BLOCK.match(operation.name):
            found.setdefault(match[1], []).append(operation)
    return found


def _channels(tensor):
    return tensor.shape[-1]


def _inputs(operation):
    found = operation.input
    return list(found) if isinstance(found, (list, tuple)) else [found]


# A net


class _Row(NamedTuple):
    """One stage of a net: its title, and its blocks as (name, kind of join, channels before, channels after)."""

    title: str
    blocks: list


def _draw_net(model, operations, blocks):
    rows = _rows(blocks)
    widest = max(after for row in rows for *_, after in row.blocks)
    parts, y = [], 48
    for number, row in enumerate(rows):
        if number:
            parts.append(_text(16, y + 6, _between(rows[number - 1], row), 11.5, MUTED))
            y += 22
        parts.append(_text(16, y + 8, row.title, 13, INK, "bold"))
        y += 20
        lines, y = _stage(row.blocks, y, widest)
        parts += lines
    last = operations[-1].output
    parts.append(_text(16, y + 8, f"head: {_count(_channels(last), 'output')}" if len(last.shape) == 2 else "", 11.5))
    first = rows[0].blocks[0]
    stem = f"stem: {_count(first[2], 'channel')}"
    kinds = {kind for row in rows for _, kind, *_ in row.blocks}
    verb = {"+": "adds", ",": "appends", "": "replaces"}
    about = "; ".join(
        f"{row.title}, each {verb[row.blocks[0][1]]}, from {row.blocks[0][2]} to {row.blocks[-1][3]} channels"
        for row in rows
    )
    parts = [_text(16, 26, f"{model.name}: {stem}", 14, _color(next(iter(kinds))), "bold"), *parts]
    return _page(parts, y + 24, f"{model.name}, stage by stage", f"{stem}. {about}.")


def _rows(blocks):
    rows = {}
    for name, own in blocks.items():
        stage = int(_BLOCK.match(name)[2])
        join = next((op for op in reversed(own) if isinstance(op, (layers.Add, layers.Concatenate))), None)
        recomputed = next((op for op in own if isinstance(op, RecomputedDenseLayer)), None)
        if recomputed is not None:  # its input is the list of all earlier maps, its output only the new maps
            before = sum(_channels(tensor) for tensor in _inputs(recomputed))
            kind, after = ",", before + recomputed.growth_rate
        else:
            first = _inputs(own[0])[0]
            kind = {layers.Add: "+", layers.Concatenate: ","}.get(type(join), "")
            before, after = _channels(first), _channels(own[-1].output)
        rows.setdefault(stage, []).append((name, kind, before, after, own[-1].output.shape[1]))
    return [
        _Row(
            f"stage {stage}: {_count(len(found), 'block')}" + (f" at {side}×{side}" if (side := found[0][4]) else ""),
            [entry[:4] for entry in found],
        )
        for stage, found in rows.items()
    ]


def _between(before, after):
    left, right = before.blocks[-1][3], after.blocks[0][2]
    return f"smaller maps: {left} → {right} channels" if left != right else "smaller maps inside the next block"


def _stage(blocks, y, widest):
    """(SVG of the circles and of the band below them, the y after them); of many blocks only the first and the last."""
    most, step, high = 11, 26, 34
    gap = most // 2 if len(blocks) > most else None  # the place of the dots
    line = blocks if gap is None else [*blocks[:gap], None, *blocks[gap - most + 1 :]]
    color = _color(blocks[0][1])
    left, right, top = 18, 18 + step * len(line), y + 26
    edge, lower = blocks[0][2], []  # the band's lower edge, from left to right
    for index, entry in enumerate(line):
        after = blocks[gap - most + 1][2] if entry is None else entry[3]
        lower += [
            (left + step * index, top + high * edge / widest),
            (left + step * (index + 1), top + high * after / widest),
        ]
        edge = after
    points = " ".join(f"{a:g},{b:g}" for a, b in [(left, top), *lower, (right, top)])
    parts = [
        f'<polygon points="{points}" fill="{color}" opacity="0.25"/>',
        f'<path d="M{left} {y + 11}H{right}" stroke="{color}" stroke-width="1.5"/>',
    ]
    for index, entry in enumerate(line):
        x = left + step * (index + 0.5)
        if entry is None:
            left_out = len(blocks) - most + 1
            parts.append(f'<rect x="{x - 11:g}" y="{y + 3}" width="22" height="16" fill="{PAPER}"/>')
            parts.append(_text(x, y + 15, f"+{left_out}", 10, MUTED, "bold", "middle"))
        else:
            name, kind, before, after = entry
            told = f"<title>{name}: {before} to {after} channels</title>"
            parts.append(f"<g>{told}{_join(x, y + 11, kind, 9.5)}</g>")
    parts.append(_text(right + 6, y + 15, f"→ {blocks[-1][3]}", 11.5, INK, "bold"))
    return parts, top + high * max(blocks[0][2], blocks[-1][3]) / widest + 14


# A block


class _Box(NamedTuple):
    """A layer of a block, or two layers drawn as one: its text, what it reads (numbers of boxes; -1 is the input), its
    join ("+", "," or None), its output channels, and the operation."""

    text: str
    reads: list
    join: str | None
    channels: int
    sources: list


def _draw_block(operations, title):
    boxes, first = _boxes(operations)
    main = _longest(boxes)
    step, top = 40, 84
    y_of = {-1: top - 34} | {number: top + step * place for place, number in enumerate(main)}
    x_main, x_side = 204, 58
    parts = [
        _text(x_main, top - 42, f"x: {_count(first, 'channel')}", 13, INK, "bold", "middle"),
        _text(16, 24, title, 14, INK, "bold"),
    ]
    for before, number in zip([-1, *main], main, strict=False):
        parts.append(_wire(f"M{x_main} {y_of[before] + (4 if before == -1 else 13)}V{y_of[number] - 13}"))
    side = 0
    for number in main:
        box = boxes[number]
        for source in box.reads:
            chain = []
            while source not in y_of:
                chain.append(source)
                source = boxes[source].reads[0]
            if not chain and source == ([-1, *main])[main.index(number)]:
                continue  # the main way itself
            parts += _around(
                boxes,
                chain[::-1],
                y_of[source] + (9 if source == -1 else 20),
                y_of[number],
                x_main,
                x_side - 14 * side,
                box.join,
            )
            side += 1
    for number in main:
        box = boxes[number]
        if box.join:
            parts.append(_join(x_main, y_of[number], box.join, 13))
            parts.append(_text(x_main + 18, y_of[number] + 4, _sum(box), 11, _color(box.join), "bold"))
        else:
            parts.append(_layer(x_main, y_of[number], [box.text], 184))
    end = y_of[main[-1]] + 13
    parts.append(_wire(f"M{x_main} {end}V{end + 14}"))
    last = boxes[main[-1]].channels
    parts.append(_text(x_main, end + 30, f"y: {_count(last, 'channel')}", 13, INK, "bold", "middle"))
    steps = ", then ".join(_sum(boxes[n]) if boxes[n].join else boxes[n].text for n in main)
    return _page(parts, end + 44, title, f"From {first} channels: {steps}. {last} channels come out.")


def _boxes(operations):
    """(the boxes of a block, the channels that enter it)."""
    numbers, boxes, first = {}, [], None
    readers = Counter(id(tensor) for operation in operations for tensor in _inputs(operation))
    for operation in operations:
        tensors = _inputs(operation)
        if first is None:
            first = _channels(tensors[0])
        reads = [numbers.get(id(tensor), -1) for tensor in tensors]
        last = boxes[reads[0]] if reads[0] >= 0 and readers[id(tensors[0])] == 1 else None
        joins = {layers.Add: "+", layers.Concatenate: ","}.get(type(operation))
        text = _label(operation, tensors)
        if isinstance(operation, layers.ReLU) and last and last.text == "batch norm":
            boxes[reads[0]] = last._replace(text="batch norm, ReLU")
            numbers[id(operation.output)] = reads[0]
            continue
        if text is None:  # a layer that is part of the next one, such as padding
            numbers[id(operation.output)] = reads[0]
            continue
        widths = [_channels(tensor) for tensor in tensors]
        boxes.append(_Box(text, reads, joins, _channels(operation.output), widths))
        numbers[id(operation.output)] = len(boxes) - 1
    return boxes, first


def _label(operation, tensors):
    """The text of a box; None for a layer that is drawn with the one after it."""
    if isinstance(operation, layers.Conv2D):
        size = "×".join(map(str, operation.kernel_size))
        stride = f", stride {operation.strides[0]}" if operation.strides[0] > 1 else ""
        return f"conv {size}{stride}, {_channels(tensors[0])} → {operation.filters}"
    if isinstance(operation, layers.Dense):
        return f"fully connected, {_channels(tensors[0])} → {operation.units}"
    if isinstance(operation, (layers.ZeroPadding2D, layers.Dropout)):
        return None
    if isinstance(operation, layers.Activation) and operation.activation is keras.activations.linear:
        return None
    names = {
        layers.BatchNormalization: "batch norm",
        layers.ReLU: "ReLU",
        layers.AveragePooling2D: "average pooling",
        layers.MaxPooling2D: "max pooling",
        layers.GlobalAveragePooling2D: "mean over the map",
    }
    other = {"GetItem": "every second pixel", "Pad": "channels of zeros"}.get(type(operation).__name__)
    return names.get(type(operation)) or other or type(operation).__name__


def _longest(boxes):
    """Numbers of the boxes on the longest way to the last one, in order."""
    length = {-1: 0}
    for number, box in enumerate(boxes):
        length[number] = 1 + max(length[source] for source in box.reads)
    way = [len(boxes) - 1]
    while (before := max(boxes[way[0]].reads, key=length.get)) != -1:
        way.insert(0, before)
    return way


def _around(boxes, chain, start, end, x_main, x_side, kind):
    """The shortcut, from below `start` to the join at `end`, with its own layers."""
    color = _color(kind)
    yield (
        f'<path d="M{x_main} {start:g}H{x_side}V{end:g}H{x_main - 15}" fill="none" stroke="{color}" '
        'stroke-width="2.5" marker-end="url(#tip)"/>'
    )
    for place, number in enumerate(chain, start=1):
        y = start + (end - start) * place / (len(chain) + 1)
        yield _layer(x_side, y, boxes[number].text.rsplit(", ", 1), 96, size=10)


def _sum(box):
    if box.join == "+":
        return f"adds: still {box.channels}"
    return f"appends: {' + '.join(map(str, box.sources))} = {box.channels}"


# SVG


def _page(parts, height, title, about):
    return Drawing(
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
                f'height="{height:g}" role="img" aria-label="{escape(title)}" font-family="{_FONT}">',
                f"<title>{escape(title)}</title>",
                f"<desc>{escape(about)}</desc>",
                '<defs><marker id="tip" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" '
                'orient="auto"><path d="M0 0L6 3L0 6z" fill="context-stroke"/></marker></defs>',
                f'<rect width="{WIDTH}" height="{height:g}" fill="{PAPER}"/>',
                *filter(None, parts),
                "</svg>",
            ]
        )
        + "\n"
    )


def _color(kind):
    return {"+": ADD, ",": APPEND}.get(kind, PLAIN)


def _join(x, y, kind, radius):
    text = {"+": "+", ",": "[,]"}.get(kind, "")
    color = _color(kind)
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{PAPER}" stroke="{color}" stroke-width="2"/>' + _text(
        x, y + 0.35 * radius, text, 1.1 * radius, color, "bold", "middle"
    )


def _layer(x, y, lines, width, size=11.5):
    high = 14 + 12 * len(lines)
    box = f'<rect x="{x - width / 2:g}" y="{y - high / 2:g}" width="{width}" height="{high}" rx="5" fill="{BOX}" '
    texts = [
        _text(x, y + 4 + 12 * (place - (len(lines) - 1) / 2), line, size, INK, anchor="middle")
        for place, line in enumerate(lines)
    ]
    return box + f'stroke="{MUTED}"/>' + "".join(texts)


def _wire(path):
    return f'<path d="{path}" stroke="{MUTED}" stroke-width="1.5" fill="none"/>'


def _text(x, y, text, size, fill=INK, weight="normal", anchor="start"):
    if not text:
        return ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _count(number, noun):
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
