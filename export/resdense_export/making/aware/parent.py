"""The process with Keras 3: it gives nodes and images to the worker, and gets arrays back."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from resdense_keras.errors import RequestError, WorkError, unknown
from resdense_keras.training.augmentation import RULES

from ...nets.layers import KINDS
from .methods import METHODS

# Kinds that tf_keras and the optimization toolkit have. Rewriting leaves only these of a ResNet or DenseNet.
KNOWN = ("Input", "Output", *(name for name, kind in KINDS.items() if kind.aware))

AUGMENT = ("shift", "mirror")  # augmentation for a net whose own training is not known


def train_aware(nodes, method, dataset, *, run=None, seed=0, tell=None, **changes):
    """The nodes of a rewritten classifier, its weights trained further by `method`.

    Args:
        nodes: Result of rewriting.apply, with one image input, one vector of probabilities or logits, and no batch
            norm.
        method: A name in METHODS.
        dataset: data.Dataset; train is used for training, validation picks the best weights, test is not read.
        run: TrainingRequest of the net's own training; its augmentation is used again, except what mixes images in
            pairs. None shifts and mirrors images.
        seed: Seed of the order and the augmentation.
        tell: Function of one line about the progress, or None.
        changes: Fields of the Method to change.
    Returns:
        Nodes equal to `nodes` except for their kernels and biases.
    Raises:
        RequestError: the method is unknown, or tf_keras lacks an operation, which is named.
        WorkError: the training failed, with the reason.
    """
    if method not in METHODS:
        raise unknown("method of aware training", method, METHODS)
    check_known(nodes)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_nodes(folder, nodes)
        job = {
            "method": asdict(replace(METHODS[method], **changes)),
            "seed": seed,
            "spec": dataset.spec,
            "mirror": dataset.mirror,
            "augment": AUGMENT if run is None else run.recipe.augment,
            "rules": RULES if run is None else run.rules,
        }
        job["splits"] = {name: _write_split(folder, name, getattr(dataset, name)) for name in ("train", "validation")}
        (folder / "job.json").write_text(json.dumps(job))
        _run(folder, tell or (lambda line: None))
        trained = np.load(folder / "trained.npz")
        return tuple(
            replace(node, weights={key: trained[f"{node.name}/{key}"] for key in node.weights})
            if f"{node.name}/kernel" in trained.files
            else node
            for node in nodes
        )


def check_known(nodes):
    """Raises a RequestError for the first node that tf_keras does not have, or cannot train on a CPU."""
    for node in nodes:
        if node.attributes.get("groups", 1) > 1:
            raise RequestError(
                f"layer {node.name!r} has {node.attributes['groups']} groups: TensorFlow cannot train it on a CPU",
                "leave qat and pruned out",
            )
        if node.kind not in KNOWN:
            kind = type(node.attributes["operation"]).__name__ if node.kind == "Carried" else node.kind
            raise RequestError(
                f"layer {node.name!r} is {kind}: schemes that train on know {', '.join(KNOWN)}",
                "leave qat and pruned out",
            )


def write_nodes(folder, nodes):
    """Nodes as JSON and one .npz, for the worker."""
    rows = [
        {
            "name": node.name,
            "kind": node.kind,
            "inputs": node.inputs,
            "shape": node.shape,
            "attributes": dict(node.attributes),
        }
        for node in nodes
    ]
    (folder / "nodes.json").write_text(json.dumps(rows))
    np.savez(
        folder / "weights.npz",
        **{f"{node.name}/{key}": np.asarray(value) for node in nodes for key, value in node.weights.items()},
    )


def _write_split(folder, name, split):
    """Writes what the worker needs to rebuild a data.Split: arrays as .npy, and returns the rest for JSON."""
    np.save(folder / f"{name}-labels.npy", split.labels)
    np.save(folder / f"{name}-indices.npy", split.indices)
    if split.images is not None:
        np.save(folder / f"{name}-images.npy", split.images)
    paths = None if split.paths is None else [str(path) for path in split.paths]
    return {"image_shape": split.image_shape, "resize": split.resize, "paths": paths}


def _run(folder, tell):
    """Runs the worker to its end: its output goes to `tell`, and its last line on stderr is the reason for a
    failure."""
    environment = os.environ | {
        "TF_USE_LEGACY_KERAS": "1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with (folder / "stderr").open("w+b") as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", "resdense_export.making.aware.worker", str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        try:
            for line in child.stdout:
                tell(line.rstrip())
        except BaseException:
            child.kill()
            raise
        finally:
            child.wait()
        if child.returncode:
            complaints.seek(0)
            last = complaints.read().decode(errors="replace").strip().splitlines()[-1:] or [f"exit {child.returncode}"]
            raise WorkError(f"aware training failed: {last[0][:300]}", "leave this scheme out")
