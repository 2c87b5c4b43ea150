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

from . import card, description, gates, golden, metadata
from .conversion import convert
from .quantization import SCHEMES, quantize
from .sandbox import Child
from .stock import stock
from .uint8_input import with_uint8_input

CALIBRATION = 200  # training images that set the int8 ranges
SNIPPETS = Path(__file__).with_name("snippets")  # they read model.json, so every bundle has the same


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
        data_name: Of the data set, for the card.
        input_type: Of a file's input tensor: "float32" or "uint8".
        probabilities: Whether the model's outputs are such; known once it has run.
        float_layers: Those that the int8 file keeps in float, by the names of their outputs.
        budget: What model.json says of them, or None.
        sensitivity_indices: Images that they were chosen with, disjoint from the other two.
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
    data_name: str | None = None
    input_type: str = "float32"
    probabilities: bool = True
    float_layers: tuple[str, ...] = ()
    budget: dict | None = None
    sensitivity_indices: np.ndarray | None = None
    exports: list[dict] = field(default_factory=list)
    rejected: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def takes_pixels(self):
        """Whether the input is known to be pixels in [0, 255]."""
        return self.preprocessing != "unknown"


def from_dataset(folder, name, model, dataset, *, class_names=None, preprocessing="unknown", seed=0, **options):
    """A Bundle that is calibrated on training images and judged on all test images of `dataset`.

    `options` are further attributes of a Bundle.
    """
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
        data_name=Path(dataset.spec).name,
        **options,
    )


def without_data(folder, name, model, **options):
    """A Bundle whose files are only compared with the float model, on images made up here."""
    return Bundle(folder, name, model, images=gates.generated_images(model.input_shape[1:], golden.COUNT), **options)


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
    bundle.probabilities = are_probabilities(expected)
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


def are_probabilities(outputs):
    """Whether each row of (N, classes) is a distribution; what a layer is called says less."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _keep(bundle, judge, expected, converter, scheme, content):
    """Writes one file and its record; a file of ours that fails a gate is removed and its reasons kept."""
    name = f"{bundle.name}-{scheme}{'-stock' if converter == 'stock' else ''}.tflite"
    path = bundle.folder / name
    content = _finished(bundle, converter, content)
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


def _finished(bundle, converter, content):
    """The file with the input that was asked for; ours also with metadata."""
    if bundle.input_type == "uint8":
        content = with_uint8_input(content)
    if converter == "stock":
        return content
    outputs = bundle.model.output_shape[-1]
    return metadata.embed(
        content,
        name=bundle.name,
        input_text=description.input_text(bundle),
        output_text=description.MEANINGS[bundle.probabilities],
        channels=bundle.images.shape[-1],
        pixels=bundle.takes_pixels,
        probabilities=bundle.probabilities,
        # The libraries refuse a file with fewer names than outputs, which a net for more classes than the data has.
        class_names=bundle.class_names if len(bundle.class_names or ()) == outputs else None,
    )


def describe(bundle):
    """Writes what stands around the .tflite files: labels, golden images, model.json, card, snippets, manifest."""
    if bundle.class_names:
        files.write_text(bundle.folder / "labels.txt", metadata.labels_text(bundle.class_names))
    golden.write(bundle)
    described = description.model_json(bundle)
    files.write_json(bundle.folder / "model.json", described)
    files.write_text(bundle.folder / "MODEL_CARD.md", card.model_card(bundle, described))
    for snippet in sorted(SNIPPETS.glob("[!_]*.*")):
        files.write_bytes(bundle.folder / "snippets" / snippet.name, snippet.read_bytes())
    files.write_manifest(bundle.folder)
