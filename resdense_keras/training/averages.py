"""The moving average of a net's weights, which a recipe with `ema` judges and saves."""

import contextlib

import keras


class Average:
    """The moving average of all floating-point variables of a net, also of the moving statistics of its batch norms.

    The decay begins low and grows with the number n of steps, as (1 + n) / (10 + n), up to `decay`. So the first
    weights do not dominate the average of a short training (as in TensorFlow's ExponentialMovingAverage with
    `num_updates`).

    Args:
        model: Built net.
        decay: Decay of the average, above 0 and below 1.
        devices: Where the net is trained, see devices.py; the average is made in their scope.
    """

    def __init__(self, model, decay, devices):
        self.decay, self.devices = decay, devices
        self.of = [variable for variable in model.variables if keras.backend.is_float_dtype(variable.dtype)]
        self.means = [
            keras.Variable(variable.numpy(), dtype=variable.dtype, trainable=False, name="average")
            for variable in self.of
        ]
        self.steps = keras.Variable(0, dtype="int32", trainable=False, name="average_steps")

    @property
    def variables(self):
        return [*self.means, self.steps]

    def begin(self):
        """Starts the average anew with the present weights."""
        self.steps.assign(0)
        for mean, variable in zip(self.means, self.of, strict=True):
            mean.assign(self.devices.read(variable))

    def update(self):
        """Adds the weights after a step to the average."""
        self.steps.assign(self.steps.value + 1)
        steps = keras.ops.cast(self.steps.value, "float32")
        share = 1 - keras.ops.minimum(self.decay, (1 + steps) / (10 + steps))
        for mean, variable in zip(self.means, self.of, strict=True):
            mean.assign(mean.value + keras.ops.cast(share, mean.dtype) * (self.devices.read(variable) - mean.value))

    def keep(self):
        """Makes the average the net's weights."""
        for mean, variable in zip(self.means, self.of, strict=True):
            variable.assign(mean.numpy())

    @contextlib.contextmanager
    def in_place(self):
        """Gives the net the average as its weights while the body runs."""
        kept = [variable.numpy() for variable in self.of]
        self.keep()
        try:
            yield
        finally:
            for variable, value in zip(self.of, kept, strict=True):
                variable.assign(value)
