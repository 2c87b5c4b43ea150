"""What a phone may send, rule by rule, and where it goes."""

import copy
import json
import math

import pytest

from resdense_export.phone import results, site
from resdense_export.report import read_report, rebuild
from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

SCRIPT = "<script>window.hacked=1</script>"


def changed(result, path, value):
    """The result with one value replaced."""
    result, *keys = copy.deepcopy(result), *path
    place = result
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return result


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("files", 0, "median_ms"), -1.0),
        (("files", 0, "median_ms"), 0),
        (("files", 0, "median_ms"), 1e-9),
        (("files", 0, "p90_ms"), 1e9),
        (("files", 0, "p90_ms"), math.inf),
        (("files", 0, "p10_ms"), 1.6),  # above the median
        (("files", 0, "p90_ms"), "1.7"),
        (("files", 0, "median_ms"), True),
        (("files", 0, "median_ms"), None),
        (("files", 0, "rounds"), 10**9),
        (("files", 0, "rounds"), 2),
        (("files", 0, "accelerator"), "abacus"),
        (("files", 0, "golden"), {"images": 1, "same_top1": 2, "right": 1, "max_difference": 0}),
        (("files", 0, "more"), 1),
        (("files", 0, "sha256"), "0"),
        (("files",), []),
        (("files",), [1]),
        (("device", "name"), ""),
        (("device", "name"), "x" * 101),
        (("device", "name"), "a\nb"),
        (("device", "name"), "a\n"),
        (("device", "name"), "\u202egnp.exe"),
        (("device", "name"), "\ud800"),
        (("device", "id"), "chosen"),
        (("device", "kind"), "toaster"),
        (("device", "cores"), 0),
        (("threads",), 0),
        (("id",), "../../x"),
        (("schema",), "resdense-phone/2"),
        (("more",), 1),
    ],
)
def test_what_is_no_result_is_wrong(bundle, make, path, value):
    with pytest.raises(results.Wrong):
        results.parse(changed(make.result(bundle), path, value))


@pytest.mark.parametrize("value", [None, 1, "x", [], [[]], {}])
def test_what_is_no_object_is_wrong(value):
    with pytest.raises(results.Wrong, match="the result is wrong at its top"):
        results.parse(value)


def test_nan_is_wrong(bundle, make):
    """JSON has no NaN; should one come through, it is in no order with the others."""
    with pytest.raises(results.Wrong):
        results.parse(changed(make.result(bundle), ("files", 0, "median_ms"), math.nan))


def test_a_file_that_is_not_served_is_wrong_and_nothing_is_kept(bundle, make):
    before = (bundle / "report.json").read_bytes()
    served = site.read(bundle)
    for path, value in ((("files", 1, "sha256"), "0" * 64), (("files", 1, "file"), "../report.json")):
        with pytest.raises(results.Wrong, match="is not served here"):
            results.append(served, changed(make.result(bundle), path, value))
    assert (bundle / "report.json").read_bytes() == before


def test_a_script_as_a_name_is_text_in_the_report(bundle, make):
    result = changed(make.result(bundle), ("device", "name"), SCRIPT)
    assert results.append(site.read(bundle), results.parse(result))
    (page,) = rebuild(bundle)
    assert SCRIPT not in page.read_text() and "&lt;script&gt;" in page.read_text()


def test_a_phone_keeps_its_column_and_another_gets_one(bundle, make):
    one, same, other = (make.result(bundle) for _ in range(3))
    other = changed(other, ("device", "name"), "Pixel 9")
    ids = [results.device_id(result["device"]) for result in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


def test_a_result_waits_for_another_run_and_gives_up(bundle, make, monkeypatch):
    monkeypatch.setattr(results, "PATIENCE", 0.1)
    served = site.read(bundle)
    with files.lock(bundle), pytest.raises(results.Busy, match="another run is writing"):
        results.append(served, make.result(bundle))
    assert results.append(served, make.result(bundle))


def test_an_id_that_the_device_drew_tells_it_from_another_of_its_name(bundle, make):
    one, two = (changed(make.result(bundle), ("device", "id"), digit * 32) for digit in "ab")
    for result in (one, two):
        assert results.append(site.read(bundle), results.parse(result))
    (model,) = read_report(bundle)["models"]
    assert [row["device"]["id"] for row in model["exports"][0]["measurements"][1:]] == ["a" * 32, "b" * 32]


@pytest.mark.parametrize("served", ["bundle", "folder of bundles"])
@pytest.mark.parametrize("written", ["bundle", "folder of bundles"])
def test_a_result_and_an_export_never_write_at_once(tmp_path, make, monkeypatch, served, written):
    """`export --overwrite` locks the bundle, `compare --overwrite` the folder, and either may be what is served."""
    monkeypatch.setattr(results, "PATIENCE", 0.05)
    folders = {"folder of bundles": tmp_path / "all", "bundle": tmp_path / "all" / "one"}
    make.report(folders["bundle"], [make.bundle(folders["bundle"], "one")])
    content, result = site.read(folders[served]), make.result(folders["bundle"])
    if (served, written) == ("bundle", "folder of bundles"):
        pytest.skip("`compare` writes one report for its folder: a bundle of it is no bundle with a report")
    with files.lock(folders[written]), pytest.raises(results.Busy):
        results.append(content, result)
    assert results.append(content, result)


def test_a_bundle_that_was_made_again_is_not_served_as_what_it_was(bundle, make):
    served = site.read(bundle)
    (model,) = served.catalog()["models"]
    address = model["files"][0]["url"]
    assert b"".join(served.table[address].opened()[1]) == (bundle / model["files"][0]["name"]).read_bytes()
    for name in (
        "net-fp32.tflite",
        "net-int8.tflite",
    ):  # as `--overwrite` leaves them
        files.write_bytes(bundle / name.replace("net", "resnet20"), b"other")
    report = json.loads((bundle / "report.json").read_text())
    for export in report["models"][0]["exports"]:
        export["sha256"] = "0" * 64
    files.write_json(bundle / "report.json", report)
    with pytest.raises(OSError):
        served.table[address].opened()
    with pytest.raises(WorkError, match="was made again since the start"):
        served.catalog()


def test_a_full_report_takes_no_more(bundle, make, monkeypatch):
    monkeypatch.setattr(results, "MAX_REPORT", 100)
    with pytest.raises(WorkError, match="has more than 100 bytes"):
        results.append(site.read(bundle), make.result(bundle))


def test_bundles_with_reports_of_their_own_each_get_their_part(tmp_path, make):
    for name in ("one", "two"):
        make.report(tmp_path / name, [make.bundle(tmp_path / name, name)])
    served = site.read(tmp_path)
    result = make.result(tmp_path / "one")
    result["files"] += make.result(tmp_path / "two")["files"]
    assert results.append(served, results.parse(result))
    for name in ("one", "two"):
        (model,) = read_report(tmp_path / name)["models"]
        assert [len(export["measurements"]) for export in model["exports"]] == [2, 2]
    assert [model["name"] for model in served.catalog()["models"]] == ["one", "two"]


def test_a_result_that_a_kill_cut_between_two_reports_is_completed_when_it_comes_again(tmp_path, make, monkeypatch):
    for name in ("one", "two"):
        make.report(tmp_path / name, [make.bundle(tmp_path / name, name)])
    served, result = site.read(tmp_path), make.result(tmp_path / "one")
    result["files"] += make.result(tmp_path / "two")["files"]
    write = files.write_json

    def killed_before_the_second(path, content):
        if path.parent.name == "two":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(results.files, "write_json", killed_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        results.append(served, result)
    monkeypatch.undo()
    assert results.append(served, result) and not results.append(served, result)
    for name in ("one", "two"):
        (model,) = read_report(tmp_path / name)["models"]
        assert [len(export["measurements"]) for export in model["exports"]] == [2, 2]


# What is served at all


def test_a_changed_file_is_not_served(bundle):
    file = next(bundle.glob("*.tflite"))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(WorkError, match="its sha256 is not the manifest's"):
        site.read(bundle)


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"holds no bundle with a report\.json"):
        site.read(tmp_path)
    with pytest.raises(RequestError, match="there is no folder"):
        site.read(tmp_path / "nothing")


def test_a_file_in_place_of_its_bundle_is_refused_and_the_bundle_named(bundle):
    with pytest.raises(RequestError, match="is a file, not a folder") as caught:
        site.read(bundle / "resnet20-int8.tflite")
    assert caught.value.hint == f"give the bundle around it: {bundle}"
