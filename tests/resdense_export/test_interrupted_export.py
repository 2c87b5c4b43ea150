"""What has a final name is whole: an export that is killed, runs out of disk or meets another one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from resdense_cli.commands.check import inspect
from resdense_export import pipeline
from resdense_export.bundle import request
from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

# Exports again and again, so that a kill meets the work and not the start of TensorFlow.
WORKER = """
import sys
from resdense_export import pipeline, sources
from resdense_keras import data
net, dataset = sources.model("resnet20_digits", "digits"), data.load("digits")
while True:
    pipeline.export(net.model, sys.argv[1], ["fp32", "int8"], dataset=dataset, preprocessing=net.preprocessing,
                    overwrite=True, rounds=3)
    print("done", flush=True)
"""


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_whole(folder):
    assert files.verify_manifest(folder) == []
    assert all(finding["problems"] == [] for finding in inspect([folder]))
    report = json.loads((folder / "report.json").read_text())
    assert {row["file"] for row in report["models"][0]["exports"]} == {path.name for path in folder.glob("*.tflite")}


@pytest.mark.slow
def test_export_killed_at_random_moments_leaves_a_whole_bundle_or_none(tmp_path):
    out, moments = tmp_path / "out", random.Random(0)
    for kill in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as worker:
            if kill == 0:
                time.sleep(moments.uniform(5, 15))  # perhaps before the first bundle is there
            else:
                assert worker.stdout.readline() == "done\n"
                time.sleep(moments.uniform(0, 8))
            worker.send_signal(signal.SIGKILL)
        if out.exists():
            assert_whole(out)
    assert out.exists()
    pipeline_again = subprocess.run(
        [sys.executable, "-m", "resdense_cli", "export", "resnet20_digits", "--weights", "digits", "--out", str(out),
         "--schemes", "fp32", "--overwrite"], capture_output=True, text=True)  # fmt: skip
    assert pipeline_again.returncode == 0, pipeline_again.stderr
    assert_whole(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # what the killed runs had begun is gone


@contextlib.contextmanager
def mounted(place, options):
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_full_disk_keeps_the_old_bundle_and_leaves_no_part_of_the_new_one(nets, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(request, "NEED_BYTES", 0)  # else the export would not even begin
    with mounted(tmp_path / "small", "size=1m") as place:
        pipeline.export(nets["dense"], place / "out", ["fp32"], dataset=dataset, rounds=3)
        before = tree(place)
        used = sum(map(len, before.values()))
        (place / "filler").write_bytes(bytes((1 << 20) - used - (160 << 10)))
        with pytest.raises(WorkError, match="no space left on the disk") as error:
            pipeline.export(nets["residual"], place / "out", dataset=dataset, overwrite=True, rounds=3)
        assert error.value.hint
        (place / "filler").unlink()
        assert tree(place) == before
        assert_whole(place / "out")


def test_read_only_folder_is_refused_at_once(nets, tmp_path):
    with mounted(tmp_path / "fixed", "size=1m,ro") as place:
        start = time.monotonic()
        with pytest.raises(WorkError, match="the file system is read-only") as error:
            pipeline.export(nets["dense"], place / "out", ["fp32"])
        assert time.monotonic() - start < 3 and error.value.hint


def test_of_two_exports_into_one_folder_the_second_names_the_first(nets, tmp_path):
    with files.lock(tmp_path / "out"), pytest.raises(RequestError, match=f"process {os.getpid()}"):
        pipeline.export(nets["dense"], tmp_path / "out", ["fp32"])
    assert not (tmp_path / "out").exists()


def test_a_hundred_of_a_hundred_flipped_bits_are_found_through_the_manifest(bundle, tmp_path):
    import shutil

    copy, draw = tmp_path / "bundle", random.Random(0)
    shutil.copytree(bundle, copy)
    whole = tree(copy)
    known = json.loads(whole["manifest.json"])["files"]
    for _ in range(100):
        name = draw.choice([name for name in known if name.endswith(".tflite")])
        damaged = bytearray(whole[name])
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        (copy / name).write_bytes(damaged)
        assert files.verify_manifest(copy) == [f"{name}: its sha256 is not the manifest's"]
        (copy / name).write_bytes(whole[name])
    assert files.verify_manifest(copy) == []


def test_the_same_export_gives_the_same_files(nets, dataset, bundle, tmp_path):
    inside = {"scale": [1 / 64], "offset": [-2]}
    pipeline.export(nets["dense"], tmp_path / "again", dataset=dataset, preprocessing=inside, rounds=3)
    first, second = ({name: data for name, data in tree(folder).items() if not name.startswith("report.")}
                     for folder in (bundle, tmp_path / "again"))  # fmt: skip
    changed = {name for name in first if first[name] != second.get(name)}
    assert changed <= {"model.json", "MODEL_CARD.md", "manifest.json"}  # which tell what was measured
    assert {name for name in first if name.endswith(".tflite")} and set(first) == set(second)
