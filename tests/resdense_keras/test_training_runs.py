"""Laws of a run folder: it goes on to the same end, says what is wrong with it, and never loses a good state."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from resdense_keras import RequestError, WorkError, data, files
from resdense_keras.intervals import may_be_chance
from resdense_keras.training import evaluate, read_config, recipe, runs, state, train
from resdense_keras.training.interrupts import Interrupts
from resdense_keras.training.request import TrainingRequest
from resdense_keras.training.runs import remark_on_chance

RESUMED_RUN = Path(__file__).with_name("resumed_run.py")
NET = "resnet8"
OPTIONS = {"width": 4, "dropout": 0.2}
pytestmark = pytest.mark.usefixtures(NET)
RECIPE = recipe("fast", epochs=2, batch_size=32)


def images(count, seed):
    """uint8 noise that is brighter in one corner: three classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    pixels = random.integers(0, 200, (count, 8, 8, 3))
    for image, label in zip(pixels, labels, strict=True):
        image[4 * (label // 2) :, 4 * (label % 2) :] += 55
    return pixels.astype(np.uint8), labels


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "corners.npz"
    (x_train, y_train), (x_test, y_test) = images(180, 0), images(30, 1)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="module")
def finished(npz, resnet8, tmp_path_factory):
    """A run of two epochs to its end: (folder, what it told)."""
    out, lines = tmp_path_factory.mktemp("runs") / "a run with 'quotes' é", []
    train(NET, npz, out, RECIPE, options=OPTIONS, tell=lines.append)
    return out, lines


@pytest.fixture
def begun(finished, tmp_path):
    """A copy of that run as it was before its end."""
    import shutil

    out = tmp_path / "begun"
    shutil.copytree(finished[0], out)
    (out / "manifest.json").unlink()
    (out / "model.keras").unlink()
    return out


def go_on(npz, out, asked=RECIPE, model=NET, **options):
    return train(model, npz, out, asked, options=OPTIONS, resume=True, **options)


def test_a_finished_run_holds_what_the_design_says(finished, npz):
    import keras

    out, lines = finished
    assert {path.name for path in out.iterdir()} == {
        "config.yaml", "metrics.jsonl", "checkpoints", "model.keras", "curves.png", "manifest.json",
    }  # fmt: skip
    assert files.verify_manifest(out) == []
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    keys = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert [list(record) for record in records] == [sorted(record, key=keys.index) for record in records]
    assert [record["epoch"] for record in records] == [1, 2]
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no lock
    model = keras.saving.load_model(out / "model.keras", safe_mode=True)
    assert not model.compiled and model.output_shape == (None, 3)
    assert model.get_layer("preprocessing")
    assert sum("waiting for input" in line for line in lines) == 2


def test_a_run_ends_with_its_best_share_of_how_many_images_and_whether_that_may_be_chance(finished, npz):
    out, lines = finished
    best = max(json.loads(line)["val_accuracy"] for line in (out / "metrics.jsonl").read_text().splitlines())
    held_out = len(data.load(npz).validation)
    place = next(number for number, line in enumerate(lines) if line.endswith(f", {best:.4f} of {held_out}"))
    remark = [line for line in lines[place + 1 :] if "no better than chance for 3 classes" in line]
    assert len(remark) == may_be_chance(round(best * held_out), held_out, 3)


@pytest.mark.parametrize(
    ("right", "images", "classes", "chance"),
    [(16, 80, 5, True), (48, 80, 5, False), (6, 6, 5, False), (1, 2, 2, True), (2, 1000, 1000, True)],
)
def test_a_net_that_may_have_learnt_nothing_is_told_what_may_help(right, images, classes, chance):
    asked = {name: TrainingRequest(model=name, recipe=RECIPE) for name in ("resnet20", "resnet32")}
    remarks = {name: remark_on_chance(request, right, images, classes, 3) for name, request in asked.items()}
    assert all((remark is not None) == chance for remark in remarks.values())
    if chance:
        assert "or begin with `--weights cifar10`" in remarks["resnet20"] and "--weights" not in remarks["resnet32"]
        started = TrainingRequest(model="resnet20", recipe=RECIPE, weights="cifar10")
        assert "--weights" not in remark_on_chance(started, right, images, classes, 3)
        assert "--weights" not in remark_on_chance(asked["resnet20"], right, images, classes, 1)


def test_model_keras_holds_the_weights_of_the_best_epoch(finished, npz):
    import keras

    out, _ = finished
    _, place = state.load(out / "checkpoints" / "state.safetensors")
    best = max(place["history"], key=lambda record: (record["val_accuracy"], -record["epoch"]))
    assert place["best"]["epoch"] == best["epoch"]
    arrays, _ = state.load(out / "checkpoints" / f"best-{best['epoch']:04d}.safetensors")
    model = keras.saving.load_model(out / "model.keras")
    for weight in model.weights:
        np.testing.assert_array_equal(weight.numpy(), arrays["/".join(weight.path.split("/")[-2:])])


def test_a_finished_run_says_so_and_a_second_one_is_refused(finished, npz):
    out, _ = finished
    before, lines = {path: path.stat().st_mtime_ns for path in out.rglob("*")}, []
    assert len(go_on(npz, out, tell=lines.append)) == 2
    assert lines == [f"{out} is finished; nothing is left to do"]
    with pytest.raises(RequestError, match="holds a run"):
        train(NET, npz, out, RECIPE, options=OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_another_configuration_is_refused_and_named(finished, npz):
    with pytest.raises(RequestError, match="seed is 0 there and 1 here; epochs is 2 there and 3 here"):
        go_on(npz, finished[0], recipe("fast", epochs=3, batch_size=32), seed=1)


def test_the_configuration_reads_back_as_what_was_asked_for(finished, npz):
    config = read_config(finished[0] / "config.yaml")
    assert (config["model"], config["data"], config["options"]) == (NET, str(npz), OPTIONS)
    assert recipe(str(finished[0] / "config.yaml")) == RECIPE


def test_a_folder_of_something_else_is_left_alone(npz, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match="not empty and holds no run"):
        go_on(npz, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_kill_in_the_first_write_leaves_does_not_keep_a_run_from_beginning(npz, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".new-config.yaml").write_text("half a f")
    assert len(go_on(npz, tmp_path / "run", replace(RECIPE, epochs=1))) == 1


def test_a_folder_whose_first_step_failed_may_be_used_again(npz, tmp_path, monkeypatch):
    from resdense_keras.training import loop

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "step", lambda self, batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(NET, npz, out, RECIPE, options=OPTIONS, jit="off")
        assert not out.exists()
    other = replace(RECIPE, epochs=1)
    (out / "checkpoints").mkdir(parents=True)  # as 0.1.0 and a kill before the first save leave it
    (out / "config.yaml").write_text("schema: resdense-run/1\nmodel: resnet56\n")
    assert len(train(NET, npz, out, other, options={"width": 2}, jit="off")) == 1
    assert read_config(out / "config.yaml")["model"] == NET


def test_data_that_moved_are_the_same_data_and_others_are_not(npz, begun, finished, tmp_path):
    moved, other = tmp_path / "moved.npz", tmp_path / "other.npz"
    moved.write_bytes(npz.read_bytes())
    x, y = images(180, 5)
    np.savez(other, x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    before, lines = (begun / "config.yaml").read_bytes(), []
    for folder in (begun, finished[0]):
        with pytest.raises(RequestError, match="is not what .* was made from: the data have changed since"):
            go_on(other, folder)
    assert (begun / "config.yaml").read_bytes() == before
    assert len(go_on(moved, begun)) == 2
    assert read_config(begun / "config.yaml")["data"] == str(moved)
    assert files.verify_manifest(begun) == []
    assert len(go_on(moved, finished[0], tell=lines.append)) == 2 and "is finished" in lines[-1]


def test_data_are_known_by_each_thing_that_training_sees(tmp_path):
    """One label, one pixel, a class's name, one held-out image; and of files their names and sizes."""
    x, y = images(60, 0)
    held = data.Split(labels=y[40:], indices=np.arange(40, 60), image_shape=(8, 8, 3), images=x[40:])
    split = data.Split(labels=y[:40], indices=np.arange(40), image_shape=(8, 8, 3), images=x[:40])

    def known(train=split, validation=held, names=("a", "b", "c"), spec="one"):
        shape = train.image_shape
        return runs.data_fingerprint(
            data.Dataset(
                spec=spec, class_names=names, image_shape=shape, train=train, validation=validation, test=validation
            )
        )

    other_labels, other_pixels = y[:40].copy(), x[:40].copy()
    other_labels[3] = (other_labels[3] + 1) % 3
    other_pixels[3, 0, 0, 0] ^= 1
    paths = [tmp_path / name for name in ("1.png", "2.png", "3.png")]
    for path, size in zip(paths, (1, 1, 2), strict=True):
        path.write_bytes(b"." * size)
    one, two, three = (replace(split, images=None, paths=(path,) * 40) for path in paths)
    found = [
        known(),
        known(replace(split, labels=other_labels)),
        known(replace(split, images=other_pixels)),
        known(validation=replace(held, images=x[20:40])),
        known(names=("a", "b", "d")),
        known(one),
        known(two),
        known(three),
    ]
    assert len(set(found)) == len(found) and known(spec="two") == found[0]
    paths[0].write_bytes(b"..")
    assert known(one) != found[5]


def test_a_finished_run_that_is_asked_for_more_epochs_names_the_command_that_goes_on(npz, finished, tmp_path):
    out = finished[0]
    with pytest.raises(RequestError, match="is finished after 2 epochs") as refused:
        go_on(npz, out, replace(RECIPE, epochs=5))
    words = shlex.split(refused.value.hint.partition(": ")[2])
    assert words[:2] == ["resdense", "train"]
    more = dict(zip(words[3::2], words[4::2], strict=True))
    assert (words[2], more["--weights"], more["--epochs"]) == (
        str(out / "config.yaml"),
        str(out / "model.keras"),
        "3",
    )
    assert not Path(more["--out"]).exists()
    with pytest.raises(RequestError, match="seed is 0 there and 1 here; epochs"):
        go_on(npz, out, replace(RECIPE, epochs=5), seed=1)


def test_a_run_needs_its_start_weights_no_more_once_it_has_begun(npz, finished, tmp_path, monkeypatch):
    """Nor another look at how bright the images are; and it begins with the normalisation of the run it starts from."""
    import keras

    start, out = tmp_path / "start.keras", tmp_path / "run"
    start.write_bytes((finished[0] / "model.keras").read_bytes())
    options = {"options": OPTIONS, "weights": start, "jit": "off"}
    with monkeypatch.context() as patched:
        patched.setattr(runs.curves, "draw", lambda *given: 1 / 0)  # the last epoch is over, the run not finished
        with pytest.raises(ZeroDivisionError):
            train(NET, npz, out, RECIPE, **options)
    (out / "model.keras").unlink()
    start.unlink()
    monkeypatch.setattr(runs.starts, "pixels", lambda dataset: 1 / 0)
    assert len(train(NET, npz, out, RECIPE, resume=True, **options)) == 2
    first, second = (keras.saving.load_model(run / "model.keras") for run in (finished[0], out))
    configs = [model.get_layer("preprocessing").get_config() for model in (first, second)]
    np.testing.assert_allclose(configs[0]["scale"], configs[1]["scale"], rtol=1e-9)
    np.testing.assert_allclose(configs[0]["offset"], configs[1]["offset"], rtol=1e-4)


def test_a_tuple_in_the_request_is_no_other_run(npz, tmp_path):
    options = {**OPTIONS, "input_shape": (8, 8, 3)}
    for _ in range(2):
        train(NET, npz, tmp_path / "run", replace(RECIPE, epochs=1), options=options, resume=True)


def test_a_second_run_into_a_folder_is_told_who_writes_there(npz, begun):
    with files.lock(begun), pytest.raises(RequestError, match=f"process {os.getpid()}"):
        go_on(npz, begun)


def test_a_lock_that_a_killed_run_left_is_taken_over(npz, finished):
    stale = finished[0].with_name(f".{finished[0].name}.lock")
    stale.write_text("999999")
    assert len(go_on(npz, finished[0])) == 2
    assert not stale.exists()


@pytest.mark.parametrize("fault", ["half", "other net", "other version", "other data"])
def test_a_state_that_does_not_belong_is_an_error_and_stays(npz, begun, monkeypatch, fault):
    path = begun / "checkpoints" / "state.safetensors"
    message, source = "is damaged", npz
    if fault == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif fault == "other net":
        arrays, place = state.load(path)
        state.save(path, {**arrays, "00000/more": np.zeros(3)}, {**place, "model": "resnet56"})
        message = r"state of another net \(resnet56\)"
    elif fault == "other version":
        monkeypatch.setattr(state, "SCHEMA", "resdense-state/9")
        message = "not a state of this version"
    else:
        config = yaml.safe_load((begun / "config.yaml").read_text())
        source = begun.parent / "other.npz"
        x, y = images(180, 5)
        np.savez(source, x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
        (begun / "config.yaml").write_text(yaml.safe_dump({**config, "data": str(source)}))
        message = "the data have changed since"
    before = path.read_bytes()
    with pytest.raises(RequestError, match=message):
        go_on(source, begun)
    assert path.read_bytes() == before


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(npz, tmp_path):
    wild = recipe("fast", epochs=2, batch_size=32, learning_rate=1e30, warmup=0.0)
    with pytest.raises(WorkError, match=r"the loss became \w+ in epoch 1, step \d, at learning rate \de\+\d\d"):
        train(NET, npz, tmp_path / "run", wild, options={"width": 4}, save_seconds=0)
    arrays, place = state.load(tmp_path / "run" / "checkpoints" / "state.safetensors")
    assert place["step"] >= 1 and all(np.isfinite(array).all() for array in arrays.values())


def test_a_signal_that_the_caller_ignores_stays_ignored():
    """A shell ignores Ctrl-C so for what a script starts with `&`; the training then ended with exit code 0."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert not interrupts
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_before_it_is_handed_on(npz, tmp_path, monkeypatch, number):
    class Handed(BaseException):
        pass

    def handler(number, frame):
        raise Handed

    former = signal.signal(number, handler)
    try:
        from resdense_keras.training import loop

        whole, taken = loop.Training.step, []

        def step(self, batch):
            taken.append(1)
            if len(taken) == 3:
                signal.raise_signal(number)
            return whole(self, batch)

        monkeypatch.setattr(loop.Training, "step", step)
        with pytest.raises(Handed):
            train(NET, npz, tmp_path / "run", RECIPE, options={"width": 4}, jit="off")
    finally:
        signal.signal(number, former)
    _, place = state.load(tmp_path / "run" / "checkpoints" / "state.safetensors")
    assert (place["epoch"], place["step"]) == (0, 3)


@pytest.mark.parametrize(
    "cuts, recipe",
    [pytest.param(("3", "5", "6"), "plain", marks=pytest.mark.long), (("4",), "new")],
    ids=["anywhere", "before the last, smaller batch, with all that a recipe may ask for"],
)
def test_a_run_that_is_cut_off_between_any_two_writes_ends_in_the_same_state(npz, tmp_path, cuts, recipe):
    """With dropout, mixing, a cosine and determinism; saves 3 and 12 are mid-epoch, 7 is the best before its state.

    The new ones: AdamW, balanced classes, the average, patience and TensorBoard's files.
    """
    check_resumed_run(npz, tmp_path, cuts, recipe=recipe)
    if recipe == "new":
        assert scalars(tmp_path / "cut") == scalars(tmp_path / "through") == figures(tmp_path / "through")


def scalars(run):
    """{(split, figure, epoch): value} of the event files of a run, as TensorBoard reads them."""
    import tensorflow as tf

    found = {}
    for path in sorted((run / "tensorboard").rglob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert (path.parent.name, value.tag, event.step) not in found
                found[path.parent.name, value.tag, event.step] = value.simple_value
    return found


def figures(run):
    """The same from metrics.jsonl, in the float32 of event files."""
    return {
        (split, name, record["epoch"]): float(np.float32(record[f"{prefix}{name}"]))
        for record in metrics(run)
        for split, prefix in (("train", ""), ("validation", "val_"))
        for name in ("loss", "accuracy")
    }


def check_resumed_run(npz, folder, cuts, precision="float32", devices="1", recipe="plain"):
    command = [sys.executable, RESUMED_RUN, npz, folder, precision, devices, recipe, *cuts]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["states"] == []
    assert found["metrics"][0] == found["metrics"][1] and len(found["metrics"][0]) == 3


@pytest.mark.slow
def test_a_run_on_two_devices_goes_on_to_the_same_bits_and_its_figures_are_those_of_the_saved_weights(npz, tmp_path):
    """Whose batch norms see each its own part of the batches."""
    import keras

    check_resumed_run(npz, tmp_path, ["3", "6"], devices="2")
    found = metrics(tmp_path / "cut")
    best = max(found, key=lambda record: record["val_accuracy"])
    held = data.load(npz).validation
    judged = evaluate(keras.saving.load_model(tmp_path / "cut" / "model.keras"), held)
    assert judged["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)


@pytest.mark.slow
def test_a_run_in_float16_scales_its_loss_and_goes_on_to_the_same_bits(npz, tmp_path):
    check_resumed_run(npz, tmp_path, ["4"], precision="mixed_float16")
    losses = [record["loss"] for record in metrics(tmp_path / "cut")]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_run_in_bfloat16_goes_on_to_the_same_bits_and_leaves_a_float32_net_that_exports(npz, tmp_path):
    import keras

    check_resumed_run(npz, tmp_path, ["4"], precision="mixed_bfloat16")
    config = read_config(tmp_path / "cut" / "config.yaml")
    assert config["precision"] == "mixed_bfloat16"
    path = tmp_path / "cut" / "model.keras"
    assert {layer.dtype_policy.name for layer in keras.saving.load_model(path).layers} == {"float32"}
    bundle = tmp_path / "bundle"
    export = [sys.executable, "-m", "resdense_cli", "export", path, "--schemes", "fp32", "--out", bundle]
    subprocess.run(export, check=True, capture_output=True)
    assert len(list(bundle.glob("*-fp32.tflite"))) == 1


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_in_the_same_state(tmp_path):
    """SIGKILL, until five have fallen mid-epoch or mid-write; fewer, and the test has shown nothing."""
    moments, struck = random.Random(1), {"mid-epoch": 0, "mid-write": 0, "between": 0}
    through, killed = tmp_path / "through", tmp_path / "killed"
    subprocess.run(command(through), check=True, capture_output=True)
    checkpoints = killed / "checkpoints"
    for _ in range(9):
        child = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_saves(child, checkpoints / "state.safetensors", moments.randint(2, 5))
        time.sleep(moments.uniform(0, 0.05))
        if child.poll() is not None:
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        _, place = state.load(checkpoints / "state.safetensors")
        writing = any(entry.name.startswith(".new-") for entry in checkpoints.iterdir())
        struck["mid-write" if writing else "mid-epoch" if place["step"] else "between"] += 1
        if struck["mid-epoch"] + struck["mid-write"] == 5:
            break
    subprocess.run(command(killed), check=True, capture_output=True)
    assert struck["mid-epoch"] + struck["mid-write"] >= 5, struck
    assert digest(killed) == digest(through)
    assert metrics(killed) == metrics(through) and len(metrics(through)) == 6
    assert files.verify_manifest(killed) == []


def command(out):
    net = ["resnet20", "--set", "dropout=0.2", "--data", "digits", "--epochs", "6"]  # at full width
    how = ["--augment", "shift,mixup", "--deterministic", "--save-seconds", "0", "--resume", "--out", str(out)]
    return [sys.executable, "-m", "resdense_cli", "train", *net, *how]


def wait_for_saves(child, path, count):
    """Returns when `path` has been replaced `count` times, or the child is gone."""
    seen = stamp(path)
    while count and child.poll() is None:
        if stamp(path) != seen:
            seen, count = stamp(path), count - 1
        time.sleep(0.002)


def stamp(path):
    return path.stat().st_ino if path.exists() else None


def digest(run):
    arrays, place = state.load(run / "checkpoints" / "state.safetensors")
    return state._digest(arrays, ""), place["epoch"], place["best"]


def metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_weights_of_layers_inside_of_layers_keep_apart_though_they_share_their_names():
    """Two layers of attention: each has query/kernel and the like."""
    from keras import Input, Model, layers

    def build():
        x = image = Input((6, 8))
        for name in ("first", "second"):
            x = layers.MultiHeadAttention(2, 4, name=name)(x, x)
        return Model(image, x)

    best, written = build(), build()
    arrays = runs._weights(best)
    assert len(arrays) == len(best.weights) and "query/kernel" in arrays
    for name, variable in runs._named(written).items():
        variable.assign(arrays[name])
    for one, other in zip(best.get_weights(), written.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_request_of_a_slim_run_is_refused_where_its_nets_are_not(tmp_path):
    request = TrainingRequest(model="tiny_slim50", recipe=recipe("slim", epochs=1), slim={"from": "tiny"})
    with pytest.raises(RequestError, match="this is the request of a `resdense slim` run") as refused:
        runs.run(request, tmp_path / "again")
    assert "`resdense slim` makes the slim net" in refused.value.hint and not list(tmp_path.iterdir())
