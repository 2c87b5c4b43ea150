"""What a net is trained for beside the labels: the answers of another net (distillation), scales near zero
(sparsity)."""

import keras
import numpy as np
from keras import ops

from .losses import gives_probabilities
from .schedules import Schedule

SMALLEST = 1e-20  # a probability of 0 has a logarithm then
LARGEST = 1 - 1e-7  # of one sigmoid
# How far, per unit of sparsity, a training of Liu et al. 2017 (arXiv:1708.06519) moves a scale that nothing else holds,
# as a share of where it began: 160 epochs of 782 steps, a learning rate of 0.1 that falls to a tenth at half and again
# at three quarters of them, momentum 0.9, scales that begin at 0.5 (main.py and models/ of the authors' code,
# github.com/Eric-mingjie/network-slimming).
WAY = 160 * 782 * 0.1 * (0.5 + 0.25 * 0.1 + 0.25 * 0.01) / (1 - 0.9) / 0.5


def with_objective(model, recipe, teacher=None, *, steps):
    """`model`, or a model of the same layers whose loss has the recipe's other parts.

    Args:
        model: Functional net that is trained.
        recipe: A Recipe: `teacher`, `temperature` and `sparsity`.
        teacher: Functional net of the same input and outputs, which is not trained; None where there is none.
        steps: Number of steps of an epoch.
    """
    if not recipe.sparsity and (teacher is None or not recipe.teacher):
        return model
    return _Objective(model, recipe, teacher, strength(recipe, steps))


def strength(recipe, steps):
    """Factor of the scales in the loss: the recipe's `sparsity`, converted to the steps and rates of this training.

    A step of SGD moves a scale that nothing else holds by learning rate * factor / (1 - momentum) towards zero. With
    the source's factor ten epochs of `fast` on CIFAR-10 would move it by 0.04 of its start; the source's own training
    moves it by 1.32 of its start, and with this factor so does any other. For AdamW, whose steps hardly depend on a
    factor, it is a rule of thumb: its learning rates count as a hundred times as large.

    Args:
        steps: Number of steps of an epoch.
    """
    if not recipe.sparsity:
        return 0.0
    rates = keras.ops.convert_to_numpy(Schedule(recipe, steps)(np.arange(recipe.epochs * steps)))
    sgd = 100 if recipe.optimizer == "adamw" else 1
    way = sgd * rates.sum(dtype=np.float64) / (1 - recipe.momentum)
    return float(recipe.sparsity * WAY / way) if way else recipe.sparsity


def logits_of(model):
    """Function from a net's outputs to its logits, up to a constant per image."""
    if not gives_probabilities(model):
        return lambda outputs: outputs
    if model.output_shape[-1] == 1:
        return lambda outputs: ops.log(ops.clip(outputs, SMALLEST, LARGEST)) - ops.log1p(-ops.minimum(outputs, LARGEST))
    return lambda outputs: ops.log(ops.maximum(outputs, SMALLEST))


class _Objective(keras.Model):
    """A Functional model with the layers of another one. Its loss in training:

    (1 - share) * loss of the labels + share * T^2 * cross-entropy of the answers at temperature T
    + `strength` * sum of the absolute scales of the batch norms.

    T^2 keeps the gradients of the first two parts at the same size. The teacher sees the same augmented images as the
    net. Sources: Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2; Liu et al. 2017, arXiv:1708.06519,
    equation 1.
    """

    def __init__(self, model, recipe, teacher, sparsity):
        super().__init__(inputs=model.inputs, outputs=model.outputs, name=model.name)
        self._teacher = _Teacher(teacher, model, recipe) if teacher is not None and recipe.teacher else None
        self._sparsity = sparsity
        self._scales = tuple(scales(model)) if sparsity else ()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        if self._teacher is not None:
            share = self._teacher.share
            loss = (1 - share) * loss + share * self._teacher.distance(x, y_pred, sample_weight)
        for scale in self._scales:
            loss = loss + self._sparsity * ops.sum(ops.abs(scale))
        return loss


class _Teacher:
    """Holds the teacher, but is not a layer, so that Keras neither trains nor saves it with the net."""

    def __init__(self, teacher, model, recipe):
        teacher.trainable = False
        self.model, self.share, self.temperature = teacher, recipe.teacher, recipe.temperature
        self.own, self.others = logits_of(model), logits_of(teacher)

    def distance(self, images, outputs, weights):
        """T^2 times the mean cross-entropy of the answers at temperature T."""
        own = self.own(ops.cast(outputs, "float32")) / self.temperature
        answers = ops.stop_gradient(self.model(images, training=False))
        others = self.others(ops.cast(answers, "float32")) / self.temperature
        if outputs.shape[-1] == 1:
            found = ops.mean(ops.binary_crossentropy(ops.sigmoid(others), own, from_logits=True), axis=-1)
        else:
            found = ops.categorical_crossentropy(ops.softmax(others), own, from_logits=True)
        return self.temperature**2 * ops.mean(found if weights is None else found * weights)


def scales(model):
    """The trained scales (gamma) of a Functional net's batch norms."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from scales(layer)
        elif isinstance(layer, keras.layers.BatchNormalization) and layer.gamma is not None and layer.trainable:
            yield layer.gamma
