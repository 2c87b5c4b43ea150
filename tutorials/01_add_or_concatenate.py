# %% [markdown]
# # 1. Add or concatenate?
#
# [2. Deeper is not better by itself →](02_deeper_is_not_better.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# ResNet **adds** what a block computes to what it was given, DenseNet **appends** it. What follows from that one word?
#
# After this lesson you can
#
# - draw both blocks from memory, with the channels of every layer, and say why anyone wanted them;
# - prove that adding is concatenating with [tied](../docs/glossary.md#tied-weights) weights, and appending is adding
#   with padding;
# - say what changes when a net's additions become appending.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). The images are scikit-learn's digits: no network.
#
# Where it says **Predict**, write your answer down before you read on.

# %%
from resdense_keras.experiments import lesson

lesson.begin(
    "tensorflow", "sklearn", threads=1
)  # says what is missing, before anything that could miss it

import keras
import numpy as np
from keras import layers, ops

import resdense_keras
from resdense_keras.experiments import pairs
from resdense_keras.experiments.add_or_concatenate import connections, control

# %% [markdown]
# ## Part 1a: pictures and words
#
# ## 1. Why shortcuts?
#
# The best fit of a deeper net is never worse: its further layers could simply hand on what they get. Yet plain deep
# nets fit even their *training* images worse than shallow ones. That is called **degradation**; lesson 2 measures it.
# <!-- claim: the_deep_net_could, a_deep_plain_net_does_not_fit --> Both nets below lead what came in *around* the
# layers, so `F = 0` hands it on:
#
#     ResNet      y =  x + F(x)        as many channels as before
#     DenseNet    y = [x , F(x)]       k channels more; k is called the growth rate
#
# What adds is called a *block*, what appends a *dense layer*. (The ReLU behind the sum below changes nothing where
# `F = 0`: what came in has passed one already.)
#
# `F` is the part that learns: convolutions, each with a **[batch norm](../docs/glossary.md#batch-norm)** (it brings
# every channel to mean 0 and variance 1, then scales and shifts it by two trained numbers) and a ReLU.
# <!-- claim: the_arithmetic_is_right --> Here are both blocks whole; shapes are (images, height, width, channels).


# %%
def conv(x, filters):
    return layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)


def norm(x):
    return layers.BatchNormalization(epsilon=1e-5)(x)


def residual_block(x, shortcut=True):  # (N, H, W, C)
    channels = x.shape[-1]
    y = layers.ReLU()(norm(conv(x, channels)))  # (N, H, W, C)
    y = norm(conv(y, channels))  # (N, H, W, C)
    if shortcut:
        y = layers.Add()([x, y])  # (N, H, W, C): as wide as before
    return layers.ReLU()(y)


def dense_layer(x, growth_rate=12):  # (N, H, W, C)
    y = conv(layers.ReLU()(norm(x)), growth_rate)  # (N, H, W, k): only k new maps
    return layers.Concatenate()([x, y])  # (N, H, W, C + k)


# %%
x = keras.Input((32, 32, 24))
for name, block in (("residual", residual_block), ("dense", dense_layer)):
    what = block.__name__.replace("_", " ")
    picture = resdense_keras.draw(keras.Model(x, block(x), name=block.__name__))
    text = " -> ".join(map(str, (24, block(x).shape[-1])))
    lesson.show_drawing(
        picture,
        f"01-{name}-block",
        alt=f"A {what}, {text} channels; the input goes around the convolutions",
    )

# %% [markdown]
# Other things differ too: a DenseNet puts batch norm and ReLU first, and its layer has one convolution where the
# residual block has two. Section 6 keeps that equal.
# <!-- claim: these_are_the_librarys_blocks -->
#
# In numbers:
#
#     x = 3, F = 5        the sum: 8        the list: [3, 5]        [1 1] [3, 5] = 8
#
# Whoever has the list can still form the sum.
#
# Are these the library's blocks? We give both the same random weights and compare.


# %%
def apart_from_the_library(shortcut=True):
    """{block: largest difference of the outputs, as a share of the largest output}."""
    x = keras.Input((32, 32, 24))
    ours = {"residual": residual_block(x, shortcut), "dense": dense_layer(x)}
    return {
        name: connections.difference(keras.Model(x, y), connections.chain(name, 1))
        for name, y in ours.items()
    }


for name, apart in apart_from_the_library().items():
    print(f"{name}: outputs differ by {apart:.1g} of the largest value")


# %% [markdown]
# ## 2. What comes out
#
# > **Predict.** 24 channels go into four residual blocks, and into four dense layers with growth
# > rate 12. How many channels come out of each?

# %%
chains = {name: connections.chain(name, 4) for name in ("residual", "dense")}
blocks = {name: connections.by_block(model) for name, model in chains.items()}
for name, rows in blocks.items():
    print(f"{name:8}", " -> ".join(["24", *(str(block.writes) for block in rows)]))


# %%
lesson.show(
    lambda figure: connections.draw_strips(
        figure, {"residual blocks": chains["residual"], "dense layers": chains["dense"]}
    ),
    "01-channels",
    alt="Channels to scale: residual stays 24 wide and mixes all, dense grows from 24 to 72",
    size=(6, 7),
)

# %% [markdown]
# Each row is what the next block or dense layer reads. Above, each channel is the sum of all colours of its row. Block
# 3 reads the row "after 2", and no [linear reader](../docs/glossary.md#linear-reader) gets orange, the result of block
# 1, back whole. <!-- claim: the_converse_fails --> Below, orange keeps channels of its own. People call this *feature
# reuse*: it **can** be read later. Whether it **is** read, lesson 5 measures.
#
# What they cost: reading 24 channels, a residual block has 10,464 parameters and a dense layer 2,640.
# <!-- claim: the_arithmetic_is_right -->
#
# **In your own words.** Explain to a friend in three sentences what both connections do, why they exist and what each
# costs. Then compare:
#
# <details><summary>One answer</summary>
# Deep plain nets got worse with depth, even on their training images, so both nets let what came in go around the
# layers. ResNet adds their result to it: the width stays, and later layers read one sum of old and new. DenseNet
# appends the result: few parameters for each layer, more memory in training.
# <!-- claim: a_deep_plain_net_does_not_fit, dense_memory_grows_faster_than_depth -->
# </details>
#
# ## Part 1b: proofs and prices
#
# > **Predict.** Which has more parameters, a residual block of 24 channels or the *fourth* dense layer, which reads
# > everything that the three before it made?
#
# The arithmetic: a 3x3 convolution has 9 x (channels read) x (channels made) weights, a batch norm two trained numbers
# a channel (and two more that it stores). <!-- claim: the_arithmetic_is_right -->


# %%
for name, rows in blocks.items():
    for number, (reads, writes, parameters) in enumerate(rows, start=1):
        print(f"{name:8} {number}: reads {reads}, writes {writes}, {parameters:6,} parameters")

# %% [markdown]
# The dense layer reads more and still costs less, because it *makes* so little.
# <!-- claim: the_dense_layer_costs_less -->
#
# ## 3. Adding is concatenating with tied weights
#
# A convolution that reads x and y concatenated has separate weights for each; one that reads their sum has the same:
#
#     W [x , y] = W1 x + W2 y
#     A (x + y) =  A x +  A y          so W1 = W2 = A
#
# > **Predict.** Copy the weights `A` twice into a convolution that reads the concatenation. How far apart are the
# > outputs? And if a ReLU stands between joining and convolution, as it does in both nets?


# %%
def reading_gap(tied=True, relu=False):
    """How far the two readers' outputs are apart, as a share of the largest value."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 4, 8, 8, 24)).astype("float32")  # (4, 8, 8, 24) each
    a, other = random.normal(size=(2, 3, 3, 24, 12)).astype("float32")  # kernels, 24 -> 12
    w = np.concatenate([a, a if tied else other], axis=2)  # (3, 3, 48, 12)
    total, both = ops.add(x, y), ops.concatenate([x, y], axis=-1)  # 24 and 48 channels
    if relu:
        total, both = ops.relu(total), ops.relu(both)
    on_sum = ops.conv(total, a, padding="same")
    on_both = ops.conv(both, w, padding="same")
    return float(ops.max(ops.abs(on_sum - on_both)) / ops.max(ops.abs(on_sum)))


print(f"tied                 outputs differ by {reading_gap():.1g} of the largest value")
print(f"not tied             outputs differ by {reading_gap(tied=False):.1g}")
print(f"tied, behind a ReLU  outputs differ by {reading_gap(relu=True):.1g}")

# %% [markdown]
# Equal, to the rounding of float32: with the same kernel for x and for y (*tied* weights) a convolution reads the sum
# off the list. <!-- claim: adding_is_concatenating_with_tied_weights --> Behind a ReLU the *next* layer does not
# suffice, but one 1x1 convolution with the weights [I I] in between does: it is the sum.
# <!-- claim: a_relu_in_between_ends_it --> The converse, at the same width?
#
# > **Predict.** Now W1 and W2 are two different random matrices. Choose A as well as you can. How much of W1 x + W2 y
# > does A (x + y) explain: all, half, nothing?


# %%
def freedom_and_loss(tied=False, channels=24, outputs=64, pixels=4096):
    """Weights to choose on the sum and on both; the share that the best A misses."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, pixels, channels))
    w1, w2 = random.normal(size=(2, channels, outputs))
    target = x @ w1 + y @ (w1 if tied else w2)
    on_sum = outputs * np.linalg.matrix_rank(x + y)
    on_both = outputs * np.linalg.matrix_rank(np.hstack([x, y]))
    return on_sum, on_both, connections.lost_by_adding(target, x, y)


on_sum, on_both, lost = freedom_and_loss()
print(f"weights to choose: {on_sum} on the sum, {on_both} on the concatenation")
print(f"the best A misses {lost:.0%} of the variance")

# %% [markdown]
# Half. The best A is (W1 + W2) / 2, and what it misses is (W1 - W2)(x - y) / 2: a sum keeps x + y and **throws x - y
# away**. Concatenation keeps both, for twice the weights in every layer that reads it.
# <!-- claim: the_converse_fails -->
#
# ## 4. Appending is adding with padding
#
# That holds at a fixed width. With channels to spare an addition can append:
#
#     [x , F] = pad(x) + pad(F)        zeros behind x, zeros before F


# %%
def pad(maps, before, after):
    """Channels of zeros on both sides."""
    return ops.pad(maps, ((0, 0), (0, 0), (0, 0), (before, after)))


def appended_and_added(first=24):
    """[x, F], and a sum in which the maps of F land from channel `first` on."""
    random = np.random.default_rng(0)
    x, f = random.normal(size=(2, 8, 8, 24)), random.normal(size=(2, 8, 8, 12))
    appended = ops.concatenate([x, f], axis=-1)  # (2, 8, 8, 36)
    added = pad(x, 0, 12) + pad(f, first, 24 - first)  # (2, 8, 8, 36)
    return appended, added


appended, added = appended_and_added()
print(f"they differ by up to {float(ops.max(ops.abs(appended - added))):g}")


# %% [markdown]
# Exactly equal: a wide enough net of sums contains every DenseNet. <!-- claim: appending_is_adding_with_padding -->
#
# What does the list gain, then, where the width *of x* is fixed? Count directions (Kim et al. 2024): how many
# independent columns do the maps have, over many pixels?


# %%
def ranks(linear=False, pixels=500, width=24, k=12):
    """Rank of the sum, rank of the list."""
    random = np.random.default_rng(0)
    x = random.normal(size=(pixels, width))
    wide, narrow = random.normal(size=(width, width)), random.normal(size=(width, k))
    f = (lambda maps: maps) if linear else (lambda maps: np.maximum(maps, 0))
    added, listed = x + f(x @ wide), np.hstack([x, f(x @ narrow)])
    return np.linalg.matrix_rank(added), np.linalg.matrix_rank(listed)


added, listed = ranks()
print(f"rank of x + F(x): {added}; of [x, F(x)]: {listed}")


# %% [markdown]
# As many as channels: the list gains because it is wider, one column for each new map, as long as `F` is not linear.
# <!-- claim: a_list_spans_more_than_a_sum -->
#
# ## 5. What it costs
#
# > **Predict.** We go from 8 blocks to 16. The memory that training needs for activations grows by a factor: residual
# > 2; dense (a) 2, (b) between 2 and 4, (c) 4?

# %%
DEPTHS = (2, 4, 8, 16)
KINDS = {
    "residual": {"connection": "residual"},
    "dense": {"connection": "dense"},
    "dense, recomputed": {"connection": "dense", "recompute": True},
}
memory = {}
for kind, options in KINDS.items():
    memory[kind] = [connections.activation_mib(depth=depth, **options) for depth in DEPTHS]
chains_of_16 = {
    "residual": connections.chain("residual", 16),
    "dense": connections.chain("dense", 16),
    "dense with bottleneck": connections.chain("dense", 16, bottleneck=True),
}
print("MiB of activations   2 blocks  4 blocks  8 blocks 16 blocks   8 to 16")
for kind, mib in memory.items():
    print(f"{kind:20}", *(f"{m:9.2f}" for m in mib), f"  x {mib[-1] / mib[-2]:.2f}")


# %%
lesson.show(
    lambda figure: connections.draw_costs(figure, chains_of_16, memory, DEPTHS),
    "01-costs",
    alt="Parameters of each block and memory of all. At 16 blocks: "
    + ", ".join(f"{kind} {mib[-1]:.1f} MiB" for kind, mib in memory.items()),
    size=(6, 9),
)

# %% [markdown]
# A dense layer starts cheap and gets dearer with all that it reads; the sum is a parabola, where residual blocks give a
# line (not yet a factor of 4, for its linear part is still large).
# <!-- claim: dense_memory_grows_faster_than_depth, the_dense_layer_costs_less --> The third curve is *also* a DenseNet:
# it forgets the concatenations and computes them again.
#
# ## 6. The control: the same layers, added or appended
#
# One net; we change where its maps land. Its layers are batch norm, ReLU, one 3x3 convolution to a few maps, which are
# padded to the net's width and *added*:
#
#     append        the maps of layer i land on channels of their own, still empty:  [x, F]
#     add           the same places, but a stem of 48 filters has filled them all:   x + F
#     add, narrow   a stem of 16 filters as in append, and all layers add onto these
#
# > **Predict.** 8 layers, trained as in lesson 2. Which fits its training images best, and its test images?

# %%
CONTROL_SEEDS = lesson.pick((0, 1, 2, 3, 4), little=(0, 1, 2))


runs = {name: [control.trained(name, s) for s in CONTROL_SEEDS] for name in control.JOINS}
for name, found in runs.items():
    losses, accuracies = (
        np.array([getattr(r, what) for r in found]) for what in ("loss", "accuracy")
    )
    print(
        f"{name:12} {control.parameters(name):,} parameters, training loss {losses.mean():.3f} "
        f"nats, test accuracy {accuracies.mean():.1%} ± {accuracies.std(ddof=1):.1%}"
    )
for worse in control.JOINS[1:]:
    points = 100 * control.differences("append", worse, CONTROL_SEEDS)
    print(pairs.sentence("append", worse, points))

# %%
lesson.show(
    lambda figure: control.draw_results(figure, runs),
    "01-control",
    alt="Training loss and test accuracy by seed: "
    + ", ".join(
        f"{name} {np.mean([r.loss for r in found]):.2f} nats and "
        f"{np.mean([r.accuracy for r in found]):.1%}"
        for name, found in runs.items()
    ),
    size=(6, 7),
)

# %% [markdown]
# At equal width (and with 2 % fewer weights than `add`) appending fits the training images better in every
# [seed](../docs/glossary.md#seed). On test images it is ahead on average.
# <!-- claim: appending_fits_better, only_the_place_differs -->
#
# > **Predict.** And on 10,000 photos of CIFAR-10, with twice the maps a layer (10 epochs, stored)?

# %%
photos = lesson.stored("01-control-cifar10")
print(f"{photos['images']:,} training images, {photos['epochs']} epochs")
for name in control.JOINS:
    losses, accuracies = (
        np.array([row[what] for row in photos[name]]) for what in ("loss", "accuracy")
    )
    print(
        f"{name:12} {photos['parameters'][name]:,} parameters, training loss "
        f"{losses.mean():.3f} ± {losses.std(ddof=1):.3f} nats, test accuracy "
        f"{accuracies.mean():.1%} ± {accuracies.std(ddof=1):.1%}"
    )
for worse in control.JOINS[1:]:
    print(pairs.sentence("append", worse, pairs.differences(photos["append"], photos[worse])))

# %% [markdown]
# There `append` and `add` tie on test images, so the lead on digits is not a law.
# <!-- claim: on_cifar_the_wide_sum_ties --> `add, narrow` is behind `append`: it fills 16 channels, not 80
# (stem 16, 8 layers of 8). <!-- claim: on_cifar_the_narrow_sum_is_behind -->
#
# ## 7. Four words that keep the growth in check
#
# - **[Growth rate](../docs/glossary.md#growth-rate)** k: what each dense layer appends.
# - **[Transition](../docs/glossary.md#transition)**: maps of two sizes can be neither added nor concatenated, so a
#   DenseNet halves them between its *dense blocks*: 1x1 convolution (which mixes), 2x2 average pooling.
#   <!-- claim: two_sizes_do_not_join -->
# - **Compression**: the share of the channels that this 1x1 keeps. The **C** in BC.
# - **[Bottleneck](../docs/glossary.md#bottleneck)**: a 1x1 convolution to 4k maps before each 3x3. The **B**.
#
# > **Predict.** The bottleneck is one *more* convolution a layer. Does it cost parameters or save them?


# %%
print("two blocks of 12 layers   channels                 parameters")
for name in ("", "B", "C", "BC"):
    kept = 0.5 if "C" in name else 1.0
    size = connections.densenet_size(bottleneck="B" in name, compression=kept)
    print(f"DenseNet {name:16} {' -> '.join(map(str, size.channels)):24} {size.parameters:10,}")

# %% [markdown]
# It saves, once a layer reads enough. <!-- claim: a_bottleneck_saves_parameters -->
#
# ## 8. Where you meet them today
#
# - **Additions**: around every block of ConvNeXt (arXiv:2201.03545) and of transformers for images (arXiv:2010.11929);
#   between the levels of feature pyramids (arXiv:1612.03144).
# - **Concatenations**: from the way down to the way up in U-Net (arXiv:1505.04597); around each stage in CSP nets
#   (arXiv:1911.11929); in RDNet, a DenseNet of today (arXiv:2403.19588).
#
# ## What this does not show
#
# > - **Not which net is better.** The control is a few narrow layers and a short training.
# > - **Half** holds for independent random x and y. <!-- claim: the_converse_fails -->
# > - **Memory** is counted from the graph in float32, for as many dense layers as residual blocks, although a block has
# >   two convolutions. Time was not looked at. <!-- claim: these_are_the_librarys_blocks -->
#
# ## Exercises
#
# Replace each body, run the cell; it says what is still missing.
#
# **1. Tie more than two.** After n blocks a residual stream is a sum of n + 1 parts.


# %%
def tied_kernel(kernel, sources):
    """(3, 3, C, F) on the sum -> (3, 3, sources * C, F) that does the same on all of them."""
    return None  # your code


connections.check_tied_kernel(tied_kernel)

# %% [markdown]
# **2. Walk through a DenseNet.** How many channels does the head read? A transition
# stands after each dense block but the last, and rounds down.


# %%
def head_width(blocks, growth_rate, compression, stem_width):
    """Channels after the last dense block, e.g. for blocks=(6, 12, 24, 16)."""
    return None  # your code


connections.check_head_width(head_width)

# %% [markdown]
# **3. Where does the bottleneck begin to save?** Count convolutions and batch norms,
# as in part 2.


# %%
def break_even(growth_rate):
    """The fewest channels read for which a bottleneck makes the dense layer smaller."""
    return None  # your code


connections.check_break_even(break_even)

# %% [markdown]
# **4. Find the mistake.** This dense block runs, and yet it is none. What does each layer read, and what comes out?


# %%
def dense_block(x, depth, growth_rate):
    new = x
    for _ in range(depth):
        new = conv(layers.ReLU()(norm(new)), growth_rate)
    return layers.Concatenate()([x, new])


connections.check_dense_block(dense_block)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def tied_kernel(kernel, sources):
#     return np.concatenate([kernel] * sources, axis=2)
#
#
# def head_width(blocks, growth_rate, compression, stem_width):
#     width = stem_width
#     for stage, depth in enumerate(blocks, start=1):
#         width += depth * growth_rate
#         if stage < len(blocks):
#             width = int(compression * width)
#     return width
#
#
# def break_even(growth_rate):
#     """9Ck + 2C > 4Ck + 2C + 36kk + 8k, so 5C > 36k + 8."""
#     return (36 * growth_rate + 8) // 5 + 1
#
#
# def dense_block(x, depth, growth_rate):
#     for _ in range(depth):
#         x = layers.Concatenate()([x, conv(layers.ReLU()(norm(x)), growth_rate)])
#     return x
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - He et al.: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Figure 2 is the equation.
# - Huang et al.: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 1 is a dense block,
#   section 3 has the four words.
# - Wang et al.: *Mixed Link Networks*, arXiv:1802.01808. Figure 1: both nets as one topology.
# - Kim, Heo, Han: *DenseNets Reloaded*, arXiv:2403.19588: the argument with the rank; many random nets, in which
#   concatenation is ahead by less than they differ among themselves.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_these_are_the_librarys_blocks(shortcut=True):
    for name, apart in apart_from_the_library(shortcut).items():
        assert apart < 1e-6, f"the {name} blocks differ by {apart:.2g} of the largest output"


def claim_one_keeps_its_width_and_one_grows(adding="residual", appending="dense"):
    for number in range(1, 5):
        kept = connections.chain(adding, number).output_shape[-1]
        grown = connections.chain(appending, number).output_shape[-1]
        expected = 24 + 12 * number
        assert kept == 24, f"{kept} channels after {number} blocks, not 24"
        assert grown == expected, f"{grown} channels after {number} layers, not {expected}"


def claim_the_arithmetic_is_right(all_are_read=True, size=24, k=12):
    for number, block in enumerate(connections.by_block(connections.chain("dense", 4))):
        reads = size + number * k if all_are_read else size
        expected = 9 * reads * k + 2 * reads  # convolution, and the batch norm before it
        assert block.parameters == expected, f"{block.parameters} parameters, not {expected}"
    for block in connections.by_block(connections.chain("residual", 4)):
        assert block.parameters == 2 * (9 * size * size + 2 * size)  # twice: convolution, norm
    assert (block.parameters, 9 * size * k + 2 * size) == (10464, 2640)


def claim_the_dense_layer_costs_less(number=4):
    residual = connections.by_block(connections.chain("residual", 1))[0]
    dense = connections.by_block(connections.chain("dense", number))[-1]
    assert dense.reads > residual.reads, f"it reads {dense.reads} channels"
    assert dense.parameters < residual.parameters, (
        f"{dense.parameters:,} parameters against {residual.parameters:,}"
    )


def claim_adding_is_concatenating_with_tied_weights(tied=True):
    gap = reading_gap(tied=tied)
    assert gap < 1e-5, f"the outputs differ by {gap:.2g} of the largest value"  # float32


def claim_a_relu_in_between_ends_it(relu=True):
    gap = reading_gap(relu=relu)
    assert gap > 0.1, f"the outputs differ by only {gap:.2g} of the largest value"


def claim_the_converse_fails(tied=False):
    on_sum, on_both, lost = freedom_and_loss(tied)
    assert on_both == 2 * on_sum, f"{on_both} free weights against {on_sum}"
    assert 0.45 < lost < 0.55, f"the best reader of the sum misses {lost:.0%}"


def claim_appending_is_adding_with_padding(first=24):
    appended, added = appended_and_added(first)
    apart = float(ops.max(ops.abs(appended - added)))
    assert apart == 0, f"they differ by up to {apart:.2g}"


def claim_a_list_spans_more_than_a_sum(linear=False):
    added, listed = ranks(linear)
    assert added == 24, f"the sum has rank {added}"
    assert listed == 24 + 12, f"the list has rank {listed}, no more than the 24 of x"


def claim_dense_memory_grows_faster_than_depth(recompute=False):
    def growth(connection, **options):
        eight, sixteen = (connections.activation_mib(connection, n, **options) for n in (8, 16))
        return sixteen / eight

    residual, dense = growth("residual"), growth("dense", recompute=recompute)
    assert residual < 2.1, f"residual memory grows {residual:.1f} times"
    assert dense > 3, f"dense memory grows only {dense:.1f} times"


def claim_only_the_place_differs(join="append"):
    other, same = control.parameters("add, narrow"), control.parameters("append")
    assert same == other, f"{same:,} and {other:,} parameters"
    assert round(1 - same / control.parameters("add"), 2) == 0.02
    apart = control.distance_to_the_library(join)
    assert apart < 1e-4, f"{join} is {apart:.2g} away from the library's dense block"


def claim_appending_fits_better(better="append", worse="add", seeds=(0, 1, 2)):
    losses = control.differences(better, worse, seeds, "loss")
    assert losses.max() < 0, f"{better} has up to {losses.max():.3f} nats more"
    points = 100 * control.differences(better, worse, seeds)
    assert points.mean() > 0, f"{better} is behind on test images"
    assert len(points) < 5 or pairs.interval(points)[0] > 0, "on test images it is a tie"


def on_cifar(other):
    """Append minus another net, by seed: test accuracy in points, training loss in nats."""
    stored = lesson.stored("01-control-cifar10", quiet=True)
    loss = pairs.differences(stored["append"], stored[other], "loss", unit=1)
    return pairs.differences(stored["append"], stored[other]), loss


def claim_on_cifar_the_wide_sum_ties(other="add"):
    points, nats = on_cifar(other)
    assert pairs.verdict(points) == 0, pairs.sentence("append", other, points)
    assert np.abs(nats).max() < 0.05, (
        f"the losses are up to {np.abs(nats).max():.2f} nats apart"
    )


def claim_on_cifar_the_narrow_sum_is_behind(other="add, narrow"):
    points, nats = on_cifar(other)
    assert pairs.verdict(points) == 1 and points.min() > 0, pairs.sentence(
        "append", other, points
    )
    assert nats.max() < 0, f"append has up to {nats.max():.3f} nats more"
    assert (control.CIFAR10.stem, control.CIFAR10.width) == (16, 80)


def claim_two_sizes_do_not_join(size=4):
    for layer in (layers.Add(), layers.Concatenate()):
        joined = connections.joins(layer, (8, 8, 24), (size, size, 24))
        assert not joined, f"{type(layer).__name__} joins 8x8 and {size}x{size}"


def claim_a_bottleneck_saves_parameters(reads=168):
    with_it = connections.layer_parameters(reads, bottleneck=True)
    without = connections.layer_parameters(reads, bottleneck=False)
    assert with_it < without, f"{with_it:,} parameters with it, {without:,} without"


claim_appending_fits_better(seeds=CONTROL_SEEDS)
claim_appending_fits_better(worse="add, narrow", seeds=CONTROL_SEEDS)

BREAK = {
    claim_these_are_the_librarys_blocks: {"shortcut": False},
    claim_one_keeps_its_width_and_one_grows: {"adding": "dense", "appending": "residual"},
    claim_the_arithmetic_is_right: {"all_are_read": False},
    claim_the_dense_layer_costs_less: {"number": 16},
    claim_adding_is_concatenating_with_tied_weights: {"tied": False},
    claim_a_relu_in_between_ends_it: {"relu": False},
    claim_the_converse_fails: {"tied": True},
    claim_appending_is_adding_with_padding: {"first": 12},
    claim_a_list_spans_more_than_a_sum: {"linear": True},
    claim_only_the_place_differs: {"join": "add, narrow"},
    claim_appending_fits_better: {"better": "add", "worse": "append"},
    claim_on_cifar_the_wide_sum_ties: {"other": "add, narrow"},
    claim_on_cifar_the_narrow_sum_is_behind: {"other": "add"},
    claim_dense_memory_grows_faster_than_depth: {"recompute": True},
    claim_two_sizes_do_not_join: {"size": 8},
    claim_a_bottleneck_saves_parameters: {"reads": 24},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
