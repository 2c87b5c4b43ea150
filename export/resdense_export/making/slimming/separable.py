"""Takes separable convolutions apart, so that they can lose channels."""

from collections import Counter

from ...models.fitness import calls, cloned, copied, with_activation
from ...nets.reading import functional
from .building import copying


def separated(model):
    """`model`, or a copy of it whose separable convolutions are a depthwise and a 1x1 convolution each.

    It has the same weights and the same answers. `SeparableConv2D` is one layer, which could be built only with as many
    channels between its two halves as it reads. One that is called more than once keeps its channels, and stays.
    """
    import keras

    operations = [call.operation for call in calls(model)]
    times = Counter(map(id, operations))

    def is_separable(operation):
        known = type(operation) is keras.layers.SeparableConv2D and operation.data_format == "channels_last"
        return known and times[id(operation)] == 1

    def taken_apart(operation):
        if is_separable(operation):
            return _halves(operation)
        with copying(operation):
            return copied(operation)

    # A model inside with a `call` of its own computes something else than its graph, of which a copy would be made
    hidden = any(isinstance(one, keras.Model) and functional(one) is None for one in operations)
    return cloned(model, taken_apart) if not hidden and any(map(is_separable, operations)) else model


def _halves(layer):
    """A Sequential of the two halves of a SeparableConv2D, whose weights have the same order."""
    import keras

    config = layer.get_config()
    first = keras.layers.DepthwiseConv2D(
        name=f"{layer.name}_depthwise",
        use_bias=False,
        **{key: config[key] for key in ("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate")},
        **{key: config[key] for key in ("depthwise_regularizer", "depthwise_constraint", "dtype", "trainable")},
    )
    second = keras.layers.Conv2D(
        kernel_size=1,
        name=layer.name,
        kernel_regularizer=config["pointwise_regularizer"],
        kernel_constraint=config["pointwise_constraint"],
        **{key: config[key] for key in ("filters", "use_bias", "activation", "bias_regularizer", "bias_constraint")},
        **{key: config[key] for key in ("activity_regularizer", "dtype", "trainable")},
    )
    return keras.Sequential([first, with_activation(second, layer)], name=f"{layer.name}_halves")
