"""Folders of photos through the commands: what is said before the work, how photos are resized, and how few will do."""

import json

import numpy as np
import pytest
from PIL import Image

from resdense_keras.data import resizing

LOOSE = ("--max-drop", "100", "--min-agreement", "0")


def small_net(path, shape=(16, 16, 3), gain=9.0):
    """A .keras file that tells bright photos (class 0) from dark ones (class 1), in any resizing that shows them."""
    from keras import Input, Model, layers

    inputs = Input(shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_initializer="ones", name="same")(x)
    outputs = layers.Dense(2, activation="softmax", name="head")(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    model = Model(inputs, outputs, name="brightness")
    level = 9 * shape[-1] * 100 / 255  # of a photo that is grey throughout
    kernel = np.full((4, 2), gain / 4) * (1, -1)
    model.get_layer("head").set_weights([kernel, np.array([-gain, gain]) * level])
    model.save(path)
    return str(path)


def photos(folder, count, size=(32, 64), seed=0):
    """`count` photos of each class: grey, with a strip at the left and right edges that is bright or dark."""
    random, (height, width) = np.random.default_rng(seed), size
    for name, edge in (("bright", 255), ("dark", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((height, width, 3), 100.0)
            pixels[:, : width // 8] = pixels[:, -width // 8 :] = edge
            noisy = np.clip(pixels + random.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / f"{number}.png")
    return str(folder)


@pytest.mark.parametrize("rule", resizing.RULES)
def test_a_class_at_the_edges_is_told_where_the_edges_are_seen(resdense, tmp_path, rule):
    """Photos twice as wide as the input: the largest centred square lacks the strips that tell the classes."""
    net, folder = small_net(tmp_path / "net.keras"), photos(tmp_path / "photos", 10)
    code, out, err = resdense("eval", net, "--data", folder, "--resize", rule, "--json")
    accuracy = json.loads(out)["accuracy"]
    assert code == 0 and f"resized to 16 by {rule}" in err
    # Padded photos are half black, so both classes are dark to this net; but not equally.
    assert accuracy == 1 if rule == "stretch" else accuracy <= 0.8


def test_a_foreign_model_on_photos_of_another_shape_is_warned_of_with_both_rules(resdense, tmp_path):
    net = small_net(tmp_path / "net.keras")
    folder, square = photos(tmp_path / "photos", 5), photos(tmp_path / "square", 5, (32, 32))
    _, _, err = resdense("eval", net, "--data", folder, "--json")
    assert "warning: photos such as 32x64 have another shape than the input of 16x16" in err
    assert "by crop (cut out" in err and "stretch (resize the whole image" in err and "--resize" in err
    for more in (("--data", folder, "--resize", "crop"), ("--data", square)):
        assert "have another shape" not in resdense("eval", net, *more, "--json")[2]


def test_each_command_says_what_it_understood_before_it_begins(resdense, tmp_path):
    net = small_net(tmp_path / "net.keras")
    for name in ("Training", "Testing"):
        photos(tmp_path / "photos" / name, 30, (16, 16))
    line = (
        "data: train Training/ (54 images), validation 6 (a tenth held out of train), test Testing/ (60); "
        "2 classes: bright, dark; 16x16\n"
    )
    folder = str(tmp_path / "photos")
    assert line in resdense("eval", net, "--data", folder, "--json")[2]
    code, _, err = resdense("export", net, "--data", folder, *LOOSE, "--out", tmp_path / "out", "--schemes", "fp32")
    assert code == 0 and line in err


def test_bundle_hands_on_the_rule_that_photos_were_resized_by(resdense, tmp_path):
    net, folder = small_net(tmp_path / "net.keras"), photos(tmp_path / "photos", 30)
    for name, data in (("with", ("--data", folder)), ("without", ())):
        arguments = ("--resize", "stretch", "--schemes", "fp32", *LOOSE, "--out", tmp_path / name)
        assert resdense("export", net, *data, *arguments)[0] == 0
        described = json.loads((tmp_path / name / "model.json").read_text())
        assert described["input"]["resize_steps"] == resizing.steps(3, "stretch")
        assert "resize the whole image to the input's size" in (tmp_path / name / "MODEL_CARD.md").read_text()
    report = json.loads((tmp_path / "with" / "report.json").read_text())
    assert report["data"]["resize"] == "stretch" and "resized by stretch" in (tmp_path / "with/report.html").read_text()
    golden = np.asarray(Image.open(tmp_path / "with" / "golden" / "00.png")).astype(int)
    assert abs(golden[:, 0].mean() - golden[:, 8].mean()) > 50  # the strip at the edge is on it


def test_val_without_test_judges_and_every_text_says_so(resdense, tmp_path):
    net = small_net(tmp_path / "net.keras")
    photos(tmp_path / "photos" / "train", 15), photos(tmp_path / "photos" / "val", 7, seed=1)
    folder, out = str(tmp_path / "photos"), tmp_path / "out"
    assert json.loads(resdense("eval", net, "--data", folder, "--json")[1])["images"] == 14
    code, _, err = resdense("export", net, "--data", folder, "--resize", "stretch", *LOOSE, "--out", out)
    assert code == 0 and "validation and test val/ (14; val/ also chose the epoch)" in err
    for text in ("MODEL_CARD.md", "report.html"):
        assert "al/ also chose the epoch" in (out / text).read_text()


def test_a_net_of_one_channel_is_judged_calibrated_and_exported_on_photos_in_colour(resdense, tmp_path):
    net, folder = small_net(tmp_path / "grey.keras", (16, 16, 1)), photos(tmp_path / "photos", 60, (16, 16))
    out = tmp_path / "out"
    assert json.loads(resdense("eval", net, "--data", folder, "--json")[1])["accuracy"] == 1
    assert resdense("export", net, "--data", folder, "--schemes", "int8", *LOOSE, "--out", out)[0] == 0
    assert Image.open(out / "golden" / "00.png").mode == "L"
    assert json.loads((out / "model.json").read_text())["input"]["channels"] == "grey"


@pytest.mark.parametrize("count", [3, 12, 60])
def test_few_photos_are_exported_with_int8_marked_weak_or_left_out(resdense, tmp_path, count):
    """Of 2 x 3 photos 2 train, of 2 x 12 16, of 2 x 60 86: none of them 100, the first two not 20."""
    net, folder = small_net(tmp_path / "net.keras"), photos(tmp_path / "photos", count, (16, 16))
    out = tmp_path / "out"
    code, _, err = resdense("export", net, "--data", folder, *LOOSE, "--out", out)
    made = {path.name.split("-")[1] for path in out.glob("*.tflite")}
    assert code == 0 and {"fp32.tflite", "fp16.tflite", "dynamic.tflite"} <= made
    if count == 60:
        assert "int8.tflite" in made and "int8: calibrated on 86 training images only, which is weak" in err
        assert "calibrated on 86 images, which is weak" in (out / "MODEL_CARD.md").read_text()
        assert "Calibrated on fewer than 100 training images" in (out / "report.html").read_text()
        return
    assert "int8.tflite" not in made
    (note,) = [line for line in err.splitlines() if "int8" in line and "left out" in line]
    assert "training images are too few to calibrate int8: it takes 20" in note
    for asked in (("--schemes", "fp32,int8"), ("--budget", "1")):
        code, _, err = resdense("export", net, "--data", folder, *asked, "--out", tmp_path / "asked")
        assert code == 2 and "too few to calibrate int8" in err and "--schemes" in err
    assert not (tmp_path / "asked").exists()


def test_a_folder_on_disk_is_exported_as_one_in_memory(resdense, tmp_path, monkeypatch):
    net, folder = small_net(tmp_path / "net.keras"), photos(tmp_path / "photos", 60)
    rows = []
    for name, free in (("held", "9000000000"), ("read", "0")):
        monkeypatch.setenv("RESDENSE_FREE_BYTES", free)
        arguments = ("--data", folder, "--resize", "stretch", *LOOSE, "--schemes", "fp32,int8")
        assert resdense("export", net, *arguments, "--out", tmp_path / name)[0] == 0
        exports = json.loads((tmp_path / name / "report.json").read_text())["models"][0]["exports"]
        rows.append([{key: row[key] for key in ("sha256", "accuracy", "agreement", "gates")} for row in exports])
    assert rows[0] == rows[1]


def test_labels_with_a_byte_order_mark_are_read_without_it(resdense, tmp_path):
    net = small_net(tmp_path / "net.keras")
    (tmp_path / "names.txt").write_bytes("\N{ZERO WIDTH NO-BREAK SPACE}hell\r\ndunkel\r\n".encode())
    arguments = ("--labels", tmp_path / "names.txt", "--schemes", "fp32", "--out", tmp_path / "out")
    assert resdense("export", net, *arguments)[0] == 0
    assert (tmp_path / "out" / "labels.txt").read_text() == "hell\ndunkel\n"


def test_names_that_are_no_utf8_go_through_an_export(resdense, tmp_path):
    net = small_net(tmp_path / "net.keras")
    folder = photos(tmp_path / "photos", 30, (16, 16))
    (tmp_path / "photos" / "dark").rename(f"{folder}/caf\udce9")
    (tmp_path / "photos").rename(f"{tmp_path}/\udcff")
    out = tmp_path / "out"
    code, _, err = resdense("export", net, "--data", f"{tmp_path}/\udcff", *LOOSE, "--schemes", "fp32", "--out", out)
    assert code == 0 and "this is a defect" not in err
    assert (out / "labels.txt").read_text() == "bright\ncaf\N{REPLACEMENT CHARACTER}\n"
    assert json.loads((out / "report.json").read_text())["data"]["spec"] == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("command", ["train", "eval", "export", "compare"])
def test_an_unknown_way_to_resize_is_refused_before_the_work(resdense, tmp_path, command):
    folder = photos(tmp_path / "photos", 3, (16, 16))
    net = small_net(tmp_path / "net.keras") if command in ("eval", "export") else "resnet20"
    more = () if command == "eval" else ("--out", tmp_path / "out")
    code, _, err = resdense(command, net, "--data", folder, "--resize", "squash", *more)
    assert code == 2 and "unknown way to resize 'squash'; known: crop, stretch, pad" in err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_compare_refuses_nets_of_several_sizes_for_photos(resdense, tmp_path):
    folder = photos(tmp_path / "photos", 3, (16, 16))
    code, _, err = resdense("compare", "resnet20", "resnet18", "--data", folder, "--out", tmp_path / "out")
    assert code == 2 and "resnet20 32x32, resnet18 224x224" in err and "--image-size N" in err


def test_compare_refuses_photos_that_cannot_calibrate_before_it_trains(resdense, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (16, 16), "red").save(tmp_path / "photos" / name / f"{number}.png")
    code, _, err = resdense("compare", "resnet20", "--data", tmp_path / "photos", "--out", tmp_path / "out")
    assert code == 2 and "all calibration images are the same image" in err and "train resnet20" not in err
