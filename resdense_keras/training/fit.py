"""Trains a net by a recipe: optimizer, schedule, and the stop at a loss that is not a number."""

import math

import keras

from ..errors import WorkError

# The one place that knows which augmentation may be applied to which pixels is the recipe; pixels in, pixels out.


def steps_per_epoch(images, batch_size):
    """Steps of one epoch; the last batch may be smaller."""
    return math.ceil(images / batch_size)


def optimizer(recipe, steps):
    """SGD with Nesterov momentum under a cosine with linear warm-up.

    The papers' weight decay w is L2 inside the gradient. Keras' `weight_decay` is decoupled: it shrinks a weight by
    lr * w a step where L2 shrinks it by lr * w / (1 - momentum), so the decoupled number is 1 / (1 - momentum) times
    larger (measured: a weight of 1 after 2,000 steps at lr 0.1 is 0.819 under L2 1e-4 and under decoupled 1e-3).
    """
    warmup = round(recipe.warmup_epochs * steps)
    total = max(recipe.epochs * steps, warmup + 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / max(warmup, 1) if warmup else recipe.learning_rate,
        decay_steps=total - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    sgd = keras.optimizers.SGD(
        schedule,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay / (1 - recipe.momentum) or None,
    )
    sgd.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return sgd


class StopAtNaN(keras.callbacks.Callback):
    """Raises a WorkError that names epoch, step and learning rate as soon as the loss is not finite.

    Keras' own TerminateOnNaN ends `fit` as if it had succeeded.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            rate = float(self.model.optimizer.learning_rate)
            raise WorkError(
                f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}, at learning rate {rate:.4g}",
                "lower the learning rate or lengthen the warm-up",
            )


class OnEpoch(keras.callbacks.Callback):
    """Calls `report(record)` after each epoch: {epoch, loss, accuracy, val_accuracy}."""

    def __init__(self, report):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch, logs=None):
        self.report({"epoch": epoch + 1, **{key: float(logs[key]) for key in ("loss", "accuracy", "val_accuracy")}})


def fit(model, dataset, recipe, *, seed=0, on_epoch=None):
    """Trains `model` on the train split and evaluates it on the validation split after each epoch.

    Args:
        model: Net with the normalisation inside, (N, H, W, C) float32 pixels in [0, 255] -> probabilities.
        dataset: A `data.Dataset`. Its test split is not read.
        recipe: A Recipe.
        seed: Of the order of the images and of their augmentation. Initial weights are the model's own.
        on_epoch: Function of one epoch's record, for progress.
    Returns:
        [{"epoch", "loss", "accuracy", "val_accuracy"}], one for each epoch; accuracies are fractions.
    Raises:
        WorkError: the loss became NaN or infinite.
    """
    from ..data import pipeline

    history = []

    def report(record):
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)

    train = pipeline(
        dataset.train, recipe.batch_size, seed=seed, epochs=recipe.epochs, shuffle=True, augment=recipe.augment
    )
    steps = steps_per_epoch(len(dataset.train), recipe.batch_size)
    model.compile(optimizer(recipe, steps), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(
        train,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        validation_data=pipeline(dataset.validation, 256, shuffle=False),
        callbacks=[StopAtNaN(), OnEpoch(report)],
        verbose=0,
    )
    return history


def be_deterministic():
    """Makes TensorFlow's operations repeat to the bit for the rest of this process; training gets slower."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
