"""model.json: everything that an app must know about the files of a bundle."""

import numpy as np

from resdense_keras.data import resizing

from .. import environment
from ..models.answers import MEANINGS, classes
from ..schemes import recommendations
from ..tflite.signature import INPUT, OUTPUT, SIGNATURE


def model_json(bundle):
    """The content of model.json."""
    height, width, channels = bundle.evidence.images.shape[1:]
    return {
        "schema": "resdense-model/1",
        "name": bundle.net.name,
        "signature": SIGNATURE,
        "input": {
            "name": INPUT,
            "dtype": bundle.request.input_type,
            "shape": [1, height, width, channels],
            "range": [0, 255] if bundle.net.takes_pixels else None,
            "channels": {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels),
            "resize": resizing.words(bundle.net.resize),
            "resize_steps": resizing.steps(channels, bundle.net.resize),
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [1, *bundle.net.model.output_shape[1:]],
            "meaning": MEANINGS[bundle.answers],
            "classes": classes(bundle.answers, bundle.net.model.output_shape[-1]),
            "labels": "labels.txt" if bundle.net.class_names else None,
        },
        "preprocessing": bundle.net.preprocessing,
        "files": {export["file"]: _file(bundle, export) for export in bundle.exports},
        "rejected": bundle.rejected,
        "recommended": recommended(bundle.exports, bundle.float_layers),
        "calibration_indices": _list(bundle.evidence.calibration_indices),
        "sensitivity_indices": _list(bundle.evidence.sensitivity_indices),
        "choosing_indices": _list(bundle.evidence.choosing and bundle.evidence.choosing.indices),
        "evaluation_indices": _list(bundle.evidence.indices),
        "budget": bundle.budget,
        "versions": environment.versions(),
    }


def input_text(net):
    """Describes in words what the input holds."""
    if not net.takes_pixels:
        return "as the model takes it; what its pixels mean is not known"
    return f"pixels in [0, 255], the normalisation is inside; from a photo: {resizing.words(net.resize)}"


def _file(bundle, export):
    """The entry of one file in model.json; `float_layers` are the layers that an int8 file keeps in float on
    purpose."""
    kept = bundle.float_layers if (export["converter"], export["scheme"]) == ("rewritten", "int8") else ()
    keys = ("converter", "scheme", "bytes", "sha256", "accuracy", "agreement")
    return {**{key: export[key] for key in keys}, "float_layers": list(kept), **_half(export)}


def _half(export):
    """For a file that could ask for float16 arithmetic: whether it does, and why."""
    gate = export["gates"]["half_range"]
    return {"half_arithmetic": export["half"], "half_range": gate["detail"]} if gate else {}


def _list(indices):
    return None if indices is None else np.asarray(indices).tolist()


def recommended(exports, float_layers=()):
    """{target: {"file", "reason"}}: the file to try first on each kind of processor, and the reason.

    The reason includes the latency measured here, and names better schemes that are not in the bundle. A file that
    computes partly in float between 8-bit operators converts back and forth, so for such a file the latency measured
    here decides.
    """
    ours = {export["scheme"]: export for export in exports if export["converter"] == "rewritten"}
    chosen = recommendations(ours)
    if (faster := _faster_than_islands(ours, chosen.get("cpu"))) is not None:
        chosen["cpu"] = faster
    return {
        target: {
            "file": ours[scheme]["file"],
            "reason": reason
            + (_timed_here(ours[scheme]) if target == "cpu" else "")
            + (_kept_in_float(scheme, float_layers) + _left_to_the_cpu(ours[scheme]) if target == "npu" else "")
            + (f"; better, but not in this bundle: {', '.join(missing)}" if missing else ""),
        }
        for target, (scheme, reason, missing) in chosen.items()
    }


def _islands(export):
    """`2 ELU, 1 GELU` for a file that computes these in float between 8-bit operators; empty for any other file."""
    gate = export.get("gates", {}).get("int8") or {}
    return ", ".join(f"{count} {name}" for name, count in gate.get("islands", {}).items())


def _faster_than_islands(ours, chosen):
    """(scheme, reason, []) of a file that was faster here than the chosen one, which has float islands; None where none
    was."""
    if chosen is None or not _islands(ours[chosen[0]]) or not ours[chosen[0]]["measurements"]:
        return None
    times = {name: export["measurements"][0]["median_ms"] for name, export in ours.items() if export["measurements"]}
    fastest = min(times, key=times.get)
    if times[fastest] >= times[chosen[0]]:
        return None
    slow = f"{chosen[0]} computes {_islands(ours[chosen[0]])} in float between 8-bit operators"
    return fastest, f"the fastest here: {slow} and took {times[chosen[0]]:.3g} ms", []


def _left_to_the_cpu(export):
    return f"; {islands} compute in float, usually on the CPU" if (islands := _islands(export)) else ""


def _timed_here(export):
    here = export["measurements"][:1]
    return "".join(f"; median here {row['median_ms']:.3g} ms ({row['device']['name']})" for row in here)


def _kept_in_float(scheme, float_layers):
    kept = float_layers if scheme == "int8" else ()
    return f"; {len(kept)} of its layers stay float, to keep the accuracy" if kept else ""
