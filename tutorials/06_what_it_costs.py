# %% [markdown]
# # 6. What does it cost?
#
# [← 5. Who reuses what](05_who_reuses_what.ipynb) ·
# [7. Build, train, tell apart →](07_build_train_tell_apart.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# The usual table says that a DenseNet has more parameters, needs more memory and is slower. Each of the three depends
# on what is held equal: the parameters, the accuracy or the number of blocks. So we measure each with its *equal what*.
# <!-- claim: fewer_parameters_at_equal_accuracy, far_more_memory_at_equal_parameters -->
#
# After this lesson you can
#
# - compare two families at equal accuracy, on parameters, multiply-adds, memory and time, with the noise of the
#   [seeds](../docs/glossary.md#seed);
# - say how memory grows with depth: in training with its square (DenseNet) or linearly (ResNet), in inference linearly
#   or not at all;
# - say what of it is the architecture and what the implementation, and get most of it back with one argument;
# - predict the batch that fits before you run out of memory.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). No network: scikit-learn's digits come with it.

# %%
from resdense_keras.experiments import lesson

lesson.begin(
    "tensorflow", "sklearn"
)  # says what is missing, before anything that could miss it

from resdense_keras import profile
from resdense_keras.experiments.what_it_costs import costs

# %% [markdown]
# ## 1. Four kinds of cost
#
# - **Parameters**: what is stored, shipped and downloaded.
# - **Multiply-adds** (MACs): the arithmetic of one image.
# - **Activations**: what training keeps of every image until the gradient has come back.
# - **Time**: what a clock says, here and today.
#
# The smallest example is one block of each family on 8x8 maps of 16 channels, the dense one with [growth
# rate](../docs/glossary.md#growth-rate) 8. A residual block has two 3x3 convolutions; the dense layer has a 1x1 to 4 x
# 8 maps and a 3x3 to 8. <!-- claim: the_arithmetic_is_right -->
#
#     residual     2 x 9 x 16 x 16            = 4,608 weights
#     dense BC     16 x 32  +  9 x 32 x 8     = 2,816 weights


# %%
def weights_and_macs(side, kernel, reads, makes):
    """Of one convolution without bias that makes maps of `side` x `side` pixels."""
    weights = kernel * kernel * reads * makes  # one for each offset, channel read and map made
    return weights, side * side * weights  # each is used once for every pixel


CONVOLUTIONS = {  # (side, kernel, channels read, maps made)
    ("residual", "conv1"): (8, 3, 16, 16),
    ("residual", "conv2"): (8, 3, 16, 16),
    ("dense", "conv1"): (8, 1, 16, 32),
    ("dense", "conv2"): (8, 3, 32, 8),
}
for (family, name), numbers in CONVOLUTIONS.items():
    weights, macs = weights_and_macs(*numbers)
    print(f"{family:8} {name}: {weights:5,} weights {macs:9,} multiply-adds")


# %% [markdown]
# The package counts the same, layer by layer, in the whole net. <!-- claim: the_arithmetic_is_right --> (A [batch
# norm](../docs/glossary.md#batch-norm) stores four numbers a channel and trains two. Bytes stand with the layer that
# first keeps a tensor: a convolution's input is some ReLU's output.) <!-- claim: the_arithmetic_is_right -->

# %%
for family, size in (("residual", 16), ("dense", 8)):
    print(f"{family:24} {'output':12} parameters      MACs  bytes kept")
    for row in profile(costs.net(family, size)).layers:
        if row.name.startswith("stage1_block1_"):
            shape = "x".join(map(str, row.output_shape))
            print(
                f"{row.name:24} {shape:12}"
                f"{row.parameters:11,}{row.macs:10,}{row.kept_bytes:12,}"
            )

# %% [markdown]
# ## 2. At equal accuracy
#
# One layer does not settle it, because the families need different numbers of layers. So we take whole nets: ResNets of
# 14 layers in three widths, DenseNet-BCs of 16 layers with three growth rates.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
# Comparing two nets of one size tells which is the accurate one; comparing two of one accuracy tells what each costs. A
# curve through several sizes shows both.
#
# > **Predict.** A ResNet of width 16 and a DenseNet with growth rate 8 turn out equally accurate here. Which has more
# > parameters, which does more arithmetic, which keeps more activations? Write down three answers, with factors.

# %%
SEEDS = 3
WIDTHS = lesson.pick((4, 8, 16), little=(8, 16))
GROWTH_RATES = lesson.pick((4, 8, 12), little=(8, 12))

points = [costs.point("residual", width, seeds=SEEDS) for width in WIDTHS]
points += [costs.point("dense", rate, seeds=SEEDS) for rate in GROWTH_RATES]
points = costs.with_times(points)
print(
    "net          parameters   MACs (M)   KiB kept   step (ms)   accuracy (range of the seeds)"
)
for point in points:
    low, high = min(point.accuracies), max(point.accuracies)
    print(
        f"{point.name:12}{point.parameters:11,}{point.macs / 1e6:11.2f}"
        f"{point.activation_bytes / 1024:11.0f}"
        f"{point.step_ms[1]:12.1f}   {point.accuracy:.1%} ({low:.1%} to {high:.1%})"
    )


# %%
lesson.show(
    lambda figure: costs.draw_accuracies(figure, points),
    "06-accuracy",
    alt="Test accuracy over parameters, multiply-adds, activations and time: "
    + "; ".join(f"{point.name} {point.accuracy:.1%}" for point in points)
    + ". Dense lies far left in parameters and MACs, not in memory",
    size=(6, 13),
)

# %% [markdown]
# Numbers beside the marks are widths and growth rates, bars the range over the
# seeds. A curve further left reaches an accuracy at a lower cost.
# <!-- claim: fewer_parameters_at_equal_accuracy -->


# %%
def share(first, second, cost):
    """A cost of the first net (family, size) over that of the second."""
    return getattr(costs.point(*first), cost) / getattr(costs.point(*second), cost)


for equal, first, second in (
    ("accuracy", ("dense", 8), ("residual", 16)),
    ("parameters", ("dense", 12), ("residual", 8)),
):
    names = ("parameters", "macs", "activation_bytes")
    parameters, macs, kept = (share(first, second, name) for name in names)
    print(
        f"equal {equal}: dense {first[1]} over residual {second[1]}: {parameters:.2f} of the "
        f"parameters, {macs:.2f} of the multiply-adds, {kept:.2f} of the activations"
    )


# %% [markdown]
# Two questions stay. Is the order another one after a longer training? And what if the ResNet gets layers instead of
# channels? Both are stored.

# %%
longer = lesson.stored("06-longer")
for title, group in ((f"{longer['epochs']} epochs", "long"), ("the usual epochs", "depths")):
    for name, row in longer[group].items():
        print(
            f"{title:16} {name:21} {row['parameters']:8,} parameters, "
            + ", ".join(f"{accuracy:.1%}" for accuracy in row["accuracies"])
        )


def stored_accuracy(group, name):
    found = lesson.stored("06-longer", quiet=True)[group][name]["accuracies"]
    return sum(found) / len(found)


# %% [markdown]
# After ten times the epochs the small dense net is still not behind, and a ResNet of 20 or 32 layers is no better on
# digits than one of 8. <!-- claim: ten_times_the_epochs_change_no_order, layers_buy_the_residual_net_nothing_here -->

# %% [markdown]
# So at equal accuracy the dense net needs *fewer* parameters and less arithmetic. What it saves there it spends on
# activations. ("Equal" means after 132 steps, to within two points: 360 test images tell no more.)
# <!-- claim: fewer_parameters_at_equal_accuracy, but_no_less_memory -->
#
# And the time? Its column is this machine's, while it did other things as well, so we conclude nothing from it. This
# package measures latency on your device instead of counting operations.
#
# ## 3. Where the memory goes
#
# > **Predict.** A block of 24 dense layers (k = 12) begins with 24 channels. How many channels exist at its end? How
# > many do its layers read, all together?

# %%
read, exist = costs.read_and_new(24)
print(
    f"{exist} channels exist; the layers read {read:,}, "
    f"so each is read {read / exist:.1f} times on average"
)


# %% [markdown]
# Reading costs nothing if a layer looks at the maps where they lie. Most programs copy them first: the concatenation is
# a *new tensor*, and so is what comes out of each layer's own batch norm and ReLU.
# The gradient needs two of these three: the concatenation, which the batch norm read, and the ReLU's output, which the
# convolution read. <!-- claim: the_memory_by_hand_is_what_is_counted --> By hand:


# %%
def dense_mib(layers, width=24, growth_rate=12, pixels=32 * 32):
    """What training keeps of one 32x32 image."""
    numbers = 0
    for layer in range(layers):
        reads = width + growth_rate * layer  # grows with every layer
        numbers += pixels * reads  # the concatenation
        numbers += pixels * reads  # its ReLU
    numbers += pixels * (width + growth_rate * layers)  # what comes out at the end
    return 4 * numbers / 2**20  # float32


def residual_mib(blocks, width=24, pixels=32 * 32):
    numbers = pixels * width * (1 + 4 * blocks)  # two norms and two ReLUs, always as wide
    return 4 * numbers / 2**20


for depth in (24, 48):
    print(f"{depth} deep, by hand: dense {dense_mib(depth):.2f} MiB,", end=" ")
    print(f"residual {residual_mib(depth):.2f} MiB")


# %% [markdown]
# A residual block keeps four tensors, always equally wide. <!-- claim: the_memory_by_hand_is_what_is_counted --> A
# dense layer keeps two that grow with every layer, and their sum over the layers is a square.
# <!-- claim: dense_memory_is_quadratic, few_maps_are_read_often -->
#
# > **Predict.** From 24 to 48 blocks: by what factor grows the memory of the residual and of the dense chain, (a) in
# > training, (b) in inference, where nothing waits for a gradient?

# %%
DEPTHS = (6, 12, 24, 48)
KINDS = ("dense", "residual", "recomputed", "new", "inference", "residual inference")
memory = {kind: [costs.memory_mib(kind, depth) for depth in DEPTHS] for kind in KINDS}
print("MiB for one image  ", *(f"{n:>5} deep" for n in DEPTHS), "  last step")
for kind, mib in memory.items():
    print(f"{kind:19}", *(f"{m:10.2f}" for m in mib), f"  x {mib[-1] / mib[-2]:.2f}")


# %%
shares = costs.kept_by_origin(costs.net("dense", 12))
for origin, part in shares.items():
    print(f"{origin:14} {part:4.0%} of the bytes kept")
lesson.show(
    lambda figure: costs.draw_memory(figure, memory, DEPTHS, shares),
    "06-memory",
    alt=f"Memory at {DEPTHS[-1]} blocks: "
    + ", ".join(f"{kind} {mib[-1]:.1f} MiB" for kind, mib in memory.items())
    + ". A dense net keeps: "
    + ", ".join(f"{origin} {share:.0%}" for origin, share in shares.items()),
    size=(6, 11),
)


# %% [markdown]
# In this net of short blocks the copies are half of the bytes; the other half are the
# [bottlenecks](../docs/glossary.md#bottleneck)' own maps, 4k for each k that stay.
# <!-- claim: half_is_copies_and_half_is_bottleneck --> The longer a block, the larger the share of the copies: they
# alone grow with the square. The dotted curve (row `new`) is what the dense layers *made*, each map once.
# <!-- claim: dense_memory_is_quadratic -->
#
# In inference a residual chain needs the same at any depth, since each sum takes the place of the one before it; a
# dense chain must hold all that later layers will read. So a phone notices the difference too.
# <!-- claim: in_inference_it_is_linear, a_residual_chain_needs_the_same_at_any_depth -->
#
# ## 4. "Memory hungry" is mostly the implementation, in training
#
# Concatenation, norm and ReLU are cheap to compute and large to keep, so one can forget them. With `recompute=True`
# this package keeps what the convolutions made and computes the rest again on the way back.
#
# > **Predict.** Does that change the gradient? And how much of the memory that is *measured* in a training step (12
# > layers, 256 images of 8x8) does it save: a tenth, half, nearly all?


# %%
apart = costs.gradient_difference(other_weights=False)
print(f"the two gradients differ by {apart:.1g} of the largest entry")
peaks = {kind: costs.peak_mib(kind) for kind in ("dense", "recomputed")}
if None in peaks.values():
    print("not measured: this system does not tell a program's peak memory, Linux does")
else:
    print(", ".join(f"{kind}: {mib:.0f} MiB" for kind, mib in peaks.items()))


# %% [markdown]
# Same net, same weights, same gradient, about half of the memory. The price is time: a step computes those layers
# twice. <!-- claim: recomputing_changes_no_gradient, recomputing_saves_measured_memory --> (Other nets can forget and
# compute again too, ResNets as well: Chen et al. 2016. Here a recomputed dense net stands beside a residual one that
# keeps all.)
#
# So the sentence to remember is: **a DenseNet reaches the same accuracy with fewer parameters and more stored
# activations, and how many bytes an activation costs in training is up to the program.**
# <!-- claim: fewer_parameters_at_equal_accuracy, far_more_memory_at_equal_parameters -->
#
# ## What this does not show
#
# > - **Other data and sizes.** Digits are easy and these nets are tiny; the papers' own figure shows the same order on
# >   ImageNet. Three seeds show the noise, they are not a test of significance.
# > - **Equal accuracy is read off three sizes a family**, with one recipe for both, after 132 steps.
# >   <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> Another recipe may move a curve. The curves vary
# >   the ResNet's width; its depth was varied in a stored run only.
# > - **Memory** is what float32 training on a CPU keeps. Frameworks that fuse norm and ReLU, and mixed precision, keep
# >   other amounts. Measured peaks hold gradients and workspaces too, so they exceed the counts.
# > - **Time** is this machine's, while it did other things as well. No claim above rests on it.
#
# ## In your own words
#
# Explain to a friend in three sentences what DenseNet saves and what it pays. Then compare:
#
# <details><summary>One answer</summary>
# At equal accuracy it needs fewer parameters and less arithmetic. It keeps more activations, in training with the
# square of a block's depth, in inference linearly where a ResNet stays constant. Recomputing brings training back to a
# line, for time.
# <!-- claim: fewer_parameters_at_equal_accuracy, dense_memory_is_quadratic, in_inference_it_is_linear,
# a_residual_chain_needs_the_same_at_any_depth -->
# </details>
#
# **Change this number, predict, run.** Set `DEPTHS = (6, 12, 24, 96)`. What is the dense chain's memory at 96: twice
# or four times that at 48?
#
# ## Exercises
#
# Replace each body, run the cell; it says what is still missing.
#
# **1. The square.** How many channels do all layers of a dense block read, together? A formula will do.


# %%
def channels_read(layers, width, growth_rate):
    """Sum of the input channels of `layers` dense layers; the first reads `width`."""
    return None  # your code


costs.check_channels_read(channels_read)

# %% [markdown]
# **2. A fair match.** Find the growth rate whose dense net has the number of parameters nearest to a residual net's.


# %%
def equal_growth_rate(width):
    """The rate from 1 to 8 for which costs.net("dense", rate) matches ("residual", width)."""
    return None  # your code; `net.count_params()` counts


costs.check_equal_growth_rate(equal_growth_rate)

# %% [markdown]
# **3. Before it runs out.** How many images may a batch have if only the activations counted?


# %%
def largest_batch(model, mebibytes):
    """Images whose kept activations fit into so many MiB."""
    return None  # your code; `profile(model).activation_bytes` is for one image


costs.check_largest_batch(largest_batch)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def channels_read(layers, width, growth_rate):
#     return layers * width + growth_rate * layers * (layers - 1) // 2
#
#
# def equal_growth_rate(width):
#     target = costs.net("residual", width).count_params()
#     return min(range(1, 9), key=lambda rate: abs(costs.net("dense", rate).count_params() - target))
#
#
# def largest_batch(model, mebibytes):
#     return int(mebibytes * 2**20 // profile(model).activation_bytes)
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 3 is
#   error over parameters and over arithmetic on ImageNet, figure 4 the same on CIFAR; table 2 the parameters.
# - Pleiss et al.: *Memory-Efficient Implementation of DenseNets*, arXiv:1707.06990. Figure 3 is memory over depth,
#   quadratic and linear.
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Table 6: depth, parameters
#   and error on CIFAR-10.
# - Chen, Xu, Zhang, Guestrin: *Training Deep Nets with Sublinear Memory Cost*, arXiv:1604.06174. Recomputation in
#   general.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_the_arithmetic_is_right(growth_rate=8):
    for (family, name), numbers in CONVOLUTIONS.items():
        counted = profile(costs.net(family, 16 if family == "residual" else growth_rate))
        row = next(row for row in counted.layers if row.name == f"stage1_block1_{name}")
        found, right = (row.parameters, row.macs), weights_and_macs(*numbers)
        assert found == right, f"{family} {name}: {found}, by hand {right}"
    assert 2 * 9 * 16 * 16 == 4608 and 16 * 32 + 9 * 32 * 8 == 2816


def claim_fewer_parameters_at_equal_accuracy(lean=("dense", 8), rich=("residual", 16)):
    less, more = costs.point(*lean), costs.point(*rich)
    assert less.accuracy > more.accuracy - 0.01, (
        f"{less.accuracy:.1%} against {more.accuracy:.1%}"
    )
    assert 4 * less.parameters < more.parameters, (
        f"{less.parameters:,} against {more.parameters:,}"
    )
    assert 2 * less.macs < more.macs, f"{less.macs:,} MACs against {more.macs:,}"


def claim_but_no_less_memory(lean=("dense", 8), rich=("residual", 16)):
    less, more = costs.point(*lean), costs.point(*rich)
    ratio = less.activation_bytes / more.activation_bytes
    assert ratio > 1, f"{less.name} keeps {ratio:.2f} times the activations of {more.name}"


def claim_far_more_memory_at_equal_parameters(connection="dense", size=12):
    residual, dense = profile(costs.net("residual", 8)), profile(costs.net(connection, size))
    apart = abs(dense.trainable / residual.trainable - 1)
    assert apart < 0.05, f"the parameters differ by {apart:.0%}"
    ratio = dense.activation_bytes / residual.activation_bytes
    assert ratio > 3, f"only {ratio:.1f} times the activations"


def claim_ten_times_the_epochs_change_no_order(lean="dense 8", rich="residual 16"):
    less, more = stored_accuracy("long", lean), stored_accuracy("long", rich)
    assert less > more - 0.005, f"{lean} {less:.1%} against {rich} {more:.1%}"


def claim_layers_buy_the_residual_net_nothing_here(shallow="residual 16, 8 deep"):
    least = stored_accuracy("depths", shallow)
    for depth in (8, 20, 32):
        found = stored_accuracy("depths", f"residual 16, {depth} deep")
        assert found < least + 0.005, f"{depth} deep {found:.1%}, {shallow} {least:.1%}"


def claim_few_maps_are_read_often(layers=24):
    read, exist = costs.read_and_new(layers)
    assert read > 10 * exist, f"{read:,} channels are read, {exist} exist"


def claim_the_memory_by_hand_is_what_is_counted(growth_rate=12):
    for depth in (24, 48):
        dense, counted = (
            dense_mib(depth, growth_rate=growth_rate),
            costs.memory_mib("dense", depth),
        )
        assert dense == counted, f"{dense:.2f} MiB by hand, {counted:.2f} counted"
        assert residual_mib(depth) == costs.memory_mib("residual", depth)


def claim_dense_memory_is_quadratic(kind="dense"):
    residual, dense = (
        costs.memory_mib(k, 48) / costs.memory_mib(k, 24) for k in ("residual", kind)
    )
    assert residual < 2.1, f"residual memory grows {residual:.2f} times"
    assert dense > 3.5, f"{kind} memory grows only {dense:.2f} times"


def claim_in_inference_it_is_linear(kind="inference"):
    growth = costs.memory_mib(kind, 48) / costs.memory_mib(kind, 24)
    assert 1.8 < growth < 2.1, f"{kind} memory grows {growth:.2f} times"


def claim_a_residual_chain_needs_the_same_at_any_depth(kind="residual inference"):
    growth = costs.memory_mib(kind, 48) / costs.memory_mib(kind, 24)
    assert growth == 1, f"{kind} memory grows {growth:.2f} times"


def claim_half_is_copies_and_half_is_bottleneck(connection="dense"):
    shares = costs.kept_by_origin(costs.net(connection, 12))
    copies = shares["concatenation"] + shares["its ReLU"]
    assert 0.4 < copies < 0.55 and 0.4 < shares["bottleneck"] < 0.55, (
        f"copies hold {copies:.0%}, bottlenecks {shares['bottleneck']:.0%}"
    )


def claim_recomputing_changes_no_gradient(other_weights=False):
    apart = costs.gradient_difference(other_weights=other_weights)
    assert apart < 1e-5, f"the gradients differ by {apart:.2g} of the largest"


def claim_recomputing_saves_measured_memory(kind="recomputed"):
    plain, other = costs.peak_mib("dense"), costs.peak_mib(kind)
    assert plain is None or other < 0.65 * plain, f"{other:.0f} MiB against {plain:.0f} MiB"


BREAK = {
    claim_the_arithmetic_is_right: {"growth_rate": 12},
    claim_fewer_parameters_at_equal_accuracy: {"lean": ("residual", 16), "rich": ("dense", 8)},
    claim_ten_times_the_epochs_change_no_order: {"lean": "residual 16", "rich": "dense 8"},
    claim_layers_buy_the_residual_net_nothing_here: {"shallow": "residual 16, 32 deep"},
    claim_but_no_less_memory: {"lean": ("residual", 16), "rich": ("dense", 8)},
    claim_far_more_memory_at_equal_parameters: {"connection": "residual", "size": 8},
    claim_few_maps_are_read_often: {"layers": 6},
    claim_the_memory_by_hand_is_what_is_counted: {"growth_rate": 8},
    claim_dense_memory_is_quadratic: {"kind": "recomputed"},
    claim_in_inference_it_is_linear: {"kind": "dense"},
    claim_a_residual_chain_needs_the_same_at_any_depth: {"kind": "inference"},
    claim_half_is_copies_and_half_is_bottleneck: {"connection": "residual"},
    claim_recomputing_changes_no_gradient: {"other_weights": True},
    claim_recomputing_saves_measured_memory: {"kind": "dense"},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
