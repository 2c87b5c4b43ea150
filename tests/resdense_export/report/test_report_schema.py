"""What a report must be before it is written or shown."""

import copy
import json
import math

import pytest
from jsonschema import Draft202012Validator

from resdense_export.report import read_report, schema, validate
from resdense_keras.errors import RequestError


def changed(report, path, value):
    """A copy with `value` at `path`."""
    report = copy.deepcopy(report)
    *parents, last = path
    place = report
    for key in parents:
        place = place[key]
    place[last] = value
    return report


FILE = ("models", 0, "exports", 1)
TIME = (*FILE, "measurements", 0)


def test_the_schema_itself_is_one():
    Draft202012Validator.check_schema(schema._validator().schema)


def test_reports_of_compare_of_phones_and_of_bundles_are_valid(report, phone_report, bundle_report):
    for example in (report, phone_report, bundle_report):
        assert validate(example) == example


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ((*FILE, "accuracy"), 1.2, "models[0].exports[1].accuracy"),
        ((*FILE, "accuracy"), -0.1, "models[0].exports[1].accuracy"),
        ((*FILE, "accuracy"), True, "models[0].exports[1].accuracy"),
        ((*FILE, "agreement"), "0.98", "models[0].exports[1].agreement"),
        ((*FILE, "accuracy_interval"), [0.9, 1.1], "models[0].exports[1].accuracy_interval[1]"),
        ((*FILE, "accuracy_interval"), [0.9, 0.8], "models[0].exports[1].accuracy_interval"),
        ((*FILE, "bytes"), 0, "models[0].exports[1].bytes"),
        ((*FILE, "file"), "../secret.tflite", "models[0].exports[1].file"),
        ((*FILE, "file"), "/etc/passwd", "models[0].exports[1].file"),
        ((*FILE, "converter"), "toco", "models[0].exports[1].converter"),
        ((*FILE, "gates"), {"opens": {"passed": "yes"}}, "models[0].exports[1].gates.opens.passed"),
        ((*TIME, "median_ms"), -3, "models[0].exports[1].measurements[0].median_ms"),
        ((*TIME, "median_ms"), 0, "models[0].exports[1].measurements[0].median_ms"),
        ((*TIME, "median_ms"), 1e300, "models[0].exports[1].measurements[0].median_ms"),
        ((*TIME, "median_ms"), 10**400, "models[0].exports[1].measurements[0].median_ms"),
        ((*TIME, "p10_ms"), 1e6, "models[0].exports[1].measurements[0]"),
        ((*TIME, "device", "name"), "x" * 1000, "models[0].exports[1].measurements[0].device.name"),
        (("models", 1, "family"), "transformer", "models[1].family"),
        (("models", 1, "accuracy_by_seed"), [0.9, math.nan], "models[1].accuracy_by_seed[1]"),
        (("models", 1, "history"), [{"epoch": 1}], "models[1].history[0]"),
        (("models", 1, "mine"), {"deep": [math.inf]}, "models[1].mine.deep[0]"),
        (("models", 1, "mine"), {1: 2}, "models[1].mine"),
        (("models",), [], "models"),
        (("schema",), "resdense-report/2", "schema"),
        (("seed",), 1.5, "seed"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(report, path, value, place):
    with pytest.raises(RequestError) as caught:
        validate(changed(report, path, value))
    assert caught.value.message.startswith(f"the report is wrong at {place}: ")
    assert len(caught.value.message) < 400
    assert caught.value.hint


@pytest.mark.parametrize("parents", [(), ("data",), ("machine",), ("models", 2), FILE, TIME, (*TIME, "device")])
def test_a_renamed_key_is_refused(report, parents):
    place = report
    for key in parents:
        place = place[key]
    for key in [key for key in place if key != "weak"]:  # the only optional key of the example
        value = place.pop(key)
        place[f"{key}_renamed"] = value
        with pytest.raises(RequestError, match=f"'{key}' is a required property"):
            validate(report)
        place[key] = place.pop(f"{key}_renamed")


def test_unknown_keys_are_allowed_everywhere(report):
    model = report["models"][0]
    places = [report, report["machine"], report["data"], model, model["history"][0], model["exports"][0]]
    places += [places[-1]["gates"]["opens"], places[-1]["measurements"][0], places[-1]["measurements"][0]["device"]]
    for place in places:
        place["something_new"] = {"any": [1, None, "text"]}
    assert validate(report) == report


def test_null_stands_for_what_was_not_measured(report):
    report["seed"] = None
    report["data"] = dict.fromkeys(report["data"])
    for model in report["models"]:
        kept = ("name", "family", "accuracy_by_seed", "history", "exports")
        model |= dict.fromkeys(key for key in model if key not in kept)
        for row in model["history"]:
            row |= dict.fromkeys(("loss", "accuracy", "val_accuracy"))
        for export in model["exports"]:
            nulls = ("images", "accuracy", "accuracy_interval", "agreement", "max_difference", "delegated")
            export |= dict.fromkeys(nulls)
            for row in export["measurements"]:
                row |= dict.fromkeys(("accelerator", "threads", "rounds", "median_ms", "p10_ms", "p90_ms", "drift"))
    assert validate(report) == report


def test_tuples_become_the_lists_that_json_has(report):
    report["models"][0]["exports"][0]["accuracy_interval"] = (0.9, 0.95)
    assert validate(report)["models"][0]["exports"][0]["accuracy_interval"] == [0.9, 0.95]


def test_a_report_is_read_from_its_file_and_from_its_folder(report, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert read_report(tmp_path) == read_report(tmp_path / "report.json") == report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"schema": "resdense-report/1", ', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "is not of type 'object'"),
        (b'{"seed": NaN}', "seed: nan is not a finite number"),
        (b'{"seed": 1e999}', "seed: inf is not a finite number"),
    ],
)
def test_a_broken_file_is_a_clear_error(tmp_path, content, message):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_report(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_missing_and_a_giant_file_are_not_opened(tmp_path):
    with pytest.raises(RequestError, match="No such file"):
        read_report(tmp_path)
    path = tmp_path / "report.json"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse
    with pytest.raises(RequestError, match="10,737,418,240 bytes; a report has at most"):
        read_report(path)
