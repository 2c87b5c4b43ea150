"""One row a rule of resizing: what it shows, and that its formulas say what the decoder does."""

import json

import numpy as np
import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.data import resizing
from resdense_keras.data.images import decode
from resdense_keras.errors import RequestError

SIZES = [(61, 90), (90, 61), (16, 16), (32, 32), (11, 13), (16, 33), (17, 49)]


def resized(pixels, input_size, steps):
    """`pixels` (H, W, C) as the steps of model.json say it, written from them alone."""
    steps = {step["step"]: step for step in steps if not step.get("optional")}
    (image_height, image_width), (input_height, input_width) = pixels.shape[:2], input_size
    known = {
        "image_width": image_width, "image_height": image_height, "input_width": input_width,
        "input_height": input_height, "min": min, "max": max, "round": round, "abs": abs,
    }  # fmt: skip
    if "grey" in steps:
        red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
        pixels = eval(steps["grey"]["rule"].split("=")[1], {"red": red, "green": green, "blue": blue})[..., None]
    if "crop" in steps:
        for name in ("scale", "width", "height", "left", "top"):
            known[name] = eval(steps["crop"][name], known)
        top, left = known["top"], known["left"]
        pixels = pixels[top : top + known["height"], left : left + known["width"]]
    step = steps["resize"]
    for name in ("scale", "width", "height"):
        known[name] = eval(step.get(name, f"input_{name}"), known | {"input_scale": None})
    sizes = {"horizontal": (1, known["width"]), "vertical": (0, known["height"])}
    for direction in step["order"]:
        axis, wanted = sizes[direction]
        weights = shares(pixels.shape[axis], wanted, step)
        sums = np.moveaxis(np.tensordot(weights, pixels.astype(float), (1, axis)), 0, axis)
        pixels = np.floor(sums + 0.5)
    if "pad" in steps:
        left, top = (eval(steps["pad"][name], known) for name in ("left", "top"))
        whole = np.full((*input_size, pixels.shape[-1]), steps["pad"]["fill"], float)
        whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        pixels = whole
    return pixels.astype(np.uint8)


def shares(size, wanted, step):
    """(wanted, size) weights with which the pixels of a row or column make its new ones."""
    if size == wanted:
        return np.eye(size)
    known = {"size": size, "input_size": wanted, "new_size": wanted, "max": max, "abs": abs}
    for name in ("ratio", "support"):
        known[name] = eval(step[name], known)
    rows = []
    for known["i"] in range(wanted):
        known["centre"] = eval(step["centre"], known)
        weights = np.array([eval(step["weight"], known | {"j": j}) for j in range(size)])
        rows.append(weights / weights.sum())
    return np.array(rows)


@pytest.mark.parametrize("rule", resizing.RULES)
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", SIZES)
def test_rule_can_be_written_again_from_its_steps_alone(size, channels, rule, tmp_path):
    coarse = np.random.default_rng(sum(size)).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    ours = decode(tmp_path / "photo.png", channels=channels, size=(16, 16), resize=rule).astype(int)
    steps = json.loads(json.dumps(resizing.steps(channels, rule)))
    theirs = resized(np.asarray(photo), (16, 16), steps).astype(int)
    # Pillow's weights are rounded to 22 bits, so a sum that lies on a half may go the other way: often from 17 to 16.
    assert np.abs(ours - theirs).max() <= 1 and (ours == theirs).mean() > 0.9


def edges(path, bright, size=(64, 128)):
    """A photo, grey but for its left and right sixteenth, which alone tell its class."""
    height, width = size
    pixels = np.full((height, width, 3), 100, np.uint8)
    pixels[:, : width // 16] = pixels[:, -width // 16 :] = 255 if bright else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("rule", resizing.RULES)
def test_class_at_the_edges_of_a_photo_is_seen_unless_they_are_cut_off(tmp_path, rule):
    for number in range(6):
        edges(tmp_path / "bright" / f"{number}.png", True)
        edges(tmp_path / "dark" / f"{number}.png", False)
    loaded = data.load(tmp_path, image_size=32, resize=rule)
    means = [loaded.train.array()[loaded.train.labels == label].mean() for label in (0, 1)]
    assert loaded.resize == rule and f"resized to 32 by {rule}" in loaded.describe()
    assert (means[0] == means[1]) == (rule == "crop")
    assert means[0] - means[1] == pytest.approx({"crop": 0, "stretch": 255 / 8, "pad": 255 / 16}[rule], abs=3)


@pytest.mark.parametrize(("height", "width"), [(40, 120), (120, 40)])
def test_pad_shows_the_whole_image_in_the_middle_of_black(tmp_path, height, width):
    Image.new("RGB", (width, height), "white").save(tmp_path / "white.png")
    pixels = decode(tmp_path / "white.png", size=(30, 30), resize="pad", channels=1)[..., 0]
    inner = pixels[10:20] if width > height else pixels[:, 10:20]
    assert inner.min() == 255 and pixels.sum() == 255 * 300


@pytest.mark.parametrize("rule", resizing.RULES)
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (1, 1), (3, 200)])
def test_a_part_lies_within_what_the_rule_shows(rule, size):
    """Frames of random parts: boxes within the image, and what they become within the input."""
    random = np.random.default_rng(0)
    for _ in range(200):
        part = (*random.uniform((0.08, 0.75), (1, 4 / 3)), *random.uniform(size=2))
        frame = resizing.frame(size[::-1], (20, 30), rule, part)
        left, top, right, bottom = frame.box
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        assert min(frame.size) >= 1 and frame.at[0] + frame.size[0] <= 30 and frame.at[1] + frame.size[1] <= 20
        if rule != "pad":
            assert frame.size == (30, 20) and frame.at == (0, 0)


def test_the_whole_as_a_part_is_what_the_rule_shows(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((90, 45), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    for rule in ("stretch", "pad"):
        whole = decode(tmp_path / "photo.png", size=(20, 20), resize=rule).astype(int)
        part = decode(tmp_path / "photo.png", size=(20, 20), resize=rule, part=(1.0, 1.0, 0.5, 0.5)).astype(int)
        assert np.abs(whole - part).max() <= 1, rule


def test_unknown_rule_names_the_known_ones(tmp_path):
    edges(tmp_path / "a" / "1.png", True)
    with pytest.raises(RequestError, match="unknown way to resize 'squash'; known: crop, stretch, pad"):
        data.load(tmp_path, resize="squash")


def test_arrays_are_not_resized():
    with pytest.raises(RequestError, match="resize=pad was given; digits holds arrays"):
        data.load("digits", resize="pad")


def test_folder_is_decoded_in_the_channels_that_are_asked_for(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("RGB", (4, 4), colour).save(tmp_path / name / f"{number}.png")
    grey = data.load(tmp_path, channels=1)
    assert grey.image_shape == (4, 4, 1) and "in grey" in grey.describe()
    assert set(grey.train.array().ravel()) == {29, 76}
    with pytest.raises(RequestError, match="2 channels were asked for"):
        data.load(tmp_path, channels=2)


def test_a_net_of_four_channels_keeps_what_is_transparent():
    assert [step["step"] for step in resizing.steps(4)] == ["orient", "reduce", "crop", "resize"]
    assert all("flatten" in [step["step"] for step in resizing.steps(channels)] for channels in (1, 3))
