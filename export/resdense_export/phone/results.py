"""Results that a phone sends: checks them against their schema, turns them into measurements, and adds them to
report.json.

One result holds one measurement of each of several files. It is added under the lock that keeps other runs out of the
folder. Each report is replaced in one step, so a killed server leaves it as it was or with its part of the result; what
the other reports lack is added when the phone sends the result again.
"""

import datetime
import functools
import hashlib
import json
import time
from contextlib import ExitStack
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, WorkError

from ..report import read_report
from ..report.schema import REPORT, validate

MAX_REPORT = 16 * 2**20  # a report of ten nets on a hundred devices has 3 MB
PATIENCE = 5.0  # seconds that a result waits for another writer to finish


class Wrong(ValueError):
    """A result that is not valid."""


class Busy(RuntimeError):
    """Another run is writing to the folder."""


def parse(result):
    """`result`, checked to be valid.

    Raises:
        Wrong: names the place and the rule.
    """
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(result))
    if error is not None:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.absolute_path)
        raise Wrong(f"the result is wrong at {place.removeprefix('.') or 'its top'}: {error.message[:200]}")
    for row in result["files"]:
        if not row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]:
            raise Wrong(f"{row['file']}: p10, median and p90 are not in order")
        golden = row["golden"]
        if golden and max(golden["same_top1"], golden["right"] or 0) > golden["images"]:
            raise Wrong(f"{row['file']}: more images than there are")
    return result


def append(site, result):
    """Adds a result to the reports of its files; False where all of it is there already (a phone that sends again).

    Raises:
        Wrong: a file is not served here, or has other bytes here.
        Busy: another run holds the folder.
        WorkError: the report or the disk is full.
    """
    with _locked(site.locked):
        reports = {folder: read_report(folder) for folder in site.reports}
        exports = [
            (folder, export)
            for folder, report in reports.items()
            for model in report["models"]
            for export in model["exports"]
        ]
        known = {(export["file"], export["sha256"]): (folder, export) for folder, export in exports}
        grown = set()
        for row in result["files"]:
            if (row["file"], row["sha256"]) not in known:
                raise Wrong(f"{row['file']!r} with these bytes is not served here")
            folder, export = known[row["file"], row["sha256"]]
            if any(there.get("result") == result["id"] for there in export["measurements"]):
                continue
            export["measurements"].append(measurement(result, row))
            grown.add(folder)
        for folder in grown:
            if (folder / REPORT).stat().st_size > MAX_REPORT:
                raise WorkError(f"{folder / REPORT} has more than {MAX_REPORT:,} bytes", "begin a new report")
        for folder in sorted(grown):
            files.write_json(folder / REPORT, validate(reports[folder]))
    return bool(grown)


def measurement(result, row):
    """One record for report.json."""
    device = result["device"]
    known = {key: device[key] for key in ("name", "kind", "os", "browser", "cores")}
    keys = ("accelerator", "rounds", "median_ms", "p10_ms", "p90_ms", "drift")
    own = ("load_ms", "first_ms", "images_per_round", "golden")
    shared = ("requested", "secure_context", "cross_origin_isolated", "hidden", "clock_ms")
    precision = {"precision": result["precision"]} if result.get("precision") else {}
    return {
        "device": {"id": device_id(device), **known},
        "runtime": f"{result['runtime']}, {device['browser']}",
        "threads": result["threads"],
        **{key: row[key] for key in (*keys, *own)},
        **{key: result[key] for key in shared},
        **precision,
        "received": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "result": result["id"],
    }


def device_id(device):
    """The id that the device drew, which tells devices apart, so that each phone keeps its own column.

    The page of 0.1.0 sent no id; two phones with the same name, system and number of cores then share a column.
    """
    if "id" in device:
        return device["id"]
    parts = [str(device[key]) for key in ("name", "kind", "os", "cores")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _locked(folders):
    """The locks of the folders; waits up to PATIENCE seconds for another holder."""
    until = time.monotonic() + PATIENCE
    while True:
        with ExitStack() as stack:
            try:
                for folder in folders:
                    stack.enter_context(files.lock(folder))
                return stack.pop_all()
            except RequestError as error:
                if time.monotonic() > until:
                    raise Busy(error.message) from error
        time.sleep(0.02)


@functools.cache
def _validator():
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(Path(__file__).with_name("result.schema.json").read_text("utf-8")))
