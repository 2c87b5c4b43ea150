"""model.json: all that an app must know of the files of a bundle."""

import numpy as np

from resdense_keras.data.images import RESIZE_RULE, resize_steps

from . import environment
from .conversion import INPUT, OUTPUT, SIGNATURE

# docs/phone.md and the page warn with the same figure; a test compares it with benchmarks/results/phone-*.json.
FLOAT16_IN_A_BROWSER = "4 to 5 times float32's time, measured in Chromium 156 on x86-64 (see LiteRT issue 9663)"
MEANINGS = {True: "probabilities", False: "scores as the model gives them, not probabilities"}


def model_json(bundle):
    """The content of model.json."""
    height, width, channels = bundle.images.shape[1:]
    return {
        "schema": "resdense-model/1",
        "name": bundle.name,
        "signature": SIGNATURE,
        "input": {
            "name": INPUT,
            "dtype": bundle.input_type,
            "shape": [1, height, width, channels],
            "range": [0, 255] if bundle.takes_pixels else None,
            "channels": {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels),
            "resize": RESIZE_RULE,
            "resize_steps": resize_steps(channels),
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [1, bundle.model.output_shape[-1]],
            "meaning": MEANINGS[bundle.probabilities],
            "labels": "labels.txt" if bundle.class_names else None,
        },
        "preprocessing": bundle.preprocessing,
        "files": {export["file"]: _file(bundle, export) for export in bundle.exports},
        "rejected": bundle.rejected,
        "recommended": recommended(bundle.exports, bundle.float_layers),
        "calibration_indices": _list(bundle.calibration_indices),
        "sensitivity_indices": _list(bundle.sensitivity_indices),
        "evaluation_indices": _list(bundle.indices),
        "budget": bundle.budget,
        "versions": environment.versions(),
    }


def input_text(bundle):
    """What the input holds, in words."""
    if not bundle.takes_pixels:
        return "as the model takes it; what its pixels mean is not known"
    return f"pixels in [0, 255], the normalisation is inside; from a photo: {RESIZE_RULE}"


def _file(bundle, export):
    """What model.json says of one file; `float_layers` are those that an int8 file keeps in float on purpose."""
    kept = bundle.float_layers if (export["converter"], export["scheme"]) == ("rewritten", "int8") else ()
    keys = ("converter", "scheme", "bytes", "sha256", "accuracy", "agreement")
    return {**{key: export[key] for key in keys}, "float_layers": list(kept)}


def _list(indices):
    return None if indices is None else np.asarray(indices).tolist()


def recommended(exports, float_layers=()):
    """{target: {"file", "reason"}}, the file to begin with on each kind of processor, with the reason.

    A phone is not this machine: int8 goes first on a processor that has instructions for it, as every phone's has
    (Armv8.2 dot product), and what was measured here is said beside it. A CPU and a browser run every file, so both are
    named as soon as there is one.
    """
    ours = {export["scheme"]: export for export in exports if export["converter"] == "rewritten"}
    rules = (
        ("cpu", ("int8", "qat", "dynamic", "fp32", "pruned", "fp16"), _cpu_reason),
        ("gpu", ("fp16", "fp32", "pruned"), _gpu_reason),
        ("browser", ("fp32", "dynamic", "int8", "qat", "pruned", "fp16"), _browser_reason),
        ("npu", ("int8", "qat"), lambda export: _npu_reason(export, float_layers)),
    )
    chosen = {}
    for target, order, reason in rules:
        place = next((place for place, scheme in enumerate(order) if scheme in ours), None)
        if place is not None:
            export = ours[order[place]]
            better = f"; better, but not here: {', '.join(order[:place])}" if place else ""
            chosen[target] = {"file": export["file"], "reason": reason(export) + better}
    return chosen


def _cpu_reason(export):
    integer = "integer arithmetic, for which phones since Armv8.2 have instructions of their own"
    reasons = {
        "int8": integer,
        "qat": integer,
        "dynamic": "int8 weights, and integer arithmetic in its convolutions",
        "fp32": "float32 runs on every CPU",
        "pruned": "float32 runs on every CPU",
        "fp16": "a CPU computes in float32 with its float16 weights",
    }
    here = export["measurements"][:1]
    timed = "".join(f"; median here {row['median_ms']:.3g} ms ({row['device']['name']})" for row in here)
    return reasons[export["scheme"]] + timed


def _gpu_reason(export):
    half = ", and the file is half the size" if export["scheme"] == "fp16" else ""
    return "GPU delegates compute in float16" + half


def _browser_reason(export):
    return f"float16 weights are slow in a browser: {FLOAT16_IN_A_BROWSER}"


def _npu_reason(export, float_layers):
    kept = float_layers if export["scheme"] == "int8" else ()
    floating = f"; {len(kept)} of its layers stay float, to keep the accuracy" if kept else ""
    return "NPUs run statically quantized int8 alone" + floating
