"""The command line from outside: exit codes, what goes to which stream, and that nothing half-made is left."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from resdense_cli.commands import compare
from resdense_cli.main import main
from resdense_keras import files


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A whole `resdense compare` of one narrow net: its folder, its exit code, what it said on stderr."""
    out = tmp_path_factory.mktemp("compared") / "a report with 'quotes' é"
    command = ["compare", "resnet20", "--set", "width=8", "--epochs", "4", "--seeds", "2", "--out", str(out)]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as said,
        pytest.raises(SystemExit) as stop,
    ):
        main(command)
    # After so short a training a file may fail a gate (exit 1); the report is there and says it.
    assert stop.value.code in (0, 1) and "this is a defect" not in said.getvalue(), said.getvalue()
    return out, stop.value.code, said.getvalue()


def test_compare_leaves_a_whole_folder(compared):
    out, code, _ = compared
    report = json.loads((out / "report.json").read_text())
    (net,) = report["models"]
    assert {path.name for path in out.iterdir() if path.suffix == ".html"} == {"report.html"}
    assert [path for path in out.parent.iterdir() if path != out] == []  # no temporary folder, no lock
    assert len(net["history"]) == net["epochs"] == 4
    assert len(net["accuracy_by_seed"]) == 2 and net["accuracy"] == net["accuracy_by_seed"][0] > 0.8
    assert report["data"]["test"] >= 360
    for export in net["exports"]:
        assert (out / export["file"]).stat().st_size == export["bytes"]
        assert export["measurements"][0]["median_ms"] > 0
    assert {export["scheme"] for export in net["exports"]} | set(net["rejected"]) == {"fp32", "fp16", "dynamic", "int8"}
    assert (code == 0) == (not net["rejected"])


def test_compare_says_what_it_does_in_plain_lines_where_there_is_no_terminal(compared):
    lines = [line for line in compared[2].splitlines() if line.startswith("[")]
    total = len(lines)
    assert [line.split("]")[0] for line in lines] == [f"[{number}/{total}" for number in range(1, total + 1)]


def test_a_bundle_holds_what_an_app_needs(compared):
    bundle = compared[0] / "resnet20"
    model = json.loads((bundle / "model.json").read_text())
    golden = json.loads((bundle / "golden" / "golden.json").read_text())
    assert (bundle / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
    assert model["input"]["shape"] == [1, 8, 8, 1] and model["input"]["dtype"] == "float32"
    assert not set(model["calibration_indices"]) & set(model["evaluation_indices"])
    assert len(golden["images"]) == 20 and {row["label"] for row in golden["images"]} == set(range(10))
    assert files.verify_manifest(bundle) == []


def test_golden_images_replay(compared):
    import numpy as np
    from PIL import Image

    from resdense_export.tflite import running

    bundle = compared[0] / "resnet20"
    golden = json.loads((bundle / "golden" / "golden.json").read_text())
    images = np.stack([np.asarray(Image.open(bundle / "golden" / row["image"])) for row in golden["images"]])[..., None]
    for name in golden["images"][0]["probabilities"]:
        expected = [row["probabilities"][name] for row in golden["images"]]
        np.testing.assert_allclose(running.run(bundle / name, images), expected, atol=1e-5)


def test_check_passes_a_bundle_and_finds_one_flipped_bit(compared, resdense, tmp_path):
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(compared[0] / "resnet20", bundle)
    code, out, err = resdense("check", bundle, "--json")
    assert (code, err) == (0, "")
    assert all(finding["problems"] == [] for finding in json.loads(out))
    file = next(bundle.glob("*.tflite"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    code, out, err = resdense("check", bundle)
    assert code == 1 and "sha256" in out and "hint:" in err


def test_report_is_rebuilt_from_its_json(compared, resdense):
    page = compared[0] / "report.html"
    before = page.read_bytes()
    page.unlink()
    code, out, err = resdense("report", compared[0])
    assert (code, err) == (0, "") and out.strip() == str(page)
    assert page.read_bytes() == before


def test_bench_times_files_side_by_side(compared, resdense):
    paths = sorted((compared[0] / "resnet20").glob("*.tflite"))
    code, out, _ = resdense("bench", *paths, "--rounds", "5", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["file"] for row in rows] == [str(path) for path in paths]
    assert all(row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] for row in rows)


def test_an_exported_keras_file_and_an_untrained_net(resdense, tmp_path):
    import keras

    import resdense_keras

    keras.utils.set_random_seed(0)
    resdense_keras.cifar_resnet(depth=8, width=4, input_shape=(16, 16, 3)).save(tmp_path / "mine.keras")
    code, out, err = resdense("export", "mine.keras", "--out", "bundle", "--schemes", "fp32,fp16", "--json")
    assert code == 0, err
    (net,) = json.loads(out)["models"]
    assert net["family"] == "resnet" and [export["accuracy"] for export in net["exports"]] == [None, None]
    assert json.loads(Path("bundle/model.json").read_text())["preprocessing"] == "unknown"
    assert not Path("bundle/labels.txt").exists()


def test_a_net_with_weights_that_only_guesses_is_warned_of(resdense, tmp_path):
    import resdense_keras

    net = resdense_keras.resnet20_digits()
    net.layers[-1].set_weights([0 * weights for weights in net.layers[-1].get_weights()])  # every digit is a 0
    net.save_weights(tmp_path / "guess.weights.h5")
    data = ("--data", "digits", "--schemes", "fp32")
    code, _, err = resdense("export", "resnet20_digits", "--weights", "guess.weights.h5", *data, "--out", "a")
    assert code == 0 and "of 364 test images right, no better than chance" in err
    assert "is no better than chance" in Path("a/report.html").read_text()


def test_a_second_run_is_refused_and_the_old_folder_stays(compared, resdense):
    before = sorted(path.name for path in compared[0].iterdir())
    code, out, err = resdense("compare", "resnet20", "--out", compared[0])
    assert (code, out) == (2, "") and "hint:" in err and "--overwrite" in err
    assert sorted(path.name for path in compared[0].iterdir()) == before


def test_of_two_runs_at_once_the_second_names_the_first(resdense, tmp_path):
    program = (
        "import sys, time\nfrom resdense_keras import files\n"
        "with files.lock(sys.argv[1]):\n print('held', flush=True)\n time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as first:
        first.stdout.readline()
        code, out, err = resdense("compare", "resnet20", "--out", "out")
        first.kill()
    assert (code, out) == (2, "") and str(first.pid) in err


WRONG = [
    (["compare", "resnet21"], "unknown model 'resnet21'", "resnet20"),
    (["compare", "--data", "digts"], "unknown data spec 'digts'", "digits"),
    (["compare", "--data", "missing/data.npz"], "missing/data.npz", "path"),
    (["compare", "--set", "widht=8"], "no argument 'widht'", "width"),
    (["compare", "resnet20", "densenet_bc22_24", "--set", "width=8"], "densenet_bc22_24() has no argument 'width'", ""),
    (["compare", "--set", "input_shape=32"], "it must be (height, width, channels)", ""),
    (["compare", "--augment", "mirorr"], "unknown augmentation 'mirorr'", "`mirror`"),
    (["compare", "--seed", "4294967295"], "seed=4294967297 was given", ""),
    (["compare", "resnet20", "resnet20_digits"], "different channels: resnet20 3, resnet20_digits 1", ""),
    (["compare", "--set", "width"], "--set 'width' was given", "NAME=VALUE"),
    (["compare", "--epochs", "0"], "'--epochs'", "--help"),
    (["compare", "--epoch", "1"], "No such option", "--epochs"),
    (["export", "resnet20", "--out", "x", "--schemes", "int9"], "unknown scheme 'int9'", "int8"),
    (["export", "resnet20", "--out", "x", "--schemes", "int8"], "int8", "--data"),
    (["export", "missing.keras", "--out", "x"], "missing.keras", "catalogue"),
    (["export", "resnet20", "--out", "x", "--input", "int8"], "unknown input type 'int8'", "uint8"),
    (["export", "resnet20", "--out", "x", "--budget", "0.1"], "int8, which is not among the schemes", "--data SPEC"),
    (["export", "resnet20", "--out", "x", "--data", "digits", "--budget", "-1"], "budget=-1.0", ""),
    (["export", "resnet20", "--out", "x", "--preprocessing", "cifar"], "unknown preprocessing 'cifar'", "cifar10"),
    (["export", "resnet20", "--out", "x", "--softmax"], "are probabilities already", "leave it out"),
    (["export", "resnet20", "--out", "x", "--weights", "imagenet"], "imagenet", ""),
    (["export", "resnet20", "--out", "x", "--max-drop", "nan"], "max_drop=nan", "hint: "),
    (["export", "resnet20", "--out", "x", "--min-agreement", "98"], "min_agreement=98", "hint: "),
    (
        ["export", "resnet20", "--out", "x", "--labels", "missing.txt"],
        "missing.txt: No such file",
        "one class name per line",
    ),
    (["export", "resnet20", "--out", "x", "--set", "classes=ten"], "classes='ten' was given", "hint: "),
    (["models", "resnext*"], "unknown model 'resnext*'", "resnet"),
    (["check", "missing.tflite"], "missing.tflite", "hint"),
    (["bench", "missing.tflite"], "missing.tflite", ""),
    (["report", "missing"], "report.json", "compare"),
    (["comprae"], "No such command 'comprae'", "compare"),
]


@pytest.mark.parametrize("arguments, message, hint", WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_a_wrong_request_exits_2_and_writes_nothing(resdense, tmp_path, arguments, message, hint):
    code, out, err = resdense(*arguments)
    assert (code, out) == (2, "")
    assert message in err and hint in err and "Traceback" not in err
    assert "hint: " in err
    assert list(tmp_path.iterdir()) == []


def two_inputs():
    from keras import Input, Model, layers

    ends = [Input((8, 8, 3), name=name) for name in ("left", "right")]
    return Model(ends, layers.GlobalAveragePooling2D()(layers.Add()(ends)))


def own_class():
    from keras import Input, Model, layers

    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = Input((8, 8, 3))
    return Model(inputs, layers.GlobalAveragePooling2D()(Twice(name="doubled")(inputs)))


def unknown_operator():
    from keras import Input, Model, layers, ops

    inputs = Input((8, 8, 3))
    return Model(inputs, layers.GlobalAveragePooling2D()(ops.erfinv(layers.Rescaling(1 / 300)(inputs))))


FOREIGN = {  # build: what the error must name
    two_inputs: "its inputs are left, right",
    own_class: "layer 'doubled' of class Twice of foreign.keras is not Keras' own",
    unknown_operator: "ops: Erfinv; in erfinv/Erfinv",
}


@pytest.mark.parametrize("build", FOREIGN, ids=lambda build: build.__name__)
def test_a_foreign_net_that_cannot_be_exported_exits_2_and_names_the_layer(resdense, tmp_path, build):
    build().save(tmp_path / "foreign.keras")
    code, out, err = resdense("export", "foreign.keras", "--out", "bundle", "--schemes", "fp32")
    assert (code, out) == (2, ""), err
    assert FOREIGN[build] in err and "hint: " in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.keras"]


def test_a_keras_json_of_other_numbers_changes_nothing():
    import keras

    from resdense_cli.output import start_tensorflow

    keras.config.set_floatx("float16")
    keras.config.set_epsilon(1e-3)
    keras.config.set_image_data_format("channels_first")
    start_tensorflow()
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.image_data_format() == "channels_last" and keras.layers.Dense(1).compute_dtype == "float32"


def test_a_stream_that_the_shell_closed_is_no_defect(monkeypatch, capsys):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        with pytest.raises(SystemExit) as stop:
            main(["models", "resnet20"])
        assert stop.value.code == 0
        monkeypatch.undo()
    assert "error" not in capsys.readouterr().err


def test_what_the_machine_refuses_is_failed_work_and_no_defect(monkeypatch, capsys):
    for error in (OSError(28, "No space left", "/disk/a"), PermissionError(13, "Permission denied"), MemoryError()):

        def fails(*_, error=error, **__):
            raise error

        monkeypatch.setattr("resdense_cli.main.app", fails)
        with pytest.raises(SystemExit) as stop:
            main(["models"])
        said = capsys.readouterr().err
        assert stop.value.code == 1 and "defect" not in said and "hint: " in said


def test_a_warning_is_a_line_in_words(resdense, tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "notes.txt").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "cat" / "1.png")
    code, _, err = resdense("compare", "--data", "images")
    assert code == 2
    assert "warning: images: 1 files are not images by their suffix: notes.txt\n" in err and ".py" not in err


def test_models_lists_what_can_be_built(resdense):
    code, out, _ = resdense("models", "densenet1*", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["name"] for row in rows][:2] == ["densenet121", "densenet169"]
    assert set(rows[0]) == {
        *("name", "family", "parameters", "trainable", "macs", "activation_bytes", "input_shape", "classes", "weights")
    }
    code, out, _ = resdense("models", "resnet20")
    assert code == 0 and "resnet20" in out and "40.6" in out


def test_every_net_has_a_line_that_begins_with_its_whole_name(resdense):
    import resdense_keras

    _, out, _ = resdense("models")
    assert [line.split()[0] for line in out.splitlines()] == ["name", *resdense_keras.list_models()]


def test_models_counts_a_net_that_the_table_lacks(resdense, monkeypatch):
    from resdense_keras import catalog

    lacking = {name: row for name, row in catalog.sizes().items() if name != "plain20"}
    _, known, _ = resdense("models", "plain20", "--json")
    monkeypatch.setattr(catalog, "sizes", lambda: lacking)
    assert resdense("models", "plain20", "--json")[:2] == (0, known)


def test_models_counts_a_changed_net(resdense):
    _, out, _ = resdense("models", "densenet_bc40_12", "--set", "growth_rate=36", "--json")
    assert json.loads(out)[0]["trainable"] == 1_542_682


def test_check_names_the_faults_of_a_foreign_file(resdense, tmp_path):
    (tmp_path / "noise.tflite").write_bytes(bytes(range(256)) * 16)
    code, out, err = resdense("check", "noise.tflite")
    assert code == 1 and "noise.tflite" in out and "Traceback" not in err


def test_a_read_only_or_full_place_fails_before_the_work(resdense, tmp_path):
    """A tmpfs of 1 MB: too little for any run."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        started = time.monotonic()
        code, out, err = resdense("compare", "resnet20", "--out", place / "out")
        assert (code, out) == (1, "") and "space" in err and "hint:" in err
        assert time.monotonic() - started < 30 and list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("command", [["compare"], ["export", "resnet20"]], ids=" ".join)
def test_a_place_that_cannot_be_written_is_known_before_tensorflow_is_loaded(resdense, tmp_path, monkeypatch, command):
    (tmp_path / "file").touch()
    monkeypatch.setattr(compare, "start_tensorflow", lambda: pytest.fail("TensorFlow was loaded first"))
    code, out, err = resdense(*command, "--out", "file/out")
    assert (code, out) == (1, "") and "a part of this path is a file" in err and "hint: " in err


def test_a_compare_stops_though_something_swallows_the_ctrl_c(resdense, tmp_path, monkeypatch):
    """As TensorFlow does with one that comes while it traces a net: the training asks for it after each step.

    And it trains on what `eval` and `check --data` leave to training, whatever the seed.
    """
    from resdense_keras import data
    from resdense_keras.training import loop

    step, judged = loop.Training.step, []

    def swallowing(training, batch):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        judged.append(training.dataset.test.indices)
        return step(training, batch)

    monkeypatch.setattr(loop.Training, "step", swallowing)
    asked = ("compare", "resnet20", "--set", "width=2", "--augment", "none", "--seed", "5", "--out", "out")
    code, out, err = resdense(*asked)
    assert (code, out) == (130, "") and "error: stopped\nhint: " in err and "augmentation: none" in err
    assert "seed 1 of 3" in err and "seed 2" not in err and len(judged) == 1
    assert judged[0].tolist() == data.load("digits").test.indices.tolist()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("stop, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nothing(tmp_path, stop, code):
    command = [sys.executable, "-m", "resdense_cli", "compare", "resnet20", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert any("train resnet20" in line for line in process.stderr)
        time.sleep(3)  # somewhere in the first training
        process.send_signal(stop)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    assert "error: stopped\nhint: " in err
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops_with_epoch_step_and_rate():
    import keras
    import numpy as np

    from resdense_keras import WorkError, cifar_resnet, data, training

    dataset = data.load("digits")
    recipe = training.recipe("compare", learning_rate=1e30, warmup=0, epochs=2)
    keras.utils.set_random_seed(0)
    model = cifar_resnet(depth=8, input_shape=(8, 8, 1))
    with np.errstate(all="ignore"), pytest.raises(WorkError, match=r"epoch 1, step \d+, at learning rate 9\.\d+e\+29"):
        training.fit(model, dataset, recipe)
