"""`resdense train` and `resdense eval` from outside: the flags, the class names on their way, what is refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resdense_cli.commands.eval import MOST_COUNTED, draw, table
from resdense_cli.main import main
from resdense_keras import files
from resdense_keras.training import evaluation

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 70), "red": (210, 50, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of coloured noise of several sizes; the test part lacks green."""
    root, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for part, names, count in (("train", COLOURS, 12), ("test", ("blue", "red"), 6)):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                size = random.integers(32, 48, 2)
                pixels = np.clip(random.normal(COLOURS[name], 40, (*size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def fine_tuned(folder, tmp_path_factory):
    """resnet20 on that folder, from digits' weights that were given as a file, all but the last stage frozen."""
    import resdense_keras

    work = tmp_path_factory.mktemp("fine")
    start = work / "start.weights.h5"
    resdense_keras.create("resnet20", width=4, classes=7).save_weights(start)
    arguments = ["resnet20", "--set", "width=4", "--weights", str(start), "--data", str(folder), "--freeze", "stage2"]
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments, "--recipe", "finetune", "--epochs", "1", "--out", str(work / "run")])
    assert stop.value.code == 0
    return work / "run", start


@pytest.mark.slow
def test_fine_tuning_leaves_the_frozen_stages_alone_batch_norms_included(fine_tuned):
    import keras

    import resdense_keras

    run, start = fine_tuned
    tuned = keras.saving.load_model(run / "model.keras")
    before = resdense_keras.create("resnet20", width=4, classes=7)
    before.load_weights(start)
    theirs = {weight.path: weight.numpy() for weight in before.weights}
    for weight in tuned.weights:
        if weight.path.startswith("predictions"):
            assert weight.shape[-1] == 3
            continue
        same = np.array_equal(weight.numpy(), theirs[weight.path])
        assert same == weight.path.startswith(("stem_", "stage1_", "stage2_")), weight.path
    assert all(layer.trainable for layer in tuned.layers)  # for whoever trains it further


def test_the_readmes_fine_tuning_in_python_runs(folder, resnet8, tmp_path):
    """Word for word, but for the folder, and a small net from its own weights in place of densenet121."""
    import resdense_keras

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    _, code = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    start = tmp_path / "start.weights.h5"
    resdense_keras.create(resnet8).save_weights(start)
    words = {"FOLDER": str(folder), "224": "32", "densenet121": resnet8, "imagenet": str(start)}
    for word, other in words.items():
        assert word in code
        code = code.replace(f'"{word}"', f'"{other}"').replace(f"={word})", f"={other})")
    names = {}
    with pytest.warns(UserWarning, match="the head does not fit|no images of these classes"):
        exec(code, names)
    assert names["model"].output_shape == (None, 3)
    assert not names["model"].get_layer("stage3_block1_conv1").trainable


def test_class_names_go_from_the_folders_to_the_runs_labels(fine_tuned):
    run, _ = fine_tuned
    assert (run / "labels.txt").read_text().split() == list(COLOURS)
    assert files.verify_manifest(run) == []


def test_export_of_a_finished_run_carries_its_labels(fine_tuned, resdense):
    code, _, err = resdense("export", fine_tuned[0] / "model.keras", "--schemes", "fp32", "--out", "bundle")
    assert code == 0, err
    assert Path("bundle/labels.txt").read_text().split() == list(COLOURS)


def test_eval_counts_a_class_that_the_test_images_lack(fine_tuned, folder, resdense):
    code, out, err = resdense(
        "eval", fine_tuned[0] / "model.keras", "--data", folder, "--json", "--plot", "confusion.png"
    )
    assert code == 0, err
    assert "warning: " in err and "test has no images of these classes: green" in err
    found = json.loads(out)
    assert set(found) == {"accuracy", "top5", "per_class", "confusion", "calibration_error", "images"}
    assert [(row["name"], row["images"]) for row in found["per_class"]] == [("blue", 6), ("green", 0), ("red", 6)]
    assert found["per_class"][1]["accuracy"] is None and found["images"] == 12
    assert Image.open(Path("confusion.png")).width > 400
    assert "confusion matrix: confusion.png\n" in err


@pytest.mark.parametrize("classes", [2, 5, 6, 13, 40])
def test_the_table_has_top_5_only_where_it_says_something_and_the_plot_of_any_size_is_drawn(classes, tmp_path):
    labels, random = np.arange(4 * classes) % classes, np.random.default_rng(0)
    result = evaluation.figures(random.dirichlet(np.ones(classes), len(labels)), labels, None)
    rows = list(table(result).columns[0].cells)
    assert ("top-5" in rows) == (classes > 5) and "top5" in result
    draw(tmp_path / "confusion.svg", result)
    drawn = (tmp_path / "confusion.svg").read_text()
    assert drawn.count("<!-- ") > classes**2 or classes > MOST_COUNTED


@pytest.mark.parametrize("name", ["conf", "conf.xyz", "plots/conf.txt", ".png", "."])
def test_a_plot_that_cannot_be_drawn_is_refused_before_the_net_is_opened(name, resdense, monkeypatch):
    monkeypatch.setattr("resdense_cli.commands.eval.start_tensorflow", lambda: pytest.fail("the work began"))
    code, out, err = resdense("eval", "absent.keras", "--data", "digits", "--plot", name)
    assert (code, out) == (2, "") and f"error: --plot {name} " in err and "a plot is written as .png" in err
    assert "hint: " in err and list(Path().iterdir()) == []


def test_a_folder_in_the_place_of_the_plot_is_refused_at_once(resdense):
    Path("conf.png").mkdir()
    code, _, err = resdense("eval", "absent.keras", "--data", "digits", "--plot", "conf.png")
    assert code == 2 and "error: --plot conf.png is a folder\nhint: choose another name" in err


def test_show_prints_a_recipe_with_its_sources_and_the_flags(resdense):
    code, out, _ = resdense("train", "densenet_bc100_12", "--recipe", "paper", "--epochs", "3", "--show")
    assert code == 0
    assert out.startswith("# paper-densenet\nepochs: 3  # as given\nbatch_size: 64  # Huang et al. 2017")


def test_show_of_a_config_cites_no_other_recipe(resdense):
    Path("config.yaml").write_text(json.dumps(STORED | {"recipe": {"base": "fast"}}))
    code, out, _ = resdense("train", "config.yaml", "--show")
    first, *lines = out.splitlines()
    assert (code, first) == (0, "# config.yaml")
    assert all(line.endswith("  # as given") for line in lines)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["resnet20"], "--data SPEC is missing"),
        (["resnet20", "--data", "digits"], "--out RUN is missing"),
        (["resnet2", "--data", "digits", "--out", "run"], "unknown model 'resnet2'"),
        (["resnet20", "--data", "digts", "--out", "run"], "did you mean `digits`"),
        (["resnet20", "--data", "digits", "--out", "run", "--recipe", "fats"], "did you mean `fast`"),
        (["resnet20", "--data", "digits", "--out", "run", "--augment", "mixp"], "did you mean `mixup`"),
        (["resnet20", "--data", "digits", "--out", "run", "--optimizer", "adam"], "did you mean `adamw`"),
        (["resnet20", "--data", "digits", "--out", "run", "--class-weights", "balance"], "did you mean `balanced`"),
        (["resnet20", "--data", "digits", "--out", "run", "--ema", "1"], "ema=1.0 was given; it must be a number from"),
        (["resnet20", "--data", "digits", "--out", "run", "--image-size", "0"], "--image-size 0 was given"),
        (["resnet20", "--data", "digits", "--out", "run", "--precision", "float8"], "unknown precision 'float8'"),
        (["resnet20", "--data", "digits", "--out", "run", "--freeze", "stage9"], "known: stem, stage1, stage2, stage3"),
        (["resnet20", "--data", "digits", "--out", "run", "--set", "classes=3"], "a model of 3 outputs"),
        (["resnet20", "--data", "digits", "--out", "run", "--weights", "none.h5"], "none.h5"),
        (["none.yaml", "--out", "run"], "none.yaml cannot be read"),
    ],
)
def test_a_wrong_request_is_one_error_and_nothing_is_left(resdense, tmp_path, arguments, message):
    code, out, err = resdense("train", *arguments)
    assert (code, out) == (2, "")
    assert message in err and "hint: " in err and "Traceback" not in err
    assert [path for path in tmp_path.iterdir() if path.is_file() or any(path.iterdir())] == []


@pytest.mark.slow
def test_a_run_that_left_out_broken_images_is_repeated_by_its_config(resdense, folder, tmp_path):
    spoiled = tmp_path / "spoiled"
    shutil.copytree(folder, spoiled)
    for path in list(spoiled.rglob("*.png")):
        for number in range(3):
            shutil.copy(path, path.with_name(f"{number}-{path.name}"))
    (spoiled / "train" / "red" / "0.png").write_bytes(b"not an image")
    wanted = ("resnet20", "--set", "width=4", "--data", spoiled, "--epochs", "1", "--jit", "off")
    assert resdense("train", *wanted, "--out", "refused")[0] == 2
    assert resdense("train", *wanted, "--on-bad-image", "skip", "--out", "one")[0] == 0
    assert resdense("train", "one/config.yaml", "--out", "two")[0] == 0
    assert Path("one/config.yaml").read_text() == Path("two/config.yaml").read_text()


STORED = {
    "schema": "resdense-run/1",
    "model": "resnet20",
    "options": {"width": 4, "dropout": 0.2},
    "weights": "start.h5",
    "freeze": "stem",
    "data": "photos",
    "image_size": [24, 32],
    "on_bad_image": "skip",
    "held_out": 0.05,
    "recipe": {"epochs": 7, "batch_size": 32, "learning_rate": 0.3},
    "seed": 5,
    "deterministic": True,
    "precision": "mixed_bfloat16",
    "jit": "off",
    "devices": "8 synchronized",
}


@pytest.fixture
def asked(resdense, monkeypatch):
    """What `training.run` and `devices.choose` are asked for by a run's config.yaml and flags."""
    from types import SimpleNamespace

    from resdense_keras import training
    from resdense_keras.training import devices
    from resdense_keras.training.request import FIELDS

    found = {}

    def run(request, out, *, devices, **how):
        found.update({key: getattr(request, key) for key in FIELDS}, devices=devices)

    def choose(*given, **options):
        return SimpleNamespace(given=given, options=options, name="chosen")

    monkeypatch.setattr(training, "run", run)
    monkeypatch.setattr(training, "be_deterministic", lambda: found.update(was_made_deterministic=True))
    monkeypatch.setattr(devices, "choose", choose)

    def ask(*flags, **stored):
        Path("config.yaml").write_text(json.dumps({**STORED, **stored}))  # JSON is YAML
        found.clear()
        code, _, err = resdense("train", "config.yaml", "--out", "run", *flags)
        return found if code == 0 else err

    return ask


def test_a_config_repeats_all_that_it_stores_and_does_as_its_time_did(asked):
    found = asked()
    kept = {key: value for key, value in STORED.items() if key not in ("schema", "recipe", "devices")}
    assert {key: found[key] for key in kept} == kept
    assert {key: getattr(found["recipe"], key) for key in STORED["recipe"]} == STORED["recipe"]
    assert found["devices"].given == ("8",) and found["devices"].options["synchronized"]
    assert (found["rules"], found["resize"]) == (1, None) and found["was_made_deterministic"]


def test_flags_change_a_config_key_by_key(asked):
    found = asked("--seed", "0", "--set", "dropout=0.1", "--set", "shortcut=B", "--epochs", "3", "--devices", "4")
    assert found["seed"] == 0
    assert found["options"] == {"width": 4, "dropout": 0.1, "shortcut": "B"}
    assert (found["recipe"].epochs, found["recipe"].batch_size) == (3, 32)
    assert found["devices"].given[0] == "4" and found["devices"].options["synchronized"]


def test_flags_take_back_what_a_config_set(asked):
    recipe = {**STORED["recipe"], "class_weights": "balanced", "ema": 0.9, "patience": 3, "augment": ["mirror"]}
    found = asked(
        *("--weights", "none", "--freeze", "none", "--image-size", "none", "--set", "dropout=", "--augment", "none"),
        *("--no-deterministic", "--no-tensorboard", "--no-sync-batch-norm", "--devices", "1"),
        *("--class-weights", "none", "--ema", "0", "--patience", "0"),
        recipe=recipe,
        tensorboard=True,
    )
    assert [found[key] for key in ("weights", "freeze", "image_size")] == [None] * 3
    assert found["options"] == {"width": 4}
    assert not found["deterministic"] and not found["tensorboard"] and "was_made_deterministic" not in found
    assert found["devices"].given == ("1",) and not found["devices"].options["synchronized"]
    chosen = found["recipe"]
    assert (chosen.class_weights, chosen.ema, chosen.patience, chosen.augment) == (None, 0, 0, ())


def test_flags_reach_what_a_recipe_may_ask_for(asked):
    found = asked(
        *("--optimizer", "adamw", "--class-weights", "balanced", "--ema", "0.99", "--patience", "4", "--tensorboard")
    )
    chosen = found["recipe"]
    assert (chosen.optimizer, chosen.class_weights, chosen.ema, chosen.patience) == ("adamw", "balanced", 0.99, 4)
    assert found["tensorboard"]
    assert (asked("--slimmable")["recipe"].sparsity, asked("--no-slimmable")["recipe"].sparsity) == (1e-5, 0.0)


def test_a_config_of_one_device_or_of_several_hosts_is_no_number_of_devices(asked):
    assert asked(devices="one")["devices"].given == (None,)
    assert asked(devices="1")["devices"].name == "1"  # `--devices all` where there is one
    assert "belongs to a run with devices 8 on 2 hosts, and --coordinator is missing\nhint: " in asked(
        devices="8 on 2 hosts"
    )


@pytest.mark.parametrize("spec", ["digits", "~/colours"])
def test_the_size_of_the_net_is_for_folders_alone_and_for_all_of_them(folder, resdense, tmp_path, monkeypatch, spec):
    """A folder called as the data set lies in the working folder, such as the run that is to go on."""
    from resdense_export import sources

    Path("digits").mkdir()
    Path("colours").symlink_to(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    net = sources.model({"digits": "resnet20_digits", "~/colours": "resnet20"}[spec])
    assert sources.dataset(spec, net).image_shape == net.image_shape
    code, _, err = resdense("train", "resnet20", "--data", spec, "--out", "run", "--set", "classes=2")
    assert code == 2 and "a model of 2 outputs" in err  # and not that the images are of another size


@pytest.mark.filterwarnings("ignore:.*has no images of these classes")
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_truncated_file_of_a_large_folder_stops_the_work_by_its_name(
    fine_tuned, folder, resdense, tmp_path, monkeypatch, part
):
    """Large enough that headers alone are read before: in a step, in the judgement of an epoch, and in `eval`."""
    from resdense_keras import data
    from resdense_keras.data import memory

    monkeypatch.setattr(memory, "SHARE", 0)
    monkeypatch.setattr(data.folder, "FULL_SCAN_FILES", 0)
    photos, (run, start) = shutil.copytree(folder, tmp_path / "photos"), fine_tuned
    bad = data.load(photos, image_size=32).splits[part].paths[1]
    bad.write_bytes(bad.read_bytes()[:-60])
    tune = ["train", "resnet20", "--set", "width=4", "--weights", start, "--recipe", "finetune", "--epochs", "1"]
    tune += ["--jit", "off", "--out", "run", "--data", photos]
    code, out, err = resdense(*(["eval", run / "model.keras", "--data", photos] if part == "test" else tune))
    error, hint = err.splitlines()[-2:]
    assert (code, out) == (1, "")
    assert error.startswith(f"error: {bad}: is damaged")
    assert hint.startswith("hint: restore the file and go on, or begin again with `--on-bad-image skip`")
    if part == "train":
        code, _, err = resdense(*tune, "--scan", "--resume")
        assert code == 2 and f"1 of 48 image files in {photos} cannot be used:\n{bad}: is damaged" in err


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_a_stopped_training_saves_exits_with_its_code_and_goes_on(tmp_path, number, code):
    command = [sys.executable, "-m", "resdense_cli", "train", "resnet20", "--set", "width=4", "--data", "digits"]
    command += ["--epochs", "400", "--jit", "off", "--out", str(tmp_path / "run")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("epoch 1 "):
            break
    time.sleep(0.3)
    child.send_signal(number)
    rest = child.stderr.read()
    assert (child.wait(), "Traceback" in rest) == (code, False)
    assert "the same command with `--resume` continues it" in rest
    from resdense_keras.training import state

    _, place = state.load(tmp_path / "run" / "checkpoints" / "state.safetensors")
    assert place["step"] > 0 or place["epoch"] > 1
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == place["epoch"]
