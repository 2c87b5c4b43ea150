"""The blocks of both families, as functions from tensor to tensor; all layers in them are Keras' own.

ResNet adds what a block computes to its input, `y = x + F(x)`: the width stays, the sum is shared.
DenseNet appends it, `y = [x, F(x)]`: the width grows by the growth rate, and each layer reads all layers before it.

`norm` is a BatchNormalization with momentum and epsilon already chosen (`functools.partial`), called with a name.
Shapes in comments are (N, H, W, C); s is the stride.
"""

from keras import layers, ops

CHANNEL_AXIS = -1
EXPANSION = 4  # a bottleneck's last 1x1 has four times the width of its 3x3 (He et al. 2015, table 1)
BOTTLENECK_WIDTH = 4  # a dense layer's 1x1 makes 4k maps for its 3x3 (Huang et al. 2017, section 3)
# He et al. 2015, arXiv:1502.01852, section 2.2: variance 2 / fan-in. Of the two distributions that Keras has for it the
# uniform one is drawn five times faster, and Gaussian draws were 40 % of the time that building ResNet-50 took.
INITIALIZER = "he_uniform"
KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1)}


def conv(x, filters, kernel, *, stride=1, bias=False, name):
    """Convolution with `kernel // 2` zeros on every side, as the papers pad: (N, ceil(H/s), ceil(W/s), filters).

    TensorFlow's "same" pads a strided convolution on one side only. That shifts the image by half a pixel, and
    published weights were not trained that way. So a strided convolution is preceded by a padding layer.
    """
    padding = "same"
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return layers.Conv2D(
        filters, kernel, strides=stride, padding=padding, use_bias=bias, kernel_initializer=INITIALIZER, name=name
    )(x)


def norm_relu(x, *, norm, name, part=""):
    """relu(BN(x)); the layers are `{name}_bn{part}` and `{name}_relu{part}`."""
    x = norm(name=f"{name}_bn{part}")(x)
    return layers.ReLU(name=f"{name}_relu{part}")(x)


# Stems


def imagenet_stem(x, width, *, norm, bias=False, activate=True):
    """7x7 convolution and 3x3 max pooling, both with stride 2: (N, H/4, W/4, width).

    `activate=False` leaves batch norm and ReLU to the first pre-activation block (He et al. 2016).
    """
    x = conv(x, width, 7, stride=2, bias=bias, name="stem_conv")
    return stem_pool(norm_relu(x, norm=norm, name="stem") if activate else x)


def deep_stem(x, width, *, norm, bias=False, activate=True):
    """Three 3x3 convolutions in place of the 7x7, the first with stride 2: (N, H/4, W/4, width).

    Source: the "C" tweak of He et al. 2019, arXiv:1812.01187, section 4.1.
    """
    for part, filters in enumerate((width // 2, width // 2, width), start=1):
        x = conv(x, filters, 3, stride=2 if part == 1 else 1, bias=bias, name=f"stem_conv{part}")
        if part < 3 or activate:
            x = norm_relu(x, norm=norm, name="stem", part=part)
    return stem_pool(x)


def cifar_stem(x, width, *, norm, bias=False, activate=True):
    """One 3x3 convolution that keeps the size of a small image: (N, H, W, width)."""
    x = conv(x, width, 3, bias=bias, name="stem_conv")
    return norm_relu(x, norm=norm, name="stem") if activate else x


def stem_pool(x):
    """3x3 max pooling with stride 2. Padding with zeros is exact after a ReLU, and unlike -inf it survives int8."""
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


STEMS = {"imagenet": imagenet_stem, "deep": deep_stem, "cifar": cifar_stem}
STEM_STRIDES = {"imagenet": 4, "deep": 4, "cifar": 1}


# Residual blocks


def residual_block(
    x,
    filters,
    *,
    norm,
    name,
    block="basic",
    stride=1,
    strided=1,
    shortcut="B",
    pooled=False,
    bias=False,
    zero_gamma=False,
):
    """relu(F(x) + shortcut(x)): (N, H, W, C) -> (N, H/s, W/s, filters), times 4 for a bottleneck.

    `strided` counts the convolution that carries the stride, from 1: the first 1x1 in v1, the 3x3 in v1.5.
    `shortcut=None` leaves the addition out (the plain control net). `zero_gamma` starts F at zero, so that the block
    begins as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    Source: He et al. 2015, arXiv:1512.03385, figure 5.
    """
    widths = branch_widths(filters, block)
    y = x
    for part, (width, kernel) in enumerate(zip(widths, KERNELS[block], strict=True), start=1):
        last = part == len(widths)
        y = conv(y, width, kernel, stride=stride if part == strided else 1, bias=bias, name=f"{name}_conv{part}")
        y = norm(name=f"{name}_bn{part}", gamma_initializer="zeros" if last and zero_gamma else "ones")(y)
        if not last:
            y = layers.ReLU(name=f"{name}_relu{part}")(y)
    if shortcut is not None:
        if stride > 1 or x.shape[CHANNEL_AXIS] != widths[-1]:
            x = changed_shortcut(x, widths[-1], stride, shortcut, pooled=pooled, bias=bias, norm=norm, name=name)
        y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def preactivation_block(x, filters, *, norm, name, block="basic", stride=1, strided=1, shortcut="B", bias=False):
    """F(relu(BN(x))) + x with batch norm and ReLU *before* each convolution: the identity path has no layer.

    Where the width changes, the shortcut starts from relu(BN(x)). Where only the size changes (keras.applications puts
    the stride at the end of a stage), the shortcut takes every second pixel. `bias`, also of that layout, gives the
    branch's last convolution and the projection a bias.
    Source: He et al. 2016, arXiv:1603.05027, figure 1b.
    """
    widths = branch_widths(filters, block)
    y = activated = norm_relu(x, norm=norm, name=name, part=1)
    for part, (width, kernel) in enumerate(zip(widths, KERNELS[block], strict=True), start=1):
        if part > 1:
            y = norm_relu(y, norm=norm, name=name, part=part)
        has_bias = bias and part == len(widths)
        y = conv(y, width, kernel, stride=stride if part == strided else 1, bias=has_bias, name=f"{name}_conv{part}")
    if shortcut is None:
        return y
    if x.shape[CHANNEL_AXIS] != widths[-1]:
        x = changed_shortcut(activated, widths[-1], stride, shortcut, bias=bias, name=name)
    elif stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, name=f"{name}_shortcut_pool")(x)
    return layers.Add(name=f"{name}_add")([x, y])


def branch_widths(filters, block):
    """Output channels of each convolution of a residual branch."""
    return (filters, filters) if block == "basic" else (filters, filters, EXPANSION * filters)


def changed_shortcut(x, filters, stride, shortcut, *, pooled=False, bias=False, norm=None, name):
    """The shortcut where size or width change: (N, ceil(H/s), ceil(W/s), filters).

    Option A takes every second pixel and adds zero channels, half on each side. It has no parameters and changes
    nothing else. Option B is a 1x1 convolution, with a batch norm behind it in the original nets. `pooled` averages
    before it, so that no pixel is skipped (the "D" tweak of He et al. 2019, arXiv:1812.01187, section 4.1).
    Source: He et al. 2015, arXiv:1512.03385, section 3.3.
    """
    if shortcut == "A":
        x = x[:, ::stride, ::stride, :] if stride > 1 else x
        missing = filters - x.shape[CHANNEL_AXIS]
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    if pooled and stride > 1:
        x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_pool")(x)
        stride = 1
    x = conv(x, filters, 1, stride=stride, bias=bias, name=f"{name}_shortcut_conv")
    return norm(name=f"{name}_shortcut_bn")(x) if norm else x


# Dense layers


def dense_block(x, depth, growth_rate, *, norm, name, bottleneck=True, dropout=0.0):
    """`depth` dense layers, each reading all before it: (N, H, W, C) -> (N, H, W, C + depth * growth_rate)."""
    for index in range(1, depth + 1):
        x = dense_layer(x, growth_rate, norm=norm, name=f"{name}_block{index}", bottleneck=bottleneck, dropout=dropout)
    return x


def dense_layer(x, growth_rate, *, norm, name, bottleneck=True, dropout=0.0):
    """[x, F(x)] where F adds `growth_rate` maps: (N, H, W, C) -> (N, H, W, C + growth_rate).

    Source: Huang et al. 2017, arXiv:1608.06993, section 3 (composite function, bottleneck layers).
    """
    y = x
    for part, (filters, kernel) in enumerate(dense_convolutions(growth_rate, bottleneck), start=1):
        y = norm_relu(y, norm=norm, name=name, part=part)
        y = conv(y, filters, kernel, name=f"{name}_conv{part}")  # (N, H, W, 4k), then (N, H, W, k)
        y = dropped(y, dropout, f"{name}_dropout{part}")
    return layers.Concatenate(axis=CHANNEL_AXIS, name=f"{name}_concat")([x, y])


def dense_convolutions(growth_rate, bottleneck):
    """(filters, kernel) of a dense layer's convolutions."""
    return ((BOTTLENECK_WIDTH * growth_rate, 1), (growth_rate, 3)) if bottleneck else ((growth_rate, 3),)


def transition(x, compression, *, norm, name, dropout=0.0):
    """The transition between two dense blocks, which narrows and halves: (N, H, W, C) -> (N, H/2, W/2,
    floor(compression * C))."""
    filters = int(compression * x.shape[CHANNEL_AXIS])
    x = norm_relu(x, norm=norm, name=name)
    x = conv(x, filters, 1, name=f"{name}_conv")
    x = dropped(x, dropout, f"{name}_dropout")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def dropped(x, rate, name):
    """Dropout after a convolution, as the DenseNet paper places it; no layer at all for rate 0."""
    return layers.Dropout(rate, name=name)(x) if rate else x
