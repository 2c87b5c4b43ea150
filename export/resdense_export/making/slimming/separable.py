"""Takes separable convolutions apart, so that they can lose channels."""

from ...models.fitness import cloned, copied, with_activation


def separated(model):
    """`model`, or a copy of it whose separable convolutions are a depthwise and a 1x1 convolution each.

    It has the same weights and the same answers. `SeparableConv2D` is one layer, which could be built only with as many
    channels between its two halves as it reads.
    """
    import keras

    from ...models.fitness import calls

    def is_separable(operation):
        return type(operation) is keras.layers.SeparableConv2D and operation.data_format == "channels_last"

    if not any(is_separable(call.operation) for call in calls(model)):
        return model
    return cloned(model, lambda operation: _halves(operation) if is_separable(operation) else copied(operation))


def _halves(layer):
    """A Sequential of the two halves of a SeparableConv2D, whose weights have the same order."""
    import keras

    config = layer.get_config()
    first = keras.layers.DepthwiseConv2D(
        name=f"{layer.name}_depthwise",
        use_bias=False,
        **{key: config[key] for key in ("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate")},
        **{key: config[key] for key in ("depthwise_regularizer", "depthwise_constraint", "dtype")},
    )
    second = keras.layers.Conv2D(
        kernel_size=1,
        name=layer.name,
        kernel_regularizer=config["pointwise_regularizer"],
        kernel_constraint=config["pointwise_constraint"],
        **{key: config[key] for key in ("filters", "use_bias", "activation", "bias_regularizer", "bias_constraint")},
        dtype=config["dtype"],
    )
    return keras.Sequential([first, with_activation(second, layer)], name=f"{layer.name}_halves")
