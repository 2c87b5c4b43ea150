"""Laws of measuring: what the figures mean, that the files take turns, and that it runs where TensorFlow is not."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from resdense_export import pipeline
from resdense_export.making.conversion import convert
from resdense_export.tflite import running, timing
from resdense_export.tflite.child import Child
from resdense_export.tflite.timing import describe, device, machine, measure, summary
from resdense_keras.errors import RequestError, WorkError

from ..conftest import toy_net


@pytest.fixture(scope="module")
def files(float_files, tmp_path_factory):
    """A small and a far larger net."""
    folder = tmp_path_factory.mktemp("measure")
    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(128, 3)(keras.layers.Conv2D(64, 3)(inputs))
    large = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    for name, content in (("small", float_files["dense"]), ("large", convert(large))):
        (folder / f"{name}.tflite").write_bytes(content)
    return [folder / "small.tflite", folder / "large.tflite"]


def test_measurement_has_the_keys_of_the_report_and_tells_files_apart(files):
    small, large = measure(files, rounds=9)
    assert small["p10_ms"] <= small["median_ms"] <= small["p90_ms"]
    assert 10 * small["median_ms"] < large["median_ms"]
    assert (small["rounds"], small["threads"], small["accelerator"]) == (9, 1, "xnnpack-cpu")
    assert small["runtime"].startswith("ai-edge-litert ")
    assert set(small) == {
        *("device", "runtime", "accelerator", "threads", "rounds", "median_ms", "p10_ms", "p90_ms", "drift")
    }


def test_every_round_runs_each_file_once_and_starts_with_another(files, monkeypatch):
    order = []

    class Recorded(running.Net):
        def __init__(self, path, threads):
            super().__init__(path, threads)
            invoke, name = self.interpreter.invoke, path.stem
            self.interpreter.invoke = lambda: (order.append(name), invoke())

    monkeypatch.setattr(running, "Net", Recorded)
    times = running.time_rounds(files, rounds=4)
    assert [len(row) for row in times] == [4, 4]
    turns = order[2 * running.WARM_UP :]
    assert turns[::2] == turns[1::2]  # one inference to refill the caches, one that counts
    assert turns[::2] == ["small", "large", "large", "small"] * 2


def test_summary_is_in_milliseconds_and_drift_is_last_third_over_first():
    found = summary([1e6] * 10 + [2e6] * 10 + [3e6] * 10)
    assert (found["median_ms"], found["p10_ms"], found["p90_ms"], found["drift"]) == (2, 1, 3, 3)
    assert summary([4e6] * 3)["drift"] == 1


def test_outputs_of_a_run_come_in_the_order_of_the_images(files, test_images):
    images = test_images[0][:20]
    forward, backward = running.run(files[0], images), running.run(files[0], images[::-1])
    np.testing.assert_array_equal(forward, backward[::-1])
    with Child() as child:
        np.testing.assert_array_equal(child.run(files[0], images), forward)
        np.testing.assert_array_equal(child.run(files[0], images.astype(np.float32)), forward)


def test_description_counts_bytes_and_operators(files):
    found = describe(files[0])
    assert found["bytes"] == files[0].stat().st_size
    assert found["operators"]["CONV_2D"] == 4
    assert found["delegated"]["partitions"] == 1


def test_operators_left_to_the_plain_kernels_are_named(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(4, 3)(inputs)[:, ::2, ::2])
    path = tmp_path / "net.tflite"
    path.write_bytes(convert(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))))
    assert describe(path)["delegated"] == {"nodes": 3, "partitions": 2, "left": {"STRIDED_SLICE": 1}}


@pytest.mark.parametrize(("count", "rounds", "threads"), [(0, 9, 1), (1, 2, 1), (1, 9, 0)])
def test_measurement_of_nothing_is_refused(count, rounds, threads, files):
    with pytest.raises(RequestError, match="at least 1, 3 and 1 are needed"):
        measure(files[:count], rounds, threads)


def test_file_that_is_missing_or_broken_is_named(files, tmp_path):
    with pytest.raises(RequestError, match=r"there is no file .*none\.tflite"):
        measure([files[0], tmp_path / "none.tflite"])
    (tmp_path / "broken.tflite").write_bytes(b"not a model")
    with pytest.raises(WorkError, match=r"broken\.tflite: ValueError: .*not a valid Flatbuffer"):
        measure([files[0], tmp_path / "broken.tflite"])


def test_stock_twin_that_does_not_open_costs_the_others_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("resdense_export.bundle.contents.stock", lambda *_: b"not a model")
    report = pipeline.export(toy_net("dense"), tmp_path / "out", ["fp32"], baseline=True, rounds=3)
    ours, theirs = report["models"][0]["exports"]
    assert len(ours["measurements"]) == 1
    assert (theirs["gates"]["opens"]["passed"], theirs["measurements"]) == (False, [])
    assert (tmp_path / "out" / ours["file"]).is_file() and (tmp_path / "out" / "report.html").is_file()


def test_machine_lists_cores_that_we_may_use_and_flags_that_kernels_ask_for():
    found = machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["cpu"] and set(found["flags"]) <= set(timing.KERNEL_FLAGS)
    assert device()["name"] == found["cpu"] and device() == device()


ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41

processor\t: 1
Features\t: fp asimd

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_arm_board_is_known_by_its_model_and_its_dot_product(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(ARM)
    monkeypatch.setattr(timing, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine()["cpu"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert machine()["flags"] == ["asimd", "asimddp", "asimdhp", "fphp"]


def test_measuring_and_checking_import_neither_tensorflow_nor_keras():
    script = """
import sys
import resdense_export.judging.check, resdense_export.tflite.timing, resdense_export.tflite.running
print(sorted({"keras", "tensorflow"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
