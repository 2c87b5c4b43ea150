"""Laws of the pictures of nets and blocks: everything is in them, with its width, and they fit a slide."""

import re
from xml.etree import ElementTree

import keras
import pytest
from keras import layers

import resdense_keras
from resdense_keras.experiments.add_or_concatenate import connections


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    "connection, said",
    [("residual", "adds: still 24"), ("dense", "appends: 24 + 12 = 36"), ("plain", "y: 24 channels")],
)
def test_a_block_is_drawn_with_its_join_and_its_widths(connection, said):
    found = texts(resdense_keras.draw(connections.chain(connection, 1)))
    assert "x: 24 channels" in found and said in found
    assert any(text.startswith("conv 3×3, 24 → ") for text in found)


def test_every_layer_of_a_block_with_a_projection_is_in_its_picture():
    svg = resdense_keras.draw(resdense_keras.cifar_resnet(depth=8, shortcut="B"), block="stage2_block1")
    words = " ".join(texts(svg))
    assert words.count("conv 3×3") == 2 and words.count("conv 1×1") == 1 and words.count("batch norm") == 3
    assert words.count("batch norm, ReLU") == 1 and words.count("ReLU") == 2
    assert svg.count('stroke-width="2.5"') == 1  # one way around


@pytest.mark.parametrize("recompute", [False, True])
def test_a_net_is_drawn_block_by_block_with_the_channels_of_each(recompute):
    svg = resdense_keras.draw(resdense_keras.cifar_densenet(depth=22, growth_rate=12, recompute=recompute))
    told = re.findall(r"<title>(stage\d_block\d): (\d+) to (\d+) channels</title>", svg)
    assert len(told) == 9 and svg.count("[,]") == 9
    assert all(int(after) - int(before) == 12 for _, before, after in told)
    assert told[0] == ("stage1_block1", "24", "36")


def test_a_plain_net_has_as_many_circles_and_no_sums():
    residual, plain = resdense_keras.draw(resdense_keras.resnet20()), resdense_keras.draw(resdense_keras.plain20())
    assert residual.count("<circle") == plain.count("<circle") == 9
    assert texts(residual).count("+") == 9 and "+" not in texts(plain)


def test_a_large_net_fits_a_slide_and_says_how_many_blocks_are_left_out():
    svg = resdense_keras.draw(resdense_keras.densenet169())
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
    assert width == 360 and height < 480
    left_out = sum(int(text[1:]) for text in texts(svg) if re.fullmatch(r"\+\d+", text))
    assert svg.count("[,]") + left_out == 6 + 12 + 32 + 32


def test_a_drawing_is_text_and_a_notebooks_picture_and_describes_itself():
    drawing = resdense_keras.draw(connections.chain("dense", 1))
    assert isinstance(drawing, str) and drawing._repr_svg_() == drawing
    assert "From 24 channels" in re.search("<desc>(.*)</desc>", drawing)[1]


def test_wrong_requests_are_told_what_is_allowed():
    with pytest.raises(resdense_keras.RequestError, match="draw.. was given int; it needs a Functional model"):
        resdense_keras.draw(3)
    with pytest.raises(resdense_keras.RequestError, match="stage9_block1"):
        resdense_keras.draw(resdense_keras.resnet20(), block="stage9_block1")
    x = inputs = keras.Input((8,))
    for _ in range(41):
        x = layers.Dense(8)(x)
    with pytest.raises(resdense_keras.RequestError, match="41 layers and no blocks"):
        resdense_keras.draw(keras.Model(inputs, x))
