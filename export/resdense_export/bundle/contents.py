"""Makes a bundle in two steps, because the recommended file depends on the measurements.

`make` converts, quantizes and checks; `describe` writes everything around the files.
"""

import contextlib
import hashlib
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from resdense_keras import files

from ..judging.judge import Judge
from ..judging.reference import predictions
from ..making import aware, within_budget
from ..making.float_files import float_files, float_nodes
from ..making.quantization import quantize
from ..making.stock_converter import has_stock, stock
from ..models.answers import MEANINGS, PROBABLE
from ..schemes import SCHEMES
from ..sources import UNKNOWN_PIXELS, Net
from ..tflite import metadata
from ..tflite.child import Child, Fault
from ..tflite.uint8_input import with_uint8_input
from . import card, description, golden
from .evidence import Evidence
from .request import ExportRequest

SNIPPETS = Path(__file__).with_name("snippets")  # the same in every bundle, because they read model.json


@dataclass(frozen=True)
class Bundle:
    """The files of a net after making and judging them.

    Attributes:
        folder: Folder of the files.
        answers: What the net's outputs mean, a key of answers.MEANINGS.
        exports: One record of report.json for each file.
        rejected: {scheme: {gate: why}} of the files that failed and were not written.
        float_layers: Layers that the int8 file keeps in float, by the names of their outputs.
        budget: Record of `--budget` for model.json, or None.
    """

    folder: Path
    net: Net
    evidence: Evidence
    request: ExportRequest
    answers: str
    exports: tuple[dict, ...]
    rejected: dict[str, dict[str, str]]
    float_layers: tuple[str, ...] = ()
    budget: dict | None = None


def make(folder, net, evidence, request, steps):
    """Rewrites the net, converts each graph once, quantizes the files, and keeps those that pass their gates: a Bundle.

    Args:
        folder: Folder for the files.
        net: A sources.Net.
        evidence: An Evidence.
        request: An ExportRequest.
        steps: A progress.Steps, which counts a step per file.
    Raises:
        RequestError: a scheme that trains the net further does not support a layer; raised before the first file is
            made.
    """
    for row in (SCHEMES[scheme] for scheme in request.schemes):
        if row.training:
            aware.check_known(float_nodes(net.model, row.graph))
    with Child() as child:
        real = evidence.dataset is not None
        seen = {"range_images": evidence.calibration, "real": real}
        judge = Judge(net.model, evidence.images, evidence.labels, request.limits, child, **seen)
        if evidence.dataset and (warning := judge.guesses(evidence.dataset.classes)):
            unknown = "" if net.takes_pixels else f"; {UNKNOWN_PIXELS.format(name='it')}"
            print(f"warning: {net.name}: {warning}{unknown}", file=sys.stderr)
        maker = _Maker(folder, net, evidence, request, judge, steps)
        found = [maker.ours(scheme) for scheme in request.schemes]
        if request.baseline:
            found += [maker.stock(scheme) for scheme in request.schemes if has_stock(scheme)]
    return Bundle(
        folder,
        net,
        evidence,
        request,
        judge.answers,
        exports=tuple(made.record for made in found if made.record),
        rejected={made.scheme: made.failures for made in found if made.failures},
        **next(({"float_layers": made.float_layers, "budget": made.budget} for made in found if made.budget), {}),
    )


@dataclass(frozen=True)
class _Made:
    """The result for one file: its record, or why it was not kept."""

    scheme: str
    record: dict | None = None
    failures: dict[str, str] | None = None
    float_layers: tuple[str, ...] = ()
    budget: dict | None = None


@dataclass(frozen=True)
class _Judged:
    """A file in the folder, with the result of its gates."""

    path: Path
    content: bytes
    check: object


class _Maker:
    """Makes the files of one net, one after the other, from float files that they share."""

    def __init__(self, folder, net, evidence, request, judge, steps):
        self.folder, self.net, self.evidence, self.request = folder, net, evidence, request
        self.judge, self.steps = judge, steps
        self.floating = float_files(net.model)

    def ours(self, scheme):
        """The file of our own pipeline."""
        self.steps.start(f"{self.net.name}: {scheme}")
        row = SCHEMES[scheme]
        source = self.floating(row.graph, self._training(row))
        if scheme == "int8" and self.request.budget is not None:
            return self._within_budget(scheme, source)
        if row.computes_in == "half":
            return self._in_half(scheme, source)
        return self._kept(scheme, self._judged(scheme, quantize(source, scheme, self.evidence.calibration)))

    def _in_half(self, scheme, floating):
        """The float16 file. It does not ask for float16 arithmetic where the net's numbers may leave that range."""
        partitions = self._partitions(floating)
        for half_arithmetic in (True, False):
            content = quantize(floating, scheme, half_arithmetic=half_arithmetic)
            judged = self._judged(scheme, content, partitions=partitions)
            if "half_range" not in judged.check.failures:
                break
        return self._kept(scheme, judged)

    def _partitions(self, floating):
        """Number of pieces in which XNNPACK runs the float32 file; None where the file does not open (its own gates
        report that)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float.tflite"
            path.write_bytes(floating)
            with contextlib.suppress(Fault):
                return self.judge.child.open(path)["delegated"]["partitions"]

    def stock(self, scheme):
        """The stock converter's file, which is kept even if gates fail."""
        self.steps.start(f"{self.net.name}: {scheme} by the stock converter")
        content = self._with_input(stock(self.net.model, scheme, self.evidence.calibration))
        return self._kept(scheme, self._judged(scheme, content, "stock"), "stock")

    def _training(self, row):
        """Function nodes -> nodes that trains the net further for a scheme; None for a scheme without training."""
        if not row.training:
            return None
        how = {"run": self.net.training, "tell": self.steps.detail}
        return lambda nodes: aware.train_aware(nodes, row.training, self.evidence.dataset, **how)

    def _within_budget(self, scheme, floating):
        """The int8 file for `--budget`: more and more layers stay float, until the choosing images show that no more
        points are lost than allowed.

        Its gates and `lost_points` come from the judging images, which had no part in the choice.
        """
        evidence, points, rounds = self.evidence, self.request.budget, []
        told = {"points": points, "layers": len(within_budget.layers(floating)), "rounds": rounds}
        told |= {"lost_points": None, "kept": False, "proved": False}
        child, tell = self.judge.child, self.steps.detail
        choosing = evidence.choosing
        expected = None if choosing is None else predictions(self.net.model, choosing.held())
        try:
            for choice in within_budget.choices(
                floating, evidence.calibration, evidence.sensitivity, points, child, tell
            ):
                lost = None if choosing is None else within_budget.lost(choice.content, expected, choosing, child)
                rounds.append(
                    {
                        "float_layers": len(choice.float_layers),
                        "changed": choice.changed,
                        "lost_points": None if lost is None else round(lost, 4),
                    }
                )
                if lost is None or lost <= points + 1e-9:
                    break
        except Fault as fault:  # in a file that the search ran before any gate
            return _Made(scheme, failures={"opens": str(fault)}, budget=told)
        judged = self._judged(scheme, choice.content, float_layers=choice.float_layers, max_drop=points)
        if (gate := judged.check.gates["accuracy"]) is not None:
            lost = round(100 * (self.judge.accuracy - judged.check.accuracy), 4)
            told |= {
                "lost_points": lost,
                "kept": gate["passed"],
                "proved": gate["proved"] or self.request.limits.strict,
            }
        return self._kept(scheme, judged, float_layers=choice.float_layers, budget=told)

    def _judged(self, scheme, content, converter="rewritten", **options):
        """Writes one file and runs its gates; `options` are those of the Judge."""
        path = self._path(scheme, converter)
        content = content if converter == "stock" else self._described(self._with_input(content))
        files.write_bytes(path, content)
        return _Judged(path, content, self.judge(path, scheme, **options))

    def _kept(self, scheme, judged, converter="rewritten", **budget):
        """The record of a file. A file of ours that fails a gate is removed, and the reasons are kept."""
        if converter == "rewritten" and not judged.check.passed:
            judged.path.unlink()
            return _Made(scheme, failures=judged.check.failures, **budget)
        int8 = judged.check.gates["int8"]
        if converter == "rewritten" and int8 and int8["islands"]:
            print(f"warning: {judged.path.name}: {int8['detail']}", file=sys.stderr)
        record = {
            "converter": converter,
            "scheme": scheme,
            "file": judged.path.name,
            "bytes": len(judged.content),
            "zipped_bytes": len(zlib.compress(judged.content, 9)) if SCHEMES[scheme].zipped else None,
            "sha256": hashlib.sha256(judged.content).hexdigest(),
            **judged.check.record(),
            "calibration_images": len(self.evidence.calibration) if SCHEMES[scheme].calibrated else None,
            "measurements": [],
        }
        return _Made(scheme, record, **budget)

    def _path(self, scheme, converter="rewritten"):
        return self.folder / f"{self.net.name}-{scheme}{'-stock' if converter == 'stock' else ''}.tflite"

    def _with_input(self, content):
        return with_uint8_input(content) if self.request.input_type == "uint8" else content

    def _described(self, content):
        """The file with metadata in it."""
        # A single output cannot have two names: the libraries refuse that. labels.txt has them.
        names, outputs = self.net.class_names, self.net.model.output_shape[-1]
        return metadata.embed(
            content,
            name=self.net.name,
            input_text=description.input_text(self.net),
            output_text=MEANINGS[self.judge.answers],
            channels=self.evidence.images.shape[-1],
            pixels=self.net.takes_pixels,
            probabilities=self.judge.answers in PROBABLE,
            # The libraries refuse fewer names than outputs, as in a net for more classes than the data have.
            class_names=names if len(names or ()) == outputs else None,
        )


def describe(bundle):
    """Writes the other files of the bundle: labels, golden images, model.json, card, snippets, manifest."""
    if bundle.net.class_names:
        files.write_text(bundle.folder / "labels.txt", metadata.labels_text(bundle.net.class_names))
    golden.write(bundle)
    described = description.model_json(bundle)
    files.write_json(bundle.folder / "model.json", described)
    files.write_text(bundle.folder / "MODEL_CARD.md", card.model_card(bundle, described))
    for snippet in sorted(SNIPPETS.glob("[!_]*.*")):
        files.write_bytes(bundle.folder / "snippets" / snippet.name, snippet.read_bytes())
    files.write_manifest(bundle.folder)
