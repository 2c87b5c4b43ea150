"""Validates reports: by their JSON Schema, and by the rules that a schema cannot express."""

import functools
import json
import math
from pathlib import Path

from resdense_keras.errors import RequestError

from ..right_answers import unpacked

REPORT = "report.json"
MAX_BYTES = 64 * 2**20  # a report of ten nets on ten devices has 300 kB
_HINT = "report.schema.json, beside the code of resdense_export.report, says what a report holds"


def validate(report):
    """The report in JSON's types (tuples become lists), checked against every rule.

    Raises:
        RequestError: names the place, such as `models[0].exports[2].bytes`, and what is wrong there.
    """
    from jsonschema.exceptions import best_match

    report = _as_json(report, "")
    error = best_match(_validator().iter_errors(report))
    if error is not None:
        raise _wrong(_path(error.absolute_path), _short(error.message))
    for number, model in enumerate(report["models"]):
        for place, export in enumerate(model["exports"]):
            _check_order(export, f"models[{number}].exports[{place}]")
            _check_right(export, f"models[{number}].exports[{place}]")
    return report


def read_report(path):
    """The validated report in the file `path`, or in the folder `path`.

    Raises:
        RequestError: there is no file, or it is larger than MAX_BYTES, is not JSON, or is not a report.
    """
    path = Path(path)
    path = path / REPORT if path.is_dir() else path
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(f"{path} has {path.stat().st_size:,} bytes; a report has at most {MAX_BYTES:,}", _HINT)
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(
            f"cannot read {path}: {error.strerror}", "`resdense compare` and `resdense export` write a report"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"{path} is not JSON: {error}", "restore the file, or run the command that made it again"
        ) from error
    try:
        return validate(content)
    except RequestError as error:
        raise RequestError(f"{path}: {error.message}", error.hint) from error


@functools.cache
def _validator():
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(Path(__file__).with_name("report.schema.json").read_text("utf-8")))


def _as_json(value, path):
    """A copy in JSON's types. NaN and infinity, which Python's json would write, raise an error with their path."""
    if isinstance(value, dict):
        return {_key(key, path): _as_json(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(path, f"{value} is not a finite number; null stands for what was not measured")
    return value


def _key(key, path):
    if not isinstance(key, str):
        raise _wrong(path, f"the key {key!r} is not a string")
    return key


def _check_order(export, path):
    """Checks that intervals run from low to high, and that the median is between the percentiles."""
    interval = export["accuracy_interval"]
    if interval and interval[0] > interval[1]:
        raise _wrong(f"{path}.accuracy_interval", f"{interval} runs from high to low")
    for number, measurement in enumerate(export["measurements"]):
        times = [measurement[key] for key in ("p10_ms", "median_ms", "p90_ms") if measurement[key] is not None]
        if times != sorted(times):
            raise _wrong(f"{path}.measurements[{number}]", f"p10, median and p90 are not in order: {times}")


def _check_right(export, path):
    """The bits of the images answered rightly are as many as the accuracy says."""
    if not export.get("right"):
        return
    try:
        count = int(unpacked(export["right"]).sum())
    except ValueError as error:
        raise _wrong(f"{path}.right", f"it is not base64: {error}") from error
    if export["accuracy"] is None or count != round(export["accuracy"] * (export["images"] or 0)):
        raise _wrong(f"{path}.right", f"{count} images are right there; accuracy and images say another number")


def _wrong(path, message):
    return RequestError(f"the report is wrong at {path or 'its top'}: {message}", _HINT)


def _path(keys):
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return path.removeprefix(".")


def _short(message, limit=240):
    return message if len(message) <= limit else f"{message[: limit // 2]} ... {message[-limit // 2 :]}"
