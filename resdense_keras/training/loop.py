"""Trains a net step by step: the loop can begin and end after any step, and stops when the loss is not a number."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from ..data import naming_bad_files, pipeline
from ..errors import RequestError, WorkError
from . import augmentation
from .augmentation import RULES
from .averages import Average
from .devices import OneDevice, check_batch
from .exhaustion import halving
from .losses import loss_and_accuracy
from .objectives import with_objective
from .schedules import optimizer

if TYPE_CHECKING:
    from resdense_keras.data import Dataset
    from resdense_keras.training.recipes import Recipe


def steps_per_epoch(images, batch_size, whole=False):
    """Number of steps of one epoch; a smaller last batch counts, unless all batches must be `whole`.

    Raises:
        RequestError: there is none.
    """
    steps = images // batch_size if whole else math.ceil(images / batch_size)
    if not steps:
        raise RequestError(
            f"{images} training images do not fill a batch of {batch_size}",
            "several devices share whole batches only: pass a smaller --batch-size",
        )
    return steps


class Training:
    """A net compiled for one data set and one recipe; `run` may be called many times, such as once per seed.

    TensorFlow takes longer to trace these nets than to train them on small images, so all seeds of a net use the same
    traced step.

    Args:
        model: Functional net that contains the normalisation, (N, H, W, C) float32 pixels in [0, 255] -> probabilities
            or logits; a single output stands for the second of two classes.
        dataset: A `data.Dataset`.
        recipe: A Recipe.
        jit: Whether XLA compiles the step; may be changed between steps.
        devices: Where the steps run, see devices.py; `model` must have been built in their scope. Default: one device.
        rules: How the recipe's augmentation is read, see augmentation.RULES.
        teacher: Net whose answers the recipe's `teacher` counts, built in the devices' scope; or None.
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: Dataset,
        recipe: Recipe,
        *,
        jit: bool = False,
        devices: Any = None,
        rules: int = RULES,
        teacher: keras.Model | None = None,
    ) -> None:
        self.devices, self.rules = devices or OneDevice(), rules
        check_batch(self.devices, recipe.batch_size)
        self.columns = max(2, model.output_shape[-1])  # classes that a label may be of
        dataset.check_outputs(self.columns)
        self.dataset, self.recipe = dataset, recipe
        self.whole = self.devices.count > 1  # a smaller batch cannot be shared evenly
        self.steps = steps_per_epoch(len(dataset.train), recipe.batch_size, self.whole)
        self.waited = self.worked = 0.0  # seconds spent on waiting for input, and on steps as a whole
        self.jit = jit
        with self.devices.scope():
            self.model = with_objective(model, recipe, teacher, steps=self.steps)
            self._compile()

    def _compile(self):
        model, recipe = self.model, self.recipe
        loss, accuracy = loss_and_accuracy(model, recipe.label_smoothing)
        model.compile(optimizer(recipe, self.steps), loss, metrics=[accuracy], jit_compile=self.jit)
        model.optimizer.build(model.trainable_variables)
        # Moments begin at zero; single numbers, such as the scale of a 16-bit loss, need not.
        self._first = [variable.numpy() if variable.shape == () else 0 for variable in model.optimizer.variables]
        self._build_metrics()
        self.average = Average(model, recipe.ema, self.devices) if recipe.ema else None
        self.devices.compile(model, self._class_weights(), self.average)

    @property
    def variables(self):
        """All variables that a step reads or changes: weights, random states, those of optimizer and metrics, each
        device's own values of these, and last the average."""
        model = self.model
        shared = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        own = self.devices.copies([*model.non_trainable_variables, *model.metrics_variables])
        return [*shared, *own, *(self.average.variables if self.average else ())]

    def run(self, seed=0, on_epoch=None, *, start=(0, 0), history=(), on_step=None, stopping=lambda: False):
        """Trains from the model's present weights; the test split is not read.

        Where the recipe averages (`ema`), the held-out images and `judged` use the average; the model keeps the weights
        with which the next step begins.

        Args:
            seed: Seed of the order of the images and of their augmentation.
            on_epoch: Function of one epoch's record, for progress.
            start: (epochs done, steps done in the next one); (0, 0) begins with a fresh optimizer, any other place
                goes on with the present variables.
            history: Records of the epochs done before `start`; the recipe's patience counts them.
            on_step: Function of (epochs done, steps done in the next one), after each step.
            stopping: Function called after each step and validation batch; when it returns true, `run` returns after
                `on_step`.
        Returns:
            [{"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}] of the epochs that ended here; accuracies are
            fractions.
        Raises:
            WorkError: the loss became NaN or infinite.
        """
        if start == (0, 0):
            self._reset()
        before, history, (epoch, done) = list(history), [], start
        on_step, on_epoch = on_step or _nothing, on_epoch or _nothing
        batches = self._training_batches(seed, epoch * self.steps + done)
        while epoch < self.recipe.epochs and not is_over(self.recipe, before + history):
            while done < self.steps:
                loss = self._one_step(batches)
                done += 1
                self._check(loss, epoch, done)
                on_step(epoch, done)
                if stopping():
                    return history
            record = self._finish_epoch(epoch, stopping)
            if record is None:
                on_step(epoch, done)
                return history
            history.append(record)
            epoch, done = epoch + 1, 0
            on_epoch(record)
            if stopping():
                return history
        return history

    @naming_bad_files()
    def evaluate(self, split, stopping=lambda: False):
        """{"loss", "accuracy"} of the present weights on a split; None when the run is to stop.

        It uses the training's batch, or smaller ones where the memory is short.
        """
        return halving(lambda size: self._evaluate(split, size, stopping), self.recipe.batch_size)

    def _evaluate(self, split, batch_size, stopping):
        self.model.reset_metrics()
        with self.judged():
            for batch in pipeline(split, batch_size, shuffle=False):
                if stopping():
                    return None
                self.devices.test(batch)
        found = self._metrics()
        self.model.reset_metrics()
        return found

    def judged(self):
        """Context in which the model has the weights to judge and save: those of the average, where there is one."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def accuracy(self, split):
        """Top-1 accuracy of the present weights on a split, as a fraction."""
        found = self.evaluate(split)["accuracy"]
        return round(found * len(split)) / len(split)  # the metric is a float32

    def example(self):
        """A batch with the shapes that a step takes and no real content, for trials."""
        shape = (self.recipe.batch_size, *self.dataset.image_shape)
        return tf.zeros(shape), tf.zeros(shape[:1], tf.int64)

    def step(self, batch):
        """Takes one step of gradient descent; the mean loss of the epoch so far."""
        return self.devices.train(batch, self.jit)

    def _reset(self):
        for variable, value in zip(self.model.optimizer.variables, self._first, strict=True):
            variable.assign(keras.ops.full(variable.shape, value, variable.dtype))
        self.model.reset_metrics()
        if self.average:
            self.average.begin()

    def _class_weights(self):
        """(classes,) float32 factors for the loss of an image of each class, or None where all are 1."""
        if self.recipe.class_weights is None:
            return None
        return balanced(self.dataset.train.labels, self.columns)

    def _training_batches(self, seed, first_step):
        recipe = self.recipe
        return iter(
            pipeline(
                self.dataset.train,
                recipe.batch_size,
                seed=seed,
                epochs=recipe.epochs,
                first_step=first_step,
                crop=augmentation.crop_files(recipe, self.dataset),
                augment=augmentation.augment(recipe, self.dataset, self.rules),
                mix=augmentation.mix(recipe, self.columns),
                part=self.devices.part,
                whole=self.whole,
            )
        )

    @naming_bad_files()
    def _one_step(self, batches):
        begun = time.perf_counter()
        batch = next(batches)
        fed = time.perf_counter()
        loss = self.step(batch)
        self.waited += fed - begun
        self.worked += time.perf_counter() - begun
        return loss

    def _check(self, loss, epoch, step):
        """Raises a WorkError where the loss is not finite; Keras' own TerminateOnNaN ends `fit` as if it had
        succeeded."""
        if not math.isfinite(loss):
            rate = float(self.model.optimizer.learning_rate)
            raise WorkError(
                f"the loss became {loss} in epoch {epoch + 1}, step {step}, at learning rate {rate:.4g}",
                "lower the learning rate or lengthen the warm-up",
            )

    def _finish_epoch(self, epoch, stopping):
        """The epoch's record, with the metrics reset; None, with the metrics as they were, when the run is to stop."""
        kept = [variable.numpy() for variable in self.model.metrics_variables]
        trained = self._metrics()
        self.devices.agree(self.model)
        held = self.evaluate(self.dataset.validation, stopping)
        if held is None:
            for variable, value in zip(self.model.metrics_variables, kept, strict=True):
                variable.assign(value)
            return None
        self._check(held["loss"], epoch, self.steps)
        return {"epoch": epoch + 1, **trained, **{f"val_{name}": value for name, value in held.items()}}

    def _metrics(self):
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def _build_metrics(self):
        """Creates the metrics' variables by showing them one batch."""
        shape = (1, self.model.output_shape[-1])
        self.model.compute_metrics(None, keras.ops.zeros(shape), keras.ops.ones(shape) / shape[-1])
        self.model.reset_metrics()


def is_over(recipe, history):
    """Whether the recipe's patience has run out after the epochs of `history`."""
    found = [record["val_accuracy"] for record in history]
    return bool(recipe.patience and found) and len(found) - 1 - found.index(max(found)) >= recipe.patience


def balanced(labels, classes):
    """Weights of the classes in inverse proportion to their images: mean 1 over `labels`, 0 for a class without any."""
    counts = np.bincount(labels, minlength=classes)
    there = counts > 0
    weights = np.zeros(classes, "float32")
    weights[there] = len(labels) / (there.sum() * counts[there])
    return weights


def _nothing(*arguments):
    pass


def fit(
    model: keras.Model,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """Trains `model` once: `Training(model, dataset, recipe).run(seed, on_epoch)`.

    Where the recipe averages (`ema`), the model ends with the averaged weights.
    """
    training = Training(model, dataset, recipe)
    history = training.run(seed, on_epoch)
    if training.average:
        training.average.keep()
    return history
