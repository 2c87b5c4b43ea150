"""What a phone developer receives: .tflite files with all that is needed to use them rightly.

A bundle is made in two steps, because which file to recommend depends on what was measured: `make_files` converts,
quantizes and checks; `describe` writes everything around the files.
"""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras import files
from resdense_keras.errors import RequestError

from . import environment, gates
from .conversion import INPUT, OUTPUT, SIGNATURE, convert
from .quantization import SCHEMES, quantize
from .sandbox import Child
from .stock import stock

GOLDEN = 20  # images that a port to a phone replays
CALIBRATION = 200  # training images that set the int8 ranges
TOLERANCE = {"float": 1e-3, "int8": 0.1}  # of one probability; int8 also needs the same top-1


@dataclass
class Bundle:
    """A net and the data that it is exported with.

    Attributes:
        folder: Where its files go.
        name: First part of every file's name.
        model: Keras model, float32 pixels in [0, 255] in, probabilities out.
        images, labels, indices: What the gates judge on, disjoint from `calibration`; images made up where there are
            no data, then labels and indices are None.
        calibration, calibration_indices: Training images, or None.
        class_names: Or None where there are none; they are never invented.
        preprocessing: What stands inside the net, as JSON, or "unknown".
        exports: One record of report.json for each file.
        rejected: {scheme: {gate: why}} of the files that failed and were not written.
    """

    folder: Path
    name: str
    model: Any
    images: np.ndarray
    labels: np.ndarray | None = None
    indices: np.ndarray | None = None
    calibration: np.ndarray | None = None
    calibration_indices: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: Any = "unknown"
    exports: list[dict] = field(default_factory=list)
    rejected: dict[str, dict[str, str]] = field(default_factory=dict)


def from_dataset(folder, name, model, dataset, *, class_names=None, preprocessing="unknown", seed=0):
    """A Bundle that is calibrated on training images and judged on all test images of `dataset`."""
    from resdense_keras.data import calibration

    chosen, images = calibration(dataset, CALIBRATION, seed)
    return Bundle(
        folder,
        name,
        model,
        images=dataset.test.array(),
        labels=dataset.test.labels,
        indices=dataset.test.indices,
        calibration=images,
        calibration_indices=chosen,
        class_names=class_names or dataset.class_names,
        preprocessing=preprocessing,
    )


def without_data(folder, name, model, *, class_names=None, preprocessing="unknown"):
    """A Bundle whose files are only compared with the float model, on images made up here."""
    images = gates.generated_images(model.input_shape[1:], GOLDEN)
    return Bundle(folder, name, model, images=images, class_names=class_names, preprocessing=preprocessing)


def schemes_for(schemes, has_data):
    """The schemes to make: those asked for, or all that can be made.

    Raises:
        RequestError: an unknown scheme; int8 without data.
    """
    from resdense_keras.errors import unknown

    if schemes is None:
        return [name for name, scheme in SCHEMES.items() if has_data or not scheme.calibrated]
    for name in schemes:
        if name not in SCHEMES:
            raise unknown("scheme", name, SCHEMES)
        if SCHEMES[name].calibrated and not has_data:
            raise RequestError(f"scheme {name} needs images to calibrate on", "pass --data SPEC")
    return list(dict.fromkeys(schemes))


def make_files(bundle, schemes, *, limits, baseline=False, steps):
    """Converts once, quantizes many, and keeps each file that passes its gates.

    Args:
        bundle: Its `exports` and `rejected` are filled.
        schemes: Names of quantization.SCHEMES.
        limits: {"max_drop", "min_agreement", "strict"} of gates.check.
        baseline: Also the stock converter's files, which are kept whatever their gates say.
        steps: A progress.Steps; each file is one step.
    """
    expected = gates.predictions(bundle.model, bundle.images)
    with Child() as child:
        judge = partial(_keep, bundle, partial(gates.check, child=child, **limits), expected)
        steps.start(f"{bundle.name}: convert, fp32")
        floating = convert(bundle.model)
        for scheme in schemes:
            if scheme != "fp32":
                steps.start(f"{bundle.name}: {scheme}")
            content = quantize(floating, scheme, bundle.calibration if SCHEMES[scheme].calibrated else None)
            judge("rewritten", scheme, content)
        for scheme in schemes if baseline else ():
            steps.start(f"{bundle.name}: {scheme} by the stock converter")
            judge("stock", scheme, stock(bundle.model, scheme, bundle.calibration))


def _keep(bundle, judge, expected, converter, scheme, content):
    """Writes one file and its record; a file of ours that fails a gate is removed and its reasons kept."""
    name = f"{bundle.name}-{scheme}{'-stock' if converter == 'stock' else ''}.tflite"
    path = bundle.folder / name
    files.write_bytes(path, content)
    found = judge(path, expected, bundle.images, bundle.labels, scheme=scheme, real=bundle.labels is not None)
    if converter == "rewritten" and not found.passed:
        bundle.rejected[scheme] = found.failures
        path.unlink()
        return
    bundle.exports.append(
        {
            "converter": converter,
            "scheme": scheme,
            "file": name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **found.record(),
            "measurements": [],
        }
    )


def describe(bundle):
    """Writes what stands around the .tflite files: labels, golden images, model.json, the card, the manifest."""
    if bundle.class_names:
        files.write_text(bundle.folder / "labels.txt", "".join(f"{name}\n" for name in bundle.class_names))
    write_golden(bundle)
    description = model_json(bundle)
    files.write_json(bundle.folder / "model.json", description)
    files.write_text(bundle.folder / "MODEL_CARD.md", model_card(bundle, description))
    files.write_manifest(bundle.folder)


def model_json(bundle):
    """All that an app must know of the files, as JSON."""
    height, width, channels = bundle.images.shape[1:]
    known = bundle.preprocessing != "unknown"
    return {
        "schema": "resdense-model/1",
        "name": bundle.name,
        "signature": SIGNATURE,
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": [1, height, width, channels],
            "range": [0, 255] if known else None,
            "channels": {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels),
            "resize": "scale the shorter side to the input, bilinear with antialiasing, then crop the centre",
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [1, bundle.model.output_shape[-1]],
            "meaning": "probabilities",
        },
        "preprocessing": bundle.preprocessing,
        "files": {
            export["file"]: {
                key: export[key] for key in ("converter", "scheme", "bytes", "sha256", "accuracy", "agreement")
            }
            for export in bundle.exports
        },
        "rejected": bundle.rejected,
        "recommended": recommended(bundle.exports),
        "calibration_indices": _list(bundle.calibration_indices),
        "evaluation_indices": _list(bundle.indices),
        "versions": environment.versions(),
    }


def _list(indices):
    return None if indices is None else np.asarray(indices).tolist()


def recommended(exports):
    """{target: {"file", "reason"}}, the file to begin with on each kind of processor, with the reason."""
    ours = {export["scheme"]: export for export in exports if export["converter"] == "rewritten"}
    chosen = {}
    timed = [export for export in ours.values() if export["measurements"]]
    if timed:
        fastest = min(timed, key=lambda export: export["measurements"][0]["median_ms"])
        here = fastest["measurements"][0]
        chosen["cpu"] = (
            fastest,
            f"lowest median latency on {here['device']['name']}: {here['median_ms']:.3g} ms",
        )
    rules = (
        ("gpu", ("fp16", "fp32"), "GPU delegates compute in float16, and the file is half the size"),
        (
            "browser",
            ("fp32", "dynamic"),
            "float16 weights run about 20 times slower in the browser (LiteRT issue 9663)",
        ),
        ("npu", ("int8",), "NPUs run statically quantized int8 alone"),
    )
    for target, order, reason in rules:
        first = next((ours[scheme] for scheme in order if scheme in ours), None)
        if first is not None:
            chosen[target] = (first, reason)
    return {target: {"file": export["file"], "reason": reason} for target, (export, reason) in chosen.items()}


def write_golden(bundle):
    """golden/: images as lossless PNGs of exactly the input's size, and what every file answers to them.

    Whoever ports the net to a phone replays them: another answer than these means other pixels, not another phone.
    """
    from PIL import Image

    from . import runtime

    chosen = _golden_positions(bundle.labels, len(bundle.images))
    images = bundle.images[chosen]
    if images.shape[-1] not in (1, 3, 4):
        return  # no PNG holds other channel counts
    answers = {
        export["file"]: runtime.run(bundle.folder / export["file"], images)
        for export in bundle.exports
        if export["converter"] == "rewritten"
    }
    rows = []
    for number, (position, image) in enumerate(zip(chosen, images, strict=True)):
        name = f"{number:02d}.png"
        with files.writing(bundle.folder / "golden" / name) as path:
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)
        rows.append(
            {
                "image": name,
                "label": None if bundle.labels is None else int(bundle.labels[position]),
                "probabilities": {
                    file: [round(float(p), 6) for p in probabilities[number]] for file, probabilities in answers.items()
                },
            }
        )
    files.write_json(bundle.folder / "golden" / "golden.json", {"tolerance": TOLERANCE, "images": rows})


def _golden_positions(labels, count):
    """Positions of up to GOLDEN images, the classes taking turns."""
    if labels is None:
        return np.arange(min(GOLDEN, count))
    rank = np.zeros(count, int)  # how many of its class come before an image
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return np.sort(np.lexsort((labels, rank))[:GOLDEN])


def model_card(bundle, description):
    """MODEL_CARD.md: what a person reads first; every number comes from the records."""
    height, width, channels = bundle.images.shape[1:]
    rows = [
        f"| {export['file']} | {export['bytes']:,} | {_share(export['accuracy'])} | {_share(export['agreement'])} |"
        for export in bundle.exports
    ]
    targets = [f"- {target}: `{row['file']}` ({row['reason']})" for target, row in description["recommended"].items()]
    judged = (
        f"Accuracy and agreement with the float Keras model over {len(bundle.images)} held-out images."
        if bundle.labels is not None
        else "Exported without data: compared with the float Keras model on generated images only."
    )
    pixels = (
        "pixels in [0, 255], the normalisation is inside"
        if bundle.preprocessing != "unknown"
        else "as the model takes them"
    )
    lines = [
        "---",
        "library_name: litert",
        "pipeline_tag: image-classification",
        "---",
        f"# {bundle.name}",
        "",
        f"Input `{INPUT}`: float32 (1, {height}, {width}, {channels}), {pixels}.",
        f"Output `{OUTPUT}`: float32 (1, {bundle.model.output_shape[-1]}) probabilities.",
        "",
        "| file | bytes | accuracy | agreement |",
        "|---|--:|--:|--:|",
        *rows,
        "",
        judged,
        "",
        "Which file to begin with:",
        "",
        *targets,
        "",
        "`golden/` holds images and the answers of every file: replay them on the phone before trusting it.",
        "",
    ]
    return "\n".join(lines)


def _share(value):
    return "–" if value is None else f"{100 * value:.2f} %"
