"""Trains a net step by step: a loop that can begin and end after any step, and stops at a loss that is no number."""

import math
import time

import keras
import tensorflow as tf

from ..data import naming_bad_files, pipeline
from ..errors import RequestError, WorkError
from . import augmentation
from .devices import OneDevice, check_batch
from .exhaustion import halving
from .schedules import optimizer


def steps_per_epoch(images, batch_size, whole=False):
    """Steps of one epoch; the last batch may be smaller, or is left out where all must be `whole`."""
    return images // batch_size if whole else math.ceil(images / batch_size)


class Training:
    """A net compiled for one data set and one recipe; `run` may be called many times, once a seed.

    TensorFlow takes longer to trace these nets than to train them on small images, so the seeds of one net share the
    traced step.

    Args:
        model: Net with the normalisation inside, (N, H, W, C) float32 pixels in [0, 255] -> probabilities.
        dataset: A `data.Dataset`.
        recipe: A Recipe.
        jit: Whether XLA compiles the step; may be changed between steps.
        devices: Where the steps run, see devices.py; `model` was built in their scope. Default: one device.
    """

    def __init__(self, model, dataset, recipe, *, jit=False, devices=None):
        self.devices = devices or OneDevice()
        check_batch(self.devices, recipe.batch_size)
        self.model, self.dataset, self.recipe = model, dataset, recipe
        self.whole = self.devices.count > 1  # a smaller batch cannot be shared evenly
        self.steps = steps_per_epoch(len(dataset.train), recipe.batch_size, self.whole)
        if not self.steps:
            raise RequestError(
                f"{len(dataset.train)} training images do not fill a batch of {recipe.batch_size}",
                "several devices share whole batches only: pass a smaller --batch-size",
            )
        self.waited = self.worked = 0.0  # seconds spent on waiting for input, and on steps as a whole
        self.jit = jit
        with self.devices.scope():
            self._compile()

    def _compile(self):
        model, recipe = self.model, self.recipe
        model.compile(
            optimizer(recipe, self.steps),
            keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=self.jit,
        )
        model.optimizer.build(model.trainable_variables)
        # Moments begin at zero; single numbers, such as the scale of a 16-bit loss, need not.
        self._first = [variable.numpy() if variable.shape == () else 0 for variable in model.optimizer.variables]
        self._build_metrics()
        self.devices.compile(model)

    @property
    def variables(self):
        """All that a step reads or changes: weights, random states, the optimizer's, the metrics' so far, and last what
        each device keeps for itself of these."""
        model = self.model
        shared = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        return [*shared, *self.devices.copies([*model.non_trainable_variables, *model.metrics_variables])]

    def run(self, seed=0, on_epoch=None, *, start=(0, 0), on_step=None, stopping=lambda: False):
        """Trains from the model's present weights; the test split is not read.

        Args:
            seed: Of the order of the images and of their augmentation.
            on_epoch: Function of one epoch's record, for progress.
            start: (epochs done, steps done in the next one); (0, 0) begins with a fresh optimizer, any other place
                goes on with the present variables.
            on_step: Function of (epochs done, steps done in the next one), after each step.
            stopping: Asked after each step and validation batch; where true, `run` returns after `on_step`.
        Returns:
            [{"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}] of the epochs that ended; accuracies are
            fractions.
        Raises:
            WorkError: the loss became NaN or infinite.
        """
        if start == (0, 0):
            self._reset()
        history, (epoch, done) = [], start
        on_step, on_epoch = on_step or _nothing, on_epoch or _nothing
        batches = self._training_batches(seed, epoch * self.steps + done)
        while epoch < self.recipe.epochs:
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
        """{"loss", "accuracy"} of the present weights on a split; None where it is time to stop.

        In the batch that training fits in, or smaller ones where the memory is short.
        """
        return halving(lambda size: self._evaluate(split, size, stopping), self.recipe.batch_size)

    def _evaluate(self, split, batch_size, stopping):
        self.model.reset_metrics()
        for batch in pipeline(split, batch_size, shuffle=False):
            if stopping():
                return None
            self.devices.test(batch)
        found = self._metrics()
        self.model.reset_metrics()
        return found

    def accuracy(self, split):
        """Top-1 of the present weights on a split, a fraction."""
        found = self.evaluate(split)["accuracy"]
        return round(found * len(split)) / len(split)  # the metric is a float32

    def example(self):
        """A batch of the shapes that a step takes, of no content, for trials."""
        shape = (self.recipe.batch_size, *self.dataset.image_shape)
        return tf.zeros(shape), tf.zeros(shape[:1], tf.int64)

    def step(self, batch):
        """One step of gradient descent; the loss of the epoch so far."""
        return self.devices.train(batch, self.jit)

    def _reset(self):
        for variable, value in zip(self.model.optimizer.variables, self._first, strict=True):
            variable.assign(keras.ops.full(variable.shape, value, variable.dtype))
        self.model.reset_metrics()

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
                augment=augmentation.augment(recipe, self.dataset),
                mix=augmentation.mix(recipe, self.model.output_shape[-1]),
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
        """Keras' own TerminateOnNaN ends `fit` as if it had succeeded."""
        if not math.isfinite(loss):
            rate = float(self.model.optimizer.learning_rate)
            raise WorkError(
                f"the loss became {loss} in epoch {epoch + 1}, step {step}, at learning rate {rate:.4g}",
                "lower the learning rate or lengthen the warm-up",
            )

    def _finish_epoch(self, epoch, stopping):
        """The epoch's record, metrics reset; None, and the metrics as they were, where it is time to stop."""
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
        """Metrics have no variables before they have seen a batch."""
        shape = (1, self.model.output_shape[-1])
        self.model.compute_metrics(None, keras.ops.zeros(shape), keras.ops.ones(shape) / shape[-1])
        self.model.reset_metrics()


def _nothing(*arguments):
    pass


def fit(model, dataset, recipe, *, seed=0, on_epoch=None):
    """Trains `model` once: `Training(model, dataset, recipe).run(seed, on_epoch)`."""
    return Training(model, dataset, recipe).run(seed, on_epoch)
