"""Makes a run folder with a slimmer net from a trained net and data: scores, plan, repair, then the ordinary training.

Files are written in the order in which a killed run needs them: config.yaml (the request), checkpoints/whole.keras,
checkpoints/teacher.keras where the recipe has a teacher (the whole net as `export` rewrites it: equal up to rounding,
in fewer operations), slim.json (the plan), checkpoints/keep.json (the groups that it keeps, and which data it was made
from), checkpoints/slim.keras (the repaired net), and then those of any training. Files that exist are not made again.
"""

import dataclasses
import hashlib
import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resdense_keras import compat, files
from resdense_keras.errors import RequestError

from ...models import answers
from ...models.fitness import plain_name
from ...nets.rewriting import rewrite
from ...sources import agreed, warn_of_resizing
from . import latency, repair, search
from .candidates import AfterRepair
from .channels import net_of
from .costs import macs, target
from .plan import check_share, described, plan
from .scores import IMAGES, SECONDS, Scores
from .separable import separated
from .shrinking import shape_of
from .solved import changed

SCHEMA = "resdense-slim/1"
LABELLED = 500  # images that tell whether a net was trained
FITTED = 0.9  # share of them answered rightly, below which labels may teach more than the net: docs/slimming.md
LEAST_IMAGES = 50  # that scores and repair stand on
TOLD = 10  # seconds between two lines of progress, at least
PLAN = "slim.json"


@dataclass(frozen=True)
class SlimRequest:
    """What is asked of a slim net.

    Attributes:
        macs: Largest share of the original's MACs, above 0 and below 1.
        target: Name of costs.TARGETS: what the ranking saves.
        latency: Largest share of the latency of the target's file, see latency.py.
        max_drop: Points of accuracy that the net may be expected to lose, see search.py.
        counted: Whether a command counts the latency; None or False where it is timed.
    Raises:
        RequestError: a value that is not allowed, or not exactly one of `macs`, `latency` and `max_drop`.
    """

    macs: float | None = None
    target: str = "phone-int8"
    latency: float | None = None
    max_drop: float | None = None
    counted: bool | None = None

    def __post_init__(self):
        given = {flag: value for flag, value in self._flags().items() if value is not None}
        if len(given) != 1:
            shown = " and ".join(f"{flag} {value}" for flag, value in given.items())
            raise RequestError(
                f"{shown + ' were' if given else 'nothing was'} given; exactly one of {', '.join(self._flags())} must "
                "say how small the net should be",
                "leave out all but one" if given else "pass --macs 0.5 for half of the multiply-adds",
            )
        for flag, value in given.items():
            if flag == "--max-drop":
                search.check_points(value)
            else:
                check_share(value, flag)
        target(self.target)

    def _flags(self):
        return {"--macs": self.macs, "--latency": self.latency, "--max-drop": self.max_drop}

    def as_dict(self):
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan with its net, and the number of images that scored it; 0 where it was read from a file.

    `repaired`: Number of images on which the layers are solved.
    `measured`: What latency.plan_within found, where latency was asked for.
    `whole`: The Built whole net, where one was made.
    """

    net: object
    plan: object
    images: int
    repaired: int = 0
    measured: dict | None = None
    whole: object = None


def show(net, dataset, asked, seed=0, tell=None, images=None, epochs=None, count=None, deterministic=False):
    """The Planned that `slim` would carry out.

    Args:
        net: A sources.Net.
        dataset: A data.Dataset, or None with `images` (N, H, W, C) in random order.
        asked: A SlimRequest.
        epochs: Of the training to come, for `max_drop`; default: those of the recipe `slim`.
        count: For `latency`: function of a .tflite file that returns its cost; default: files are timed here.
        deterministic: Whether the plan may not depend on the time that scores take.
    Raises:
        RequestError: the data do not fit the net, or, for `max_drop`, it answers them no better than by guessing.
    """
    _check_answers(net)
    whole = _sliceable(net.model)
    if dataset is not None:
        _check_data(dataset, net)
        if asked.max_drop is not None:
            _check_trained(whole, dataset, net)
    images = _scoring(dataset, seed) if images is None else images
    return _planned(whole, images, asked, seed, tell, dataset, epochs, count, deterministic)


def slim(
    net,
    asked,
    request,
    out,
    *,
    resize=None,
    resume=False,
    scan=False,
    save_seconds=60,
    devices=None,
    tell=None,
    count=None,
):
    """Makes a slim net in the run folder `out` and trains it, where the recipe says so with the whole one as teacher.

    Args:
        net: A sources.Net, the whole net.
        asked: A SlimRequest.
        request: TrainingRequest, from `training_request`.
        resize: What the user asked for, None for no wish: photos are resized as the request says.
        resume, scan, save_seconds, devices, tell: As training.run takes them.
        count: As `show` takes it.
    Returns:
        The history of the training, as training.run's.
    Raises:
        RequestError: the net is untrained, the target cannot be reached, the folder holds another run, or as
            training.run.
        WorkError: as training.run.
    """
    from resdense_keras import training
    from resdense_keras.training.devices import OneDevice, check_batch
    from resdense_keras.training.starts import SLIM

    out, tell = Path(out), tell or _nothing
    how = {"resume": resume, "scan": scan, "save_seconds": save_seconds, "devices": devices, "tell": tell}
    check_batch(devices or OneDevice(), request.recipe.batch_size)
    _check_place(out, request, resume)
    if not (resume and (out / SLIM).is_file()):
        with files.lock(out):
            request = _prepare(net, asked, request, out, resume, resize, devices or OneDevice(), tell, count)
    else:
        request = dataclasses.replace(request, model=_name_there(out))
    return training.run(request, out, **how)


def training_request(net, data, asked, recipe="slim", **given):
    """The TrainingRequest of a slim run; its `model` is a name until the plan is known.

    Args:
        given: Other fields of the request.
    """
    from resdense_keras import training

    what = {
        "from": net.name,
        "sha256": _fingerprint(net.model),
        "preprocessing": net.preprocessing,
        **asked.as_dict(),
        "input_shape": [*net.image_shape],
        "classes": list(net.class_names) if net.class_names else None,
    }
    return training.TrainingRequest(model=f"{net.name}_slim", data=data, recipe=recipe, slim=what, **given)


def _prepare(net, asked, request, out, resume, resize, devices, tell, count):
    """Plans and repairs; returns the request with the slim net's name."""
    import yaml

    from resdense_keras import training
    from resdense_keras.training.loop import steps_per_epoch
    from resdense_keras.training.runs import check_data, data_fingerprint
    from resdense_keras.training.starts import CHOICE, SLIM, TEACHER, WHOLE

    whole = _sliceable(net.model)
    dataset = training.load_data(request)
    _check_answers(net)
    _check_data(dataset, net)
    steps_per_epoch(len(dataset.train), request.recipe.batch_size, devices.count > 1)  # refuses where there is none
    warn_of_resizing(net, dataset, resize)
    right, labelled = _check_trained(whole, dataset, net)
    files.check_writable(out, 40 * whole.count_params())
    choice, data = (_read_choice(out) if resume else None), data_fingerprint(dataset)
    images = _scoring(dataset, request.seed)
    if choice is None:
        if request.recipe.teacher and right < FITTED:
            tell(
                f"note: {net.name} answers {right:.1%} of {labelled} training images rightly; if it was trained for a "
                "short time, `--recipe fast`, which learns only from labels, may lose less"
            )
        epochs, exactly = request.recipe.epochs, request.deterministic
        planned = _planned(whole, images, asked, request.seed, tell, dataset, epochs, count, exactly)
        request = dataclasses.replace(request, model=_named(net.name, planned.plan))
        files.write_text(out / "config.yaml", yaml.safe_dump(request.as_config(), sort_keys=False))
        saved = {WHOLE: whole} | ({TEACHER: rewrite(whole)} if request.recipe.teacher else {})
        for name, model in saved.items():
            with files.writing(out / name) as temporary:
                model.save(temporary)
        files.write_json(out / PLAN, as_json(planned, net.name, asked))
        files.write_json(out / CHOICE, {"keep": np.flatnonzero(planned.plan.keep).tolist(), "data": data})
    else:
        check_data(out, request, choice, data)
        tell("continuing with the plan in slim.json")
        graph = net_of(whole)
        planned = Planned(graph, _plan_there(out, choice, graph), 0)
        request = dataclasses.replace(request, model=_named(net.name, planned.plan))
    made = repaired(planned, images, request.model, tell)
    hits, count, guesses = _hits(made, dataset)
    if guesses:
        tell(
            f"warning: the repaired net answers {hits:.1%} of {count} training images rightly, no more than guessing "
            "would: the training begins almost from scratch; a less strict target keeps more of what was learnt, such "
            f"as --macs {_larger(planned.plan):.2g}"
        )
    with files.writing(out / SLIM) as temporary:
        made.save(temporary)
    return request


def _plan_there(out, choice, graph):
    """The Plan in a run folder. Refused where its numbers mean other channels now, as after another version's
    numbering."""
    numbers, there = np.array(choice["keep"], int), out / PLAN
    if there.is_file() and numbers.max(initial=-1) < graph.count:
        keep = np.zeros(graph.count, bool)
        keep[numbers] = True
        found = described(graph, keep)
        if json.loads(there.read_text())["widths"] == {name: list(pair) for name, pair in found.widths.items()}:
            return found
    raise RequestError(
        f"the plan in {out} was made by another version, or its files were changed", "choose another `--out`"
    )


def _larger(chosen):
    """A share of the MACs halfway between a Plan's and the whole net's."""
    before, after = chosen.macs
    return (1 + after / before) / 2


def repaired(planned, images, name, tell=None):
    """The slim model of a Planned, its layers solved again on `images`."""
    calls = planned.net.calls
    layers = [calls[name]["operation"] for name in changed(planned.net, planned.plan.shape) if name in calls]
    frozen = [layer for layer in layers if getattr(layer, "weights", ()) and not layer.trainable]
    if tell and frozen:
        tell(
            f"note: frozen layers that will be trained, because they or layers before them lost channels: {len(frozen)}"
        )
    images = images[: repair.images_that_fit(planned.net)]
    if tell:
        tell(f"repair: convolutions and dense layers whose input changed are solved again on {len(images):,} images")
    return repair.repaired(planned.net, planned.plan.keep, images, name, planned.whole)


def as_json(planned, name, asked):
    """slim.json's content."""
    chosen = planned.plan
    return {
        "schema": SCHEMA,
        "from": name,
        "target": asked.as_dict(),
        "images": planned.images,
        "repaired": planned.repaired,
        "widths": {layer: list(pair) for layer, pair in chosen.widths.items()},
        "removed_blocks": list(chosen.removed_blocks),
        "macs": list(chosen.macs),
        "predicted": {
            "parameters": list(chosen.parameters),
            "bytes": {"fp32": [4 * count for count in chosen.parameters], "int8": list(chosen.parameters)},
            "instructions": {scheme: [round(n) for n in pair] for scheme, pair in chosen.instructions.items()},
        },
        "not_cut": dict(planned.net.uncut),
    } | ({"measured": planned.measured} if planned.measured else {})


def _planned(model, images, asked, seed, tell, dataset, epochs, count, deterministic):
    tell, measured = tell or _nothing, None
    graph = net_of(model)
    for layer, why in graph.uncut.items():
        tell(f"note: the channels at {layer!r} stay: {why}")
    if graph.fixed.all():
        why = "what the notes above name reads all its layers" if graph.uncut else "all its layers make its output"
        raise RequestError(f"no channel of this net can be removed: {why}", "export the net as it is")
    whole = macs(graph, shape_of(graph, graph.everything))
    tell(f"scores: {len(images)} images, {whole / 1e6:,.1f} M MACs each")
    scored = _now_and_then(lambda done, total: done < total and tell(f"scores: {done:,} of {total:,} images"))
    if deterministic and asked.latency is not None and count is None:
        tell(
            "note: measured times differ from run to run, so another run may choose another plan; with --count it "
            "would not"
        )
    seconds = math.inf if deterministic else SECONDS
    scores = Scores(graph, images, seed, seconds, scored, target(asked.target).stair)
    tell(f"plan: channels leave step by step, by the scores of {scores.images:,} images")
    judge = AfterRepair(graph, scores, images, tell)
    if asked.max_drop is not None:
        from resdense_keras import training

        held_out = search.held_out(dataset)
        epochs = epochs or training.recipe("slim").epochs
        chosen = search.smallest(graph, scores, images, held_out, asked.max_drop, asked.target, epochs, tell, judge)
    elif asked.latency is not None:
        chosen, measured = latency.plan_within(graph, scores, images, asked.latency, asked.target, count, tell, judge)
    else:
        left = _now_and_then(lambda share: tell(f"plan: at {share:.1%} of the MACs"))
        chosen = plan(graph, scores, asked.macs, asked.target, progress=left, judge=judge)
    before, after = chosen.macs
    tell(f"plan: {after / before:.1%} of the MACs, {len(chosen.widths)} layers get narrower or are removed")
    fitting = min(len(images), repair.images_that_fit(graph))
    return Planned(graph, chosen, scores.images, fitting, measured, scores.built)


def _now_and_then(show):
    """`show` as a function that runs once in TOLD seconds, and else does nothing."""
    last = time.monotonic()

    def shown(*arguments):
        nonlocal last
        if time.monotonic() - last >= TOLD:
            last = time.monotonic()
            show(*arguments)

    return shown


def _scoring(dataset, seed):
    """Training images in random order, as many as scores and repair use at most."""
    from resdense_keras.data.dataset import representative

    chosen = representative(dataset.train, IMAGES, seed)
    if len(chosen) < LEAST_IMAGES:
        raise RequestError(
            f"{dataset.spec} has {len(chosen)} training images; slimming needs {LEAST_IMAGES} or more", "give more data"
        )
    return dataset.train.array(np.random.default_rng(seed).permutation(chosen))


def _check_data(dataset, net):
    if any(side not in (None, given) for side, given in zip(net.image_shape, dataset.image_shape, strict=True)):
        message = f"{dataset.spec} has images of shape {dataset.image_shape}, the model takes {tuple(net.image_shape)}"
        raise RequestError(message, "give the data that it was trained on")
    dataset.check_outputs(max(2, net.model.output_shape[-1]))
    try:
        agreed(net.class_names, dataset.class_names, dataset.spec)
    except RequestError as error:  # whose hint names a flag of `export`
        raise RequestError(error.message, "give data with the model's classes in its order") from None


def _check_answers(net):
    """Refuses a net that does not choose one class."""
    if not answers.has_classes(net.answers) or net.answers == answers.LABELS:
        raise RequestError(
            f"the outputs of {net.name} are {answers.MEANINGS[net.answers]}; slim takes nets that choose one class",
            "give a net with one output for each class",
        )


def _check_trained(model, dataset, net):
    """(share of a few training images that a net answers rightly, their number).

    Refuses a net that guesses, because the worth of its channels cannot be measured.
    """
    import keras

    hits, count, guesses = _hits(model, dataset)
    if guesses:
        message = (
            f"{net.name} answers {hits:.1%} of {count} training images of {dataset.spec} rightly, no more than "
            "guessing would"
        )
        norms = any(isinstance(layer, keras.layers.BatchNormalization) for layer in compat.parts(model))
        hits, _, guesses = _hits(model, dataset, training=True)
        if norms and not guesses:  # dropout and augmentation change what a net answers in training too
            raise RequestError(
                f"{message}. With the statistics of each batch, as in training, it answers {hits:.1%}: the moving "
                "statistics of its batch norms have not settled yet",
                "train it for more steps, or use BatchNormalization(momentum=0.9); when the validation accuracy is "
                "near the training accuracy, they have settled",
            )
        raise RequestError(
            f"{message}: it is untrained, or takes other pixels or classes",
            "train it first (`resdense train`), or give the data that it was trained on"
            + ("" if net.takes_pixels else ", or say by --preprocessing what pixels it was trained on"),
        )
    return hits, count


def _hits(model, dataset, training=False):
    """(share of LABELLED training images answered rightly, their number, whether guessing would be as good).

    `training`: The net computes as in training, which changes its moving statistics.
    """
    from resdense_keras.data.dataset import representative

    chosen = np.random.default_rng(0).permutation(representative(dataset.train, LABELLED))
    labels = dataset.train.labels[chosen]
    right = search.right(model, dataset.train.array(chosen), labels, training)
    return float(right.mean()), len(labels), _guessed(right, labels)


def _guessed(right, labels):
    """Whether guessing would have been as right, by the mean of the accuracies of the classes.

    A net that always answers with one class has the same mean as random guessing, 1 / classes.
    """
    counts = np.bincount(labels)
    counts, hits = counts[counts > 0], np.bincount(labels, right)[counts > 0]
    if len(counts) == 1:
        return False  # nobody can tell
    chance = 1 / len(counts)
    deviation = np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts)
    return bool((hits / counts).mean() <= chance + 3 * deviation)


def _check_place(out, request, resume):
    """Refuses a folder of another slim run before the long work; training.run refuses all other folders."""
    from resdense_keras import training
    from resdense_keras.training.runs import state_file

    path = out / "config.yaml"
    if not path.is_file():
        if out.is_file():
            raise RequestError(f"{out} is a file", "choose another `--out`: a folder that is new or empty")
        if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise RequestError(f"{out} is not empty and holds no run", "choose another `--out`")
        return
    if not resume:
        raise RequestError(f"{out} holds a run", "pass `--resume` to go on with it, or choose another `--out`")
    config = training.read_config(path)
    there = dataclasses.replace(request, model=config["model"]) if config.get("slim") else request
    differing = there.differences(config)
    differing.pop("data", None)  # the data themselves are looked at
    if not state_file(out).is_file():  # the training has not begun, and may be another one, such as in smaller batches
        for name in set(training.recipes.FIELDS) - ({"epochs"} if request.slim.get("max_drop") else set()):
            differing.pop(name, None)
    if "slim" in differing:
        before, asked = config.get("slim"), there.as_config()["slim"]
        differing["slim"] = _other_slim(before, asked) if before else "it was not made by `resdense slim`"
    if differing:
        hint = "repeat the first command with `--resume`, or choose another `--out`"
        if differing.keys() & set(training.recipes.FIELDS):
            hint += f"; `--recipe {path}` is the recipe of the run"
        raise RequestError(f"{out} holds another run: {'; '.join(differing.values())}", hint)


def _other_slim(before, asked):
    """How two requests for a slim net differ, without the long values."""
    long = {"sha256": "the net's weights", "classes": "its class names", "preprocessing": "its normalisations"}
    differing = [key for key in dict.fromkeys((*before, *asked)) if before.get(key) != asked.get(key)]
    words = [f"{key} is {before.get(key)!r} there and {asked.get(key)!r} here" for key in differing if key not in long]
    return "; ".join(words + [f"{long[key]} differ" for key in differing if key in long])


def _name_there(out):
    from resdense_keras import training

    return training.read_config(out / "config.yaml")["model"]


def _read_choice(out):
    """{"keep": numbers of the groups that the plan in a run folder keeps, "data": what it was made from}; None where
    the plan was not finished."""
    from resdense_keras.training.starts import CHOICE, WHOLE

    path = out / CHOICE
    if not (path.is_file() and (out / WHOLE).is_file() and (out / "config.yaml").is_file()):
        return None
    return json.loads(path.read_text())


def _named(name, chosen):
    """`resnet20_slim50` for a net with 50 % of the MACs; a slim net that is slimmed again has only one such ending."""
    before, after = chosen.macs
    return f"{re.sub(r'_slim[0-9]+$', '', plain_name(name))}_slim{round(100 * after / before)}"


def _fingerprint(model):
    """sha256 of a net's weights, which tells files with one name apart."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _sliceable(model):
    """`model` in float32, with layers that can lose channels."""
    from ...nets.float32 import as_float32

    return separated(as_float32(model))


def _nothing(*arguments):
    pass
