"""Trains a net by a recipe: optimizer, schedule, and the stop at a loss that is not a number."""

import math

import keras

from ..errors import WorkError

EVALUATION_BATCH = 256
UNMIRRORED = {"digits"}  # a mirrored digit is another sign


def steps_per_epoch(images, batch_size):
    """Steps of one epoch; the last batch may be smaller."""
    return math.ceil(images / batch_size)


def augmentation(recipe, dataset):
    """The recipe's augmentation for these images, or None.

    The papers shift 32x32 images by up to 4 pixels and mirror them; other sizes are shifted by the same eighth.
    """
    from ..data import shift_and_mirror

    if not recipe.augment:
        return None
    return shift_and_mirror(pad=max(1, dataset.image_shape[0] // 8), mirror=dataset.spec not in UNMIRRORED)


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
                f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}, "
                f"at learning rate {rate:.4g}",
                "lower the learning rate or lengthen the warm-up",
            )


class OnEpoch(keras.callbacks.Callback):
    """Calls `report(record)` after each epoch: {epoch, loss, accuracy, val_accuracy}."""

    def __init__(self, report):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch, logs=None):
        self.report({"epoch": epoch + 1, **{key: float(logs[key]) for key in ("loss", "accuracy", "val_accuracy")}})


class Training:
    """A net compiled for one data set and one recipe; `run` may be called many times, once a seed.

    TensorFlow takes longer to trace these nets than to train them on small images, so the seeds of one net share the
    traced step.

    Args:
        model: Net with the normalisation inside, (N, H, W, C) float32 pixels in [0, 255] -> probabilities.
        dataset: A `data.Dataset`.
        recipe: A Recipe.
    """

    def __init__(self, model, dataset, recipe):
        self.model, self.dataset, self.recipe = model, dataset, recipe
        self.steps = steps_per_epoch(len(dataset.train), recipe.batch_size)
        model.compile(
            optimizer(recipe, self.steps), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
        )

    def run(self, seed=0, on_epoch=None):
        """Trains from the model's present weights with a fresh optimizer; the test split is not read.

        Args:
            seed: Of the order of the images and of their augmentation.
            on_epoch: Function of one epoch's record, for progress.
        Returns:
            [{"epoch", "loss", "accuracy", "val_accuracy"}], one for each epoch; accuracies are fractions.
        Raises:
            WorkError: the loss became NaN or infinite.
        """
        from ..data import pipeline

        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        history = []

        def report(record):
            history.append(record)
            if on_epoch is not None:
                on_epoch(record)

        data, recipe = self.dataset, self.recipe
        augment = augmentation(recipe, data)
        self.model.fit(
            pipeline(data.train, recipe.batch_size, seed=seed, epochs=recipe.epochs, augment=augment),
            epochs=recipe.epochs,
            steps_per_epoch=self.steps,
            shuffle=False,  # the pipeline has shuffled
            validation_data=pipeline(data.validation, EVALUATION_BATCH, shuffle=False),
            callbacks=[StopAtNaN(), OnEpoch(report)],
            verbose=0,
        )
        return history

    def accuracy(self, split):
        """Top-1 of the present weights on a split, a fraction."""
        from ..data import pipeline

        batches = pipeline(split, EVALUATION_BATCH, shuffle=False)
        found = self.model.evaluate(batches, verbose=0, return_dict=True)["accuracy"]
        return round(found * len(split)) / len(split)  # the metric is a float32


def fit(model, dataset, recipe, *, seed=0, on_epoch=None):
    """Trains `model` once: `Training(model, dataset, recipe).run(seed, on_epoch)`."""
    return Training(model, dataset, recipe).run(seed, on_epoch)


def be_deterministic():
    """Makes TensorFlow's operations repeat to the bit for the rest of this process; training gets slower."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
