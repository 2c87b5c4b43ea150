"""model.json: all that an app must know of the files of a bundle."""

import numpy as np

from resdense_keras.data.images import RESIZE_RULE, resize_steps

from . import environment
from .conversion import INPUT, OUTPUT, SIGNATURE

# docs/phone.md and the page warn with the same figure; a test compares it with benchmarks/results/phone-*.json.
FLOAT16_IN_A_BROWSER = "4 to 5 times float32's time, measured in Chromium 150 on x86-64 (see LiteRT issue 9663)"
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
    (Armv8.2 dot product), and what was measured here is said beside it.
    """
    ours = {export["scheme"]: export for export in exports if export["converter"] == "rewritten"}
    kept = f"; {len(float_layers)} of its layers stay float, to keep the accuracy" if float_layers else ""
    rules = (
        ("cpu", ("int8", "dynamic", "fp32"), _cpu_reason),
        (
            "gpu",
            ("fp16", "fp32"),
            lambda export: (
                "GPU delegates compute in float16"
                + (", and the file is half the size" if export["scheme"] == "fp16" else "")
            ),
        ),
        (
            "browser",
            ("fp32", "dynamic", "int8"),
            lambda export: f"float16 weights are slow in a browser: {FLOAT16_IN_A_BROWSER}",
        ),
        ("npu", ("int8",), lambda export: "NPUs run statically quantized int8 alone" + kept),
    )
    chosen = {}
    for target, order, reason in rules:
        export = next((ours[scheme] for scheme in order if scheme in ours), None)
        if export is not None:
            chosen[target] = {"file": export["file"], "reason": reason(export)}
    return chosen


def _cpu_reason(export):
    reasons = {
        "int8": "integer arithmetic, for which phones since Armv8.2 have instructions of their own",
        "dynamic": "int8 weights, and integer arithmetic in its convolutions",
        "fp32": "float32 runs on every CPU, and no file in fewer bits is here",
    }
    here = export["measurements"][:1]
    timed = "".join(f"; median here {row['median_ms']:.3g} ms ({row['device']['name']})" for row in here)
    return reasons[export["scheme"]] + timed
