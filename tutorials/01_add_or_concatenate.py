# %% [markdown]
# # 1. Add or concatenate?
#
# ResNet **adds** what a block computes to what it was given. DenseNet **appends** it. Is that one word all the
# difference, and what follows from it?
#
# After this lesson you can
#
# - write both blocks from memory, with the shape and the parameters of every layer;
# - prove that adding is concatenating with tied weights, and say exactly what the tie throws away;
# - say which of the two pays with parameters, which with memory, and when;
# - explain *growth rate*, *transition*, *compression* and the letters *BC* in a sentence each.
#
# **Time:** at most 1 minute on 2 CPU cores; the last cell prints what this run took.
# **Needs:** this package (`python -m pip install .` in its folder). No network, no data, no training.
#
# Where it says **Predict**, write your answer down before you read on. A guess that turns out wrong is what you will
# remember.

# %%
from resdense_keras.experiments import lesson

lesson.begin()  # says what is missing, before anything that could miss it

import keras
import numpy as np
from keras import layers, ops

from resdense_keras.experiments import connections

# %% [markdown]
# ## 1. Two equations, two blocks
#
#     ResNet      y =  x + F(x)        as many channels as before
#     DenseNet    y = [x , F(x)]       k channels more; k is called the growth rate
#
# `F` is the part that learns: convolutions, each with a batch norm and a ReLU. Here are both, whole. Shapes are
# (images, height, width, channels).


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


# %% [markdown]
# A DenseNet puts batch norm and ReLU *before* the convolution. That is a second difference, but not the one that
# makes a DenseNet: ResNets of 2016 do the same and still add.
#
# Are these few lines the real thing? Give them and the library's blocks the same random weights, and compare.


# %%
def claim_these_are_the_librarys_blocks(shortcut=True):
    x = keras.Input((32, 32, 24))
    pairs = {
        "residual": keras.Model(x, residual_block(x, shortcut)),
        "dense": keras.Model(x, dense_layer(x)),
    }
    for name, ours in pairs.items():
        apart = connections.difference(ours, connections.chain(name, 1))
        assert apart < 1e-6, f"the {name} blocks differ by {apart:.2g} of the largest output"
        print(f"{name} block: outputs differ by {apart:.1g} of the largest value")


claim_these_are_the_librarys_blocks()

# %% [markdown]
# ## 2. What comes out
#
# > **Predict.** 24 channels go into four residual blocks, and into four dense layers with growth rate 12. How many
# > channels come out of each?

# %%
chains = {name: connections.chain(name, 4) for name in ("residual", "dense")}
blocks = {name: connections.by_block(model) for name, model in chains.items()}
for name, rows in blocks.items():
    print(f"{name:8}", " -> ".join(["24", *(str(block.writes) for block in rows)]))


def claim_one_keeps_its_width_and_one_grows(adding="residual", appending="dense"):
    for number in range(1, 5):
        kept = connections.chain(adding, number).output_shape[-1]
        grown = connections.chain(appending, number).output_shape[-1]
        expected = 24 + 12 * number
        assert kept == 24, f"{kept} channels after {number} blocks, not 24"
        assert grown == expected, f"{grown} channels after {number} layers, not {expected}"


claim_one_keeps_its_width_and_one_grows()


# %%
lesson.show(
    lambda figure: connections.draw_strips(figure, chains),
    "01-channels",
    alt="Channels to scale: residual stays 24 wide and mixes all, dense grows to 72",
)

# %% [markdown]
# Left, every channel is a mixture: block 3 gets the *sum* of the input, F1 and F2 (with a ReLU after each sum) and
# cannot ask for F1 alone. Right, everything keeps channels of its own, and each later layer reads it unmixed. That is
# all that "feature reuse" means. Not that the layers *use* it: that is a question for a later lesson.
#
# > **Predict.** Which has more parameters, a residual block of 24 channels or the *fourth* dense layer, which reads
# > everything that the three before it made?
#
# The arithmetic: a 3x3 convolution has 9 x (channels read) x (channels made) weights, a batch norm two trained numbers
# a channel.


# %%
def claim_the_arithmetic_is_right(all_are_read=True, size=24, k=12):
    for number, block in enumerate(connections.by_block(connections.chain("dense", 4))):
        reads = size + number * k if all_are_read else size
        expected = 9 * reads * k + 2 * reads  # convolution, and the batch norm before it
        assert block.parameters == expected, f"{block.parameters} parameters, not {expected}"
    for block in connections.by_block(connections.chain("residual", 4)):
        assert block.parameters == 2 * (9 * size * size + 2 * size)  # twice: convolution, norm


claim_the_arithmetic_is_right()
for name, rows in blocks.items():
    for number, (reads, writes, parameters) in enumerate(rows, start=1):
        print(f"{name:8} {number}: reads {reads}, writes {writes}, {parameters:6,} parameters")

# %% [markdown]
# The dense layer reads more and still costs less, because it *makes* so little. That is DenseNet's bet: nothing that
# earlier layers found has to be repeated, so a small growth rate is enough.
#
# ## 3. Adding is concatenating with tied weights
#
# Let a convolution read x and y. If it reads them concatenated, it has separate weights for each; if it reads their
# sum, both get the same:
#
#     W [x , y] = W1 x + W2 y
#     A (x + y) =  A x +  A y          so W1 = W2 = A
#
# > **Predict.** We take a convolution `A` on the sum, and copy its weights twice into one that reads the concatenation.
# > How far apart are the outputs? And if a ReLU stands between joining and convolution, as it does in both nets?


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


def claim_adding_is_concatenating_with_tied_weights(tied=True):
    gap = reading_gap(tied=tied)
    assert gap < 1e-5, f"the outputs differ by {gap:.2g} of the largest value"  # float32


def claim_a_relu_in_between_ends_it(relu=True):
    gap = reading_gap(relu=relu)
    assert gap > 0.1, f"the outputs differ by only {gap:.2g} of the largest value"


claim_adding_is_concatenating_with_tied_weights()
claim_a_relu_in_between_ends_it()
print(f"tied                 outputs differ by {reading_gap():.1g} of the largest value")
print(f"not tied             outputs differ by {reading_gap(tied=False):.1g}")
print(f"tied, behind a ReLU  outputs differ by {reading_gap(relu=True):.1g}")

# %% [markdown]
# Equal, to the rounding of float32: whatever a linear layer can read off a sum, it can read off the concatenation.
# Behind a ReLU the *next* layer no longer suffices, but one more does: the addition itself is the 1x1 convolution
# [I I] on the concatenation. Nothing that a ResNet computes is out of reach for concatenation. The converse?
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


def claim_the_converse_fails(tied=False):
    on_sum, on_both, lost = freedom_and_loss(tied)
    assert on_both == 2 * on_sum, f"{on_both} free weights against {on_sum}"
    assert 0.45 < lost < 0.55, f"the best reader of the sum misses {lost:.0%}"


claim_the_converse_fails()
on_sum, on_both, lost = freedom_and_loss()
print(f"weights to choose: {on_sum} on the sum, {on_both} on the concatenation")
print(f"the best A misses {lost:.0%} of the variance")

# %% [markdown]
# Half. The best A is (W1 + W2) / 2, and what it misses is (W1 - W2)(x - y) / 2: a sum keeps x + y and **throws
# x - y away**. Concatenation keeps both, for twice the weights in every layer that reads it.
#
# ## 4. What it costs
#
# A layer that reads everything needs weights for everything, and training must remember everything it read.
#
# > **Predict.** We go from 8 blocks to 16. By what factor does the memory grow that training needs for activations,
# > with residual blocks and with dense layers?

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
print("MiB of activations   2 blocks  4 blocks  8 blocks 16 blocks")
for kind, mib in memory.items():
    print(f"{kind:20}", *(f"{m:9.2f}" for m in mib))


# %%
def claim_dense_memory_grows_faster_than_depth(recompute=False):
    def growth(connection, **options):
        eight, sixteen = (connections.activation_mib(connection, n, **options) for n in (8, 16))
        return sixteen / eight

    residual, dense = growth("residual"), growth("dense", recompute=recompute)
    assert residual < 2.1, f"residual memory grows {residual:.1f} times"
    assert dense > 3, f"dense memory grows only {dense:.1f} times"
    print(f"8 to 16 blocks: residual memory x {residual:.2f}, dense memory x {dense:.2f}")


claim_dense_memory_grows_faster_than_depth()

# %%
lesson.show(
    lambda figure: connections.draw_costs(figure, chains_of_16, memory, DEPTHS),
    "01-costs",
    alt="Parameters and memory: residual flat and straight, dense rising and curved",
    size=(9, 4),
)

# %% [markdown]
# Left: a dense layer starts cheap and gets dearer with all that it reads. Right: the sum of growing inputs is a
# parabola, where residual blocks give a line. But the third curve is *also* a DenseNet, with the same weights and the
# same outputs: it forgets the concatenations and computes them again when the gradient needs them. "DenseNets are
# memory hungry" is true of the plain implementation.
#
# ## 5. Four words that keep the growth in check
#
# - **Growth rate** k: what each dense layer adds. Small, because all of it is read by all that follow.
# - **Transition**: maps of two sizes can be neither added nor concatenated. A ResNet changes size inside a block, with
#   a strided 1x1 convolution (or zeros) on the shortcut; a DenseNet between its *dense blocks*: 1x1 convolution, 2x2
#   average pooling.
# - **Compression**: the share of the channels that this 1x1 convolution keeps. The **C** in BC.
# - **Bottleneck**: a 1x1 convolution to 4k maps before each 3x3, so that the 3x3 never reads hundreds. The **B**.
#
# > **Predict.** The bottleneck is one *more* convolution a layer. Does it cost parameters or save them?


# %%
def claim_two_sizes_do_not_join(size=4):
    for layer in (layers.Add(), layers.Concatenate()):
        joined = connections.joins(layer, (8, 8, 24), (size, size, 24))
        assert not joined, f"{type(layer).__name__} joins 8x8 and {size}x{size}"


def claim_a_bottleneck_saves_parameters(reads=168):
    with_it = connections.layer_parameters(reads, bottleneck=True)
    without = connections.layer_parameters(reads, bottleneck=False)
    assert with_it < without, f"{with_it:,} parameters with it, {without:,} without"


claim_two_sizes_do_not_join()
claim_a_bottleneck_saves_parameters()
print("two blocks of 12 layers   channels                 parameters")
for name in ("", "B", "C", "BC"):
    kept = 0.5 if "C" in name else 1.0
    size = connections.densenet_size(bottleneck="B" in name, compression=kept)
    print(f"DenseNet {name:16} {' -> '.join(map(str, size.channels)):24} {size.parameters:10,}")

# %% [markdown]
# It saves, once a layer reads enough; the figure above shows where the curves cross, and exercise 3 asks for the point.
#
# ## What this does not show
#
# > - **Not which net is better.** Nothing was trained. More freedom is not more accuracy: tied weights can be the
# >   right prior. Lessons on depth, gradients and cost measure that.
# > - **Not that a DenseNet contains each ResNet layer by layer.** The identity is about linear readers; batch norm and
# >   ReLU stand in between, and it takes the extra 1x1 convolution.
# > - **Half** holds for independent random x and y. Maps of a trained net are correlated, and W1 and W2 too.
# > - **Memory** is counted from the graph in float32, not measured on a device, at equal depth rather than at equal
# >   accuracy; time was not looked at.
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
# **2. Walk through a DenseNet.** How many channels does the head read? A transition stands after each dense block but
# the last, and rounds down.


# %%
def head_width(blocks, growth_rate, compression, stem_width):
    """Channels after the last dense block, e.g. for blocks=(6, 12, 24, 16)."""
    return None  # your code


connections.check_head_width(head_width)

# %% [markdown]
# **3. Where does the bottleneck begin to save?** Count convolutions and batch norms, as in part 2.


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
# ## Can these claims fail?
#
# A claim that cannot fail shows nothing. This table takes away, for each claim above, what should make it true.

# %%
BREAK = {
    claim_these_are_the_librarys_blocks: {"shortcut": False},
    claim_one_keeps_its_width_and_one_grows: {"adding": "dense", "appending": "residual"},
    claim_the_arithmetic_is_right: {"all_are_read": False},
    claim_adding_is_concatenating_with_tied_weights: {"tied": False},
    claim_a_relu_in_between_ends_it: {"relu": False},
    claim_the_converse_fails: {"tied": True},
    claim_dense_memory_grows_faster_than_depth: {"recompute": True},
    claim_two_sizes_do_not_join: {"size": 8},
    claim_a_bottleneck_saves_parameters: {"reads": 24},
}
for claim, change in BREAK.items():
    print(lesson.refutation(claim, change))

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Figure 2 is the equation,
#   figure 5 the two kinds of block, section 3.3 the shortcuts where the size changes.
# - He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, arXiv:1603.05027. Figure 1: batch norm and ReLU
#   first.
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 1 is a
#   dense block, figure 2 the transitions, section 3 growth rate, bottleneck and compression.
# - Wang, Li, Lu, Yang: *Mixed Link Networks*, arXiv:1802.01808. Figure 1: both nets as one topology, with addition or
#   concatenation at its nodes.
# - Pleiss et al.: *Memory-Efficient Implementation of DenseNets*, arXiv:1707.06990. Recomputation.

# %%
lesson.cost()
