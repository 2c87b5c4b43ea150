"""What a phone developer receives: .tflite files with all that is needed to use them rightly.

A bundle is made in two steps, because which file to recommend depends on what was measured: `make_files` converts,
quantizes and checks; `describe` writes everything around the files.
"""

import hashlib
import sys
import zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras import files
from resdense_keras.data.splits import spread
from resdense_keras.errors import RequestError

from . import budget as budgets
from . import card, description, gates, golden, metadata
from .quantization import SCHEMES, quantize, standard_schemes
from .rewriting import float_files, float_nodes
from .sandbox import Child, Fault
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
        dataset: The data.Dataset, for schemes that train on, or None.
        sensitivity, sensitivity_indices: Images that they are chosen with, disjoint from the other two; or None.
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
    dataset: Any = None
    sensitivity: np.ndarray | None = None
    sensitivity_indices: np.ndarray | None = None
    exports: list[dict] = field(default_factory=list)
    rejected: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def takes_pixels(self):
        """Whether the input is known to be pixels in [0, 255]."""
        return self.preprocessing != "unknown"


def from_dataset(
    folder, name, model, dataset, *, class_names=None, preprocessing="unknown", seed=0, budget=None, **options
):
    """A Bundle that is calibrated on training images and judged on all test images of `dataset`.

    `budget` are the points that int8 may lose, or None; `options` are further attributes of a Bundle.
    """
    from resdense_keras.data import calibration

    chosen, images = calibration(dataset, CALIBRATION, seed)
    made = Bundle(
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
        dataset=dataset,
        **options,
    )
    if budget is not None:
        made.budget = {"points": budget}
        made.sensitivity_indices, made.sensitivity = held_out(dataset, chosen, seed)
    return made


def held_out(dataset, calibrating, seed):
    """Images that neither calibrate nor judge: those held out of training first, for the net does not know them.

    Returns:
        Positions in the source, rising, and up to budget.IMAGES images.
    """
    parts = []
    for split in (dataset.validation, dataset.train):
        left = budgets.IMAGES - sum(len(positions) for positions, _ in parts)
        order = spread(split.labels, seed)
        free = order[~np.isin(split.indices[order], calibrating)][:left]
        if len(free):
            parts.append((split.indices[free], split.array(free)))
    positions, images = (np.concatenate(values) for values in zip(*parts, strict=True))
    rising = np.argsort(positions)
    return positions[rising], images[rising]


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
        return standard_schemes(has_data)
    for name in schemes:
        if name not in SCHEMES:
            raise unknown("scheme", name, SCHEMES)
        row = SCHEMES[name]
        if (row.calibrated or row.trained) and not has_data:
            raise RequestError(
                f"scheme {name} needs images to {'train' if row.trained else 'calibrate'} on", "pass --data SPEC"
            )
    return list(dict.fromkeys(schemes))


def make_files(bundle, schemes, *, limits, baseline=False, steps):
    """Rewrites, converts once a graph, quantizes many, and keeps each file that passes its gates.

    Args:
        bundle: Its `exports` and `rejected` are filled.
        schemes: Names of quantization.SCHEMES.
        limits: {"max_drop", "min_agreement", "strict"} of gates.check.
        baseline: Also the stock converter's files, which are kept whatever their gates say.
        steps: A progress.Steps; each file is one step.
    Raises:
        RequestError: a scheme that trains on does not know a layer; known before the first file is made.
    """
    for row in (SCHEMES[scheme] for scheme in schemes):
        if row.trained:
            from .aware import check_known

            check_known(float_nodes(bundle.model, row.graph))
    expected = gates.predictions(bundle.model, bundle.images)
    _warn_of_guesses(bundle, expected)
    bundle.probabilities = gates.are_probabilities(expected)
    with Child() as child:
        common = bundle, partial(gates.check, child=child), limits, expected
        floating = float_files(bundle.model)
        for scheme in schemes:
            steps.start(f"{bundle.name}: {scheme}")
            row = SCHEMES[scheme]
            source = floating(row.graph, _training(bundle, row, steps))
            if scheme == "int8" and bundle.budget:
                try:
                    _keep_within_budget(*common, source, child, steps)
                except Fault as fault:  # of a file that the search ran before any gate had seen it
                    bundle.rejected[scheme] = {"opens": str(fault)}
                    _path(bundle, "rewritten", scheme).unlink(missing_ok=True)
                continue
            content = quantize(source, scheme, bundle.calibration)
            _keep(*common, "rewritten", scheme, content)
        for scheme in [name for name in schemes if baseline and not SCHEMES[name].trained]:
            steps.start(f"{bundle.name}: {scheme} by the stock converter")
            _keep(*common, "stock", scheme, stock(bundle.model, scheme, bundle.calibration))


def _warn_of_guesses(bundle, expected):
    """Says so where the float model cannot be told from a guess: then no gate can find what a file loses."""
    if bundle.labels is None:
        return
    right = int((expected.argmax(axis=1) == bundle.labels).sum())
    if gates.wilson(right, len(expected))[0] <= 1 / bundle.dataset.classes:
        found = f"{right} of {len(expected)} test images right, as many as guessing may get"
        print(f"warning: {bundle.name}: {found}: its gates mean little", file=sys.stderr)


def _training(bundle, row, steps):
    """What trains the nodes of a scheme on, a function nodes -> nodes; None for a scheme that needs none."""
    if not row.trained:
        return None
    from .aware import train_aware

    return lambda nodes: train_aware(nodes, row.trained, bundle.dataset, tell=steps.detail)


def _keep_within_budget(bundle, judge, limits, expected, floating, child, steps):
    """The int8 file that `--budget` asks for: with more float layers until the test images lose no more points."""
    told = bundle.budget
    points, right = told["points"], float((expected.argmax(axis=1) == bundle.labels).mean())
    limits = limits | {"max_drop": min(limits["max_drop"], points)}
    told |= {"layers": len(budgets.layers(floating)), "rounds": [], "lost_points": None, "kept": False}
    for choice in budgets.choices(floating, bundle.calibration, bundle.sensitivity, points, child, steps.detail):
        bundle.float_layers = choice.float_layers
        made = _judged(bundle, partial(judge, float_layers=choice.float_layers), limits, expected, "rewritten",
                       "int8", choice.content)  # fmt: skip
        accuracy = made[-1].accuracy
        lost = None if accuracy is None else round(100 * (right - accuracy), 4)
        told["rounds"].append(
            {"float_layers": len(choice.float_layers), "changed": choice.changed, "lost_points": lost}
        )
        told |= {"lost_points": lost, "kept": lost is not None and lost <= points}
        if told["kept"]:
            break
    _record(bundle, "rewritten", "int8", *made)


def _keep(bundle, judge, limits, expected, converter, scheme, content):
    _record(bundle, converter, scheme, *_judged(bundle, judge, limits, expected, converter, scheme, content))


def _judged(bundle, judge, limits, expected, converter, scheme, content):
    """Writes one file and puts it through its gates: its path, its final bytes and the Check."""
    path = _path(bundle, converter, scheme)
    content = _finished(bundle, converter, content)
    files.write_bytes(path, content)
    real = bundle.labels is not None
    return path, content, judge(path, expected, bundle.images, bundle.labels, scheme=scheme, real=real, **limits)


def _path(bundle, converter, scheme):
    return bundle.folder / f"{bundle.name}-{scheme}{'-stock' if converter == 'stock' else ''}.tflite"


def _record(bundle, converter, scheme, path, content, found):
    """Keeps a file's record; a file of ours that fails a gate is removed and its reasons kept."""
    if converter == "rewritten" and not found.passed:
        bundle.rejected[scheme] = found.failures
        path.unlink()
        return
    bundle.exports.append(
        {
            "converter": converter,
            "scheme": scheme,
            "file": path.name,
            "bytes": len(content),
            "zipped_bytes": len(zlib.compress(content, 9)) if SCHEMES[scheme].trained == "pruning" else None,
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
