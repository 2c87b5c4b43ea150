"""A run folder: one training that can be stopped anywhere and resumed; a deterministic one ends in the same bits.

Only `checkpoints/state.safetensors` says how far the run is. It is replaced in one step and holds weights, optimizer,
random states, metrics so far and the history, from which metrics.jsonl is written. `checkpoints/best-N.safetensors`
holds the weights of the best epoch on held-out training images. This file is written before the state that names it,
and removed after a state names a later one, so a kill between any two writes loses nothing. The manifest is written
last: a folder that has one is finished.
"""

import contextlib
import hashlib
import json
import shlex
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import catalog, data, files, weights
from ..data import resizing
from ..data.splits import VALIDATION_SHARE
from ..errors import RequestError, WorkError
from ..intervals import may_be_chance
from ..preprocessing import Preprocessing
from . import augmentation, curves, starts, state, tensorboard
from .determinism import be_deterministic
from .devices import OneDevice
from .evaluation import knows_held_out
from .interrupts import Interrupts
from .loop import is_over
from .objectives import strength
from .request import TrainingRequest, read_config
from .xla_trial import choose_jit

SAVE_SECONDS = 60  # between two saves, at least: a killed run repeats what it did since the last one
SAVE_SHARE = 0.01  # of the time, at most, for saving: a save of 2 seconds comes every 200 seconds
BEGUN = {"config.yaml", "labels.txt", "checkpoints", "slim.json"}  # files that exist before the first state
BYTES_OF_A_PARAMETER = 24  # five float32: weights, momentum, two bests and model.keras; and a reserve


def train(
    model: str,
    data: str | Path,
    out: str | Path,
    recipe: str = "fast",
    *,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    freeze: str | None = None,
    seed: int = 0,
    resume: bool = False,
    deterministic: bool = False,
    precision: str = "float32",
    jit: str | bool = "auto",
    image_size: int | tuple[int, int] | None = None,
    on_bad_image: str = "fail",
    resize: str = resizing.DEFAULT,
    scan: bool = False,
    held_out: float = VALIDATION_SHARE,
    save_seconds: float = SAVE_SECONDS,
    devices: Any = None,
    tensorboard: bool = False,
    tell: Callable[[str], object] | None = None,
) -> list[dict[str, Any]]:
    """Trains a net of the catalogue by a recipe into the folder `out`.

    Args:
        model, data, recipe, options, weights, freeze, seed, held_out, tensorboard: See TrainingRequest.
        deterministic, precision, jit, image_size, on_bad_image, resize: See TrainingRequest.
        devices: Where the steps run, from devices.choose; default: one.
        out, resume, scan, save_seconds, devices, tell: See `run`.
    Returns:
        As `run`.
    Raises:
        RequestError: a value that is not allowed; and as `run`.
    """
    devices = devices or OneDevice()
    request = TrainingRequest(
        model=model,
        options=options,
        weights=weights,
        freeze=freeze,
        data=data,
        image_size=image_size,
        on_bad_image=on_bad_image,
        resize=resize,
        held_out=held_out,
        recipe=recipe,
        seed=seed,
        deterministic=deterministic,
        precision=precision,
        jit=jit,
        tensorboard=tensorboard,
        devices=devices.name,
    )
    return run(request, out, resume=resume, scan=scan, save_seconds=save_seconds, devices=devices, tell=tell)


def run(
    request: TrainingRequest,
    out: str | Path,
    *,
    resume: bool = False,
    scan: bool = False,
    save_seconds: float = SAVE_SECONDS,
    devices: Any = None,
    tell: Callable[[str], object] | None = None,
) -> list[dict[str, Any]]:
    """Trains what a TrainingRequest says into the folder `out`.

    Args:
        request: A TrainingRequest.
        out: Run folder.
        resume: Go on with the run in `out`; an absent or empty folder starts afresh.
        scan: Read every file of an image folder in full first, see data.load. It changes no result, so a resumed run
            may leave it out.
        save_seconds: Seconds between two saves of the state, or a hundred times as long as a save takes where that is
            more. The state is also saved after each epoch. 0 saves after every step.
        devices: Where the steps run, from devices.choose; `request.devices` is its name. Of several hosts only the
            first writes `out`; to resume the run, `out` must lie on a disk that all hosts share.
        tell: Function of one line about the progress, or None.
    Returns:
        The history: [{"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"}].
    Raises:
        RequestError: the folder holds another run, a checkpoint is damaged, or options do not fit the net or the data.
        WorkError: the loss is not finite, a file cannot be read, or the disk is full. The last checkpoint is whole.
    """
    out, tell, devices = Path(out), tell or _silent, devices or OneDevice()
    if request.recipe.teacher and not request.slim:
        raise RequestError(
            f"the recipe's teacher={request.recipe.teacher:g} is a share of another net's answers, and there is none",
            "`resdense slim` has the original net as teacher; for `train` take another --recipe",
        )
    if request.slim and not (out / starts.SLIM).is_file():
        raise RequestError(
            f"this is the request of a `resdense slim` run, and {out} has no {starts.SLIM}",
            "`resdense slim` makes the slim net and trains it; to repeat a run, give it the same model, data and flags",
        )
    if resume and state_file(out).exists() and (out / "config.yaml").is_file():
        request = request.going_on(read_config(out / "config.yaml"))
    with contextlib.ExitStack() as stack:
        if not _begins(out, request, resume, devices, stack):
            tell(f"{out} is finished; nothing is left to do")
            return _read_metrics(out)
        if request.deterministic:
            be_deterministic()
        return _Run(out, request, save_seconds, devices, tell, scan).go()


_IS_REFUSED, _IS_FINISHED, _BEGINS = range(3)


def _begins(out, request, resume, devices, stack):
    """Whether there is something to do in `out`, which is then locked until `stack` ends.

    Of several hosts the first one looks and tells the others, also of an error, or they would wait for it for ever.
    """
    found = _IS_REFUSED
    try:
        if devices.writes:
            files.check_writable(out, need_bytes=0)
            stack.enter_context(files.lock(out))
            _check_folder(out, request, resume)
            found = _IS_FINISHED if (out / files.MANIFEST).is_file() else _BEGINS
    finally:
        found = devices.from_first(found)
    if found == _IS_REFUSED:
        raise WorkError("the first of the hosts refused to begin", "read its own message")
    return found == _BEGINS


def _read_metrics(out):
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _check_folder(out, request, resume):
    """Refuses a folder that holds something other than a run, or a run of another configuration."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    path = out / "config.yaml"
    if names <= BEGUN and (not names or path.is_file()) and not state_file(out).exists():
        return  # nothing to lose: it was killed, or failed, before its first step was saved
    if not path.is_file():
        raise RequestError(f"{out} is not empty and holds no run", "choose another `--out`")
    if not resume:
        raise RequestError(f"{out} holds a run", "pass `--resume` to go on with it, or choose another `--out`")
    config = read_config(path)
    differing, finished = request.differences(config), (out / files.MANIFEST).is_file()
    if "data" in differing and state_file(out).exists() and differing.keys() == {"data"}:
        if finished:
            check_data(out, request, state.load(state_file(out))[1], data_fingerprint(load_data(request)))
        return  # files may have moved; reading them shows whether they are the same
    if finished and differing.keys() <= {"epochs", "data"} and request.recipe.epochs > config["recipe"]["epochs"]:
        raise RequestError(
            f"{out} is finished after {config['recipe']['epochs']} epochs, and its learning rate has ended its fall",
            "run `resdense slim` again with more --epochs and another --out"
            if request.slim
            else f"go on from its weights: {_going_on_from(out, request, config)}",
        )
    if differing:
        hint = "repeat the first command with `--resume`, or choose another `--out`"
        raise RequestError(f"{out} holds another run: {'; '.join(differing.values())}", hint)


def _going_on_from(out, request, config):
    """The command that goes on training from the weights of the finished run in `out`, otherwise by its config.yaml."""
    more = request.recipe.epochs - config["recipe"]["epochs"]
    moved = ["--data", request.data] if request.data != config["data"] else []
    words = ["resdense", "train", out / "config.yaml", "--weights", out / "model.keras", *moved, "--epochs", more]
    return shlex.join(map(str, (*words, "--out", out.with_name(f"{out.name}-more"))))


def check_data(out, request, place, fingerprint):
    """Refuses data of another fingerprint than those of a run's state, or of a slim net's plan."""
    if place["data"] != fingerprint:
        raise RequestError(
            f"{request.data} is not what {out} was made from: the data have changed since",
            "restore the data, or choose another `--out`",
        )


def state_file(out):
    return out / "checkpoints" / "state.safetensors"


class _Run:
    """One training in its folder: decides what is saved when, and how it is resumed."""

    def __init__(self, out, request, save_seconds, devices, tell, scan):
        self.out, self.request, self.recipe, self.save_seconds = out, request, request.recipe, save_seconds
        self.devices, self.tell = devices, tell
        self.dataset = load_data(request, scan)
        self.tell(f"data: {self.dataset.describe()}")
        self.tell(
            f"augmentation: {augmentation.describe(self.recipe, self.dataset, request.rules)} (--augment changes it)"
        )
        self.fingerprint = data_fingerprint(self.dataset)
        self.history, self.best, self.start, self._stopped = [], None, (0, 0), False
        self.place, self.saved_place, self.begun = None, None, False
        self.seconds = 0.0  # seconds of this epoch in earlier processes

    @property
    def state_file(self):
        return state_file(self.out)

    def go(self):
        """Trains from where the folder is to the end, or until Ctrl-C or SIGTERM."""
        with Interrupts() as interrupts:
            self.interrupts = interrupts
            self._prepare()
            self.epoch_began = self.saved = time.monotonic()
            self.saving = 0.0
            self.training.run(
                self.request.seed,
                self._on_epoch,
                start=self.start,
                history=self.history,
                on_step=self._on_step,
                stopping=self._stopping,
            )
            self.devices.release()
            if self.devices.writes:
                if self._stopped:
                    self._save_once()
                else:
                    self._finish()
            if self._stopped and not interrupts:
                epoch, step = self.place
                raise WorkError(
                    f"another host was stopped; this one stopped with it, in epoch {epoch + 1} after step {step}",
                    "the state is saved: start all hosts again with `--resume`",
                )
        return self.history

    def _prepare(self):
        before = state.load(self.state_file) if self.state_file.exists() else None
        if before:
            check_data(self.out, self.request, before[1], self.fingerprint)
        elif self.request.slim and (plan := self.out / starts.CHOICE).is_file():
            check_data(self.out, self.request, json.loads(plan.read_text()), self.fingerprint)
        self.arguments = self._arguments(before and before[1])
        self.training = starts.start(self.request, self.dataset, self.devices, net=self.arguments, fresh=before is None)
        if said := self.devices.describe(self.recipe.batch_size):
            self.tell(said)
        if "mirror" in augmentation.left_alone(self.recipe, self.dataset, self.request.rules):
            self.tell("these images are not mirrored: they are digits, or have one channel, as writing does")
        if self.recipe.sparsity:
            factor = strength(self.recipe, self.training.steps)
            self.tell(f"sparsity: the loss includes {factor:.2g} times the sum of all batch norms' scales")
        if before:
            self._restore(*before)
        elif self.devices.writes:
            files.check_writable(self.out, self.training.model.count_params() * BYTES_OF_A_PARAMETER)
            self.training.jit = self._choose_jit()
        if self.request.slim and not before:
            self._judge_start()
        self.devices.check_equal(self.start)

    def _judge_start(self):
        """Keeps the repaired slim net as epoch 0: few steps on few images may leave it worse.

        But where the original net was probably trained on the held-out images, the repaired one still knows them, so
        that its held-out accuracy is too high to compare.
        """
        accuracy = self.training.evaluate(self.dataset.validation)["accuracy"]
        if not self.devices.writes:
            return
        self.tell(f"before the training: held out {accuracy:.4f}")
        if knows_held_out(starts.load_net(self.out / starts.WHOLE), self.dataset):
            self.tell(
                "note: the original net is as accurate on the held-out images as on training images, so it was "
                "probably trained on them too; the net before the training, which still knows them, is left out of the "
                "choice of the best epoch"
            )
        else:
            self._keep_best(0, accuracy)

    def _arguments(self, place):
        """Arguments that the net is built with. A resumed run keeps its own, because its start weights may be gone."""
        kept = (place or {}).get("net")
        if self.request.slim:
            nets = {"slim": self.out / starts.SLIM}
            if self.recipe.teacher:
                there = starts.TEACHER if (self.out / starts.TEACHER).is_file() else starts.WHOLE
                taught = (kept or {}).get("teacher", starts.WHOLE) if place else there  # older states name none
                nets["teacher"] = self.out / taught
            return nets
        if kept is None:
            return starts.arguments_of(self.request, self.dataset)
        pixels = kept["include_preprocessing"]
        return kept | {"include_preprocessing": Preprocessing(**pixels) if isinstance(pixels, dict) else pixels}

    def _write_config(self):
        """Writes the first files of a run, but only after its first step: until then it may still be refused."""
        text = yaml.safe_dump(self.request.as_config(), sort_keys=False)
        path = self.out / "config.yaml"
        if not path.is_file() or path.read_text() != text:
            files.write_text(path, text)
        if names := (self.request.slim or {}).get("classes") or self.dataset.class_names:
            files.write_text(self.out / "labels.txt", "".join(f"{name}\n" for name in names))

    def _choose_jit(self):
        if self.request.deterministic or self.request.jit != "auto" or self.devices.count > 1:
            return self.request.jit == "on" and not self.request.deterministic
        jit, why = choose_jit(self.training, self.recipe.epochs * self.training.steps)
        self.tell(f"XLA: {why}")
        return jit

    def _stopping(self):
        """Whether Ctrl-C or SIGTERM came, here or on another host; all hosts stop after the same step."""
        self._stopped = self._stopped or self.devices.any(bool(self.interrupts))
        return self._stopped

    def _on_step(self, epoch, step):
        self.place = (epoch, step)
        if not self.devices.writes:
            return
        if not self.begun:
            self._write_config()
            self.begun = True
        interval = self.save_seconds and max(self.save_seconds, self.saving / SAVE_SHARE)  # 0: after every step
        if self.interrupts or time.monotonic() - self.saved > interval:
            self._save(epoch, step)

    def _on_epoch(self, record):
        now = time.monotonic()
        seconds = self.seconds + now - self.epoch_began
        self.seconds, self.epoch_began = 0.0, now
        self.history.append({**record, "seconds": round(seconds, 3)})
        self.place = (record["epoch"], 0)
        if not self.devices.writes:
            return
        if self.best is None or record["val_accuracy"] > self.best["val_accuracy"]:
            self._keep_best(record["epoch"], record["val_accuracy"])
        self._save(record["epoch"], 0)
        self._remove_old_bests()
        self._write_metrics()
        self.tell(self._line(record, seconds))
        if record["epoch"] < self.recipe.epochs and is_over(self.recipe, self.history):
            self.tell(f"the training ends here: {self.recipe.patience} epochs brought no better held-out accuracy")

    def _keep_best(self, epoch, accuracy):
        self.best = {"epoch": epoch, "val_accuracy": accuracy}
        with self.training.judged():
            state.save(self._best_file, _weights(self.training.model), self.best)

    def _line(self, record, seconds):
        waits = self.training.waited / self.training.worked if self.training.worked else 0.0
        return (
            f"epoch {record['epoch']} of {self.recipe.epochs}: loss {record['loss']:.4f}, "
            f"accuracy {record['accuracy']:.4f}, held out {record['val_accuracy']:.4f}, {seconds:.0f} s, "
            f"{waits:.1%} of it waiting for input"
        )

    @property
    def _best_file(self):
        return state.best_file(self.out, self.best["epoch"])

    def _remove_old_bests(self):
        for path in self.state_file.parent.glob("best-*.safetensors"):
            if self.best is None or path != self._best_file:
                path.unlink(missing_ok=True)

    def _save_once(self):
        """Saves the state where a Ctrl-C on another host stopped this one."""
        if self.place != self.saved_place:
            self._save(*self.place)

    def _save(self, epoch, step):
        begun = time.monotonic()
        place = {
            "model": self.request.model,
            "epoch": epoch,
            "step": step,
            "seconds": self.seconds + begun - self.epoch_began,
            "history": self.history,
            "best": self.best,
            "data": self.fingerprint,
            "net": self._arguments_as_json(),
            "jit": self.training.jit,
        }
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        state.save(self.state_file, arrays, place)
        self.saved, self.saved_place = time.monotonic(), (epoch, step)
        self.saving = self.saved - begun

    def _variables(self):
        """{name: variable} of the training; a name begins with a number, because Keras' own names depend on earlier
        models."""
        return {
            f"{number:05d}/{getattr(variable, 'path', variable.name).rpartition('/')[2]}": variable
            for number, variable in enumerate(self.training.variables)
        }

    def _arguments_as_json(self):
        pixels = self.arguments.get("include_preprocessing")
        is_record = isinstance(pixels, Preprocessing)
        if self.request.slim:
            taught = self.arguments.get("teacher")
            return {"teacher": taught.relative_to(self.out).as_posix()} if taught else {}
        return self.arguments | {"include_preprocessing": pixels.as_dict() if is_record else pixels}

    def _restore(self, arrays, place):
        variables = self._variables()
        if {name: array.shape for name, array in arrays.items()} != {
            name: tuple(variable.shape) for name, variable in variables.items()
        }:
            raise RequestError(
                f"{self.state_file} is the state of another net ({place['model']}), or of another version of this one",
                "choose another `--out`",
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.history, self.best, self.seconds = place["history"], place["best"], place["seconds"]
        self.start, self.training.jit = (place["epoch"], place["step"]), place["jit"]
        if self.devices.writes:
            self._write_config()  # the data may have moved
            self.begun = True
            self._remove_old_bests()
            self._write_metrics()
        self.tell(f"going on in epoch {self.start[0] + 1} after step {self.start[1]} of {self.training.steps}")

    def _write_metrics(self):
        files.write_text(self.out / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in self.history))
        if self.request.tensorboard:
            tensorboard.write(self.out / "tensorboard", self.history)

    def _finish(self):
        """Writes model.keras from the best epoch, without compile state, and last the manifest."""
        arrays, _ = state.load(self._best_file)
        with warnings.catch_warnings(action="ignore"):  # its warnings about the first weights were shown already
            model = starts.new_net(self.request, self.arguments)
        starts.unfreeze(model)
        for name, variable in _named(model).items():
            variable.assign(arrays[name])
        with files.writing(self.out / "model.keras") as temporary:
            model.save(temporary)
        self._write_metrics()
        curves.draw(self.out / "curves.png", self.history)
        files.write_manifest(self.out)
        epoch, accuracy = self.best["epoch"], self.best["val_accuracy"]
        images = len(self.dataset.validation)
        when = f"epoch {epoch}" if epoch else "the net before the training"
        self.tell(f"best on held-out training images: {when}, {accuracy:.4f} of {images:,}")
        right = round(accuracy * images)
        channels = self.dataset.image_shape[-1]
        if remark := remark_on_chance(self.request, right, images, self.dataset.classes, channels):
            self.tell(remark)


def remark_on_chance(request, right, images, classes, channels):
    """A sentence on a net that may have learnt nothing, with what may help; None for a better one.

    Args:
        request: The TrainingRequest.
        right: How many of the held-out `images` it answers rightly.
        classes: Number of classes.
        channels: Of the images; weights for others are not named.
    """
    if not may_be_chance(right, images, classes):
        return None
    named = [] if request.weights or request.slim else weights.names(request.model)
    fits = named and channels == catalog.sizes()[request.model]["input_shape"][-1]
    start = f", or begin with `--weights {named[0]}`" if fits else ""
    return (
        f"{right:,} of {images:,} held-out images right, no better than chance for {classes:,} classes: "
        f"train more `--epochs`{start}"
    )


def load_data(request: TrainingRequest, scan: bool = False) -> data.Dataset:
    """The data of a TrainingRequest; a folder is decoded in the size and the channels that the net takes."""
    size, channels = request.image_size, None
    if data.is_folder(request.data):
        known = (request.slim or {}).get("input_shape") or request.options.get("input_shape")
        *own, channels = known or catalog.sizes()[request.model]["input_shape"]
        size = size or own
    return data.load(
        request.data,
        image_size=size,
        channels=channels,
        resize=request.resize or resizing.DEFAULT,
        on_bad_image=request.on_bad_image,
        scan=scan,
        held_out=request.held_out,
        val_judges=request.resize is not None,
    )


def _named(model):
    """{"layer/variable": variable}, as `load_weights` reads them; layers inside of layers may share such a name, and
    are numbered."""
    found = {}
    for number, weight in enumerate(model.weights):
        name = "/".join(weight.path.split("/")[-2:])
        found[f"{name} {number}" if name in found else name] = weight
    return found


def _weights(model):
    return {name: variable.numpy() for name, variable in _named(model).items()}


def data_fingerprint(dataset):
    """sha256 of the data that train and judge: labels and pixels, or labels and the files' names and sizes."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.validation):
        digest.update(f"{split.image_shape} {dataset.class_names}".encode())
        digest.update(split.labels.tobytes())
        digest.update(split.identity())
    return digest.hexdigest()


def _silent(line):
    pass
