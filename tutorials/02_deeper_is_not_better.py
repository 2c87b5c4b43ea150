# %% [markdown]
# # 2. Deeper is not better by itself
#
# [← 1. Add or concatenate?](01_add_or_concatenate.ipynb) ·
# [3. Where the gradient goes →](03_where_the_gradient_goes.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# Does a net get better with every layer? And what do the two connections change about that?
#
# After this lesson you can
#
# - tell *degradation* from *overfitting* by looking at one number;
# - show that the better solution exists in the deep net, and that training does not find it;
# - say what addition and concatenation do about it, and what they do not cost in parameters.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). The images are scikit-learn's digits: no network.
#
# Where it says **Predict**, write your answer down before you read on.

# %%
from resdense_keras.experiments import lesson

lesson.begin("tensorflow", "sklearn", threads=1)

import numpy as np

from resdense_keras.experiments import small_nets
from resdense_keras.experiments.deeper_is_not_better import depth

# %% [markdown]
# ## 1. The nets
#
# 1,437 digits of 8x8 pixels. <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> Every net begins with a
# stem: one 3x3 convolution to 16 channels, with stride 2. Then come blocks at 4x4 pixels. The head takes the average
# over the pixels; one fully connected layer, which Keras calls `Dense`, names the class. Only the blocks differ:
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
#     plain           y = F(x)             (N, 4, 4, 16) -> (N, 4, 4, 16)
#     residual        y = relu(F(x) + x)   (N, 4, 4, 16) -> (N, 4, 4, 16)
#     preactivation   y = F(x) + x         (N, 4, 4, 16) -> (N, 4, 4, 16), norm and ReLU first
#     dense           y = [x, F(x)]        (N, 4, 4, C)  -> (N, 4, 4, C + 4)
#
# A residual `F` has two 3x3 convolutions of 16 channels: 2 x (9 x 16 x 16) weights and two [batch
# norms](../docs/glossary.md#batch-norm). A dense `F` has one that makes 4 maps: 9 x C x 4.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> *Depth* counts layers with weights, stem and head too.
#
# > **Predict.** Take the additions out of a residual net. How many parameters does it lose?

# %%
SHALLOW, MIDDLE, DEEP = lesson.pick((8, 20, 44), little=(8, 20, 32))
SEEDS = lesson.pick((0, 1, 2), little=(0,))
RATES = lesson.pick((0.1, 0.03), little=(0.1,))


for name in small_nets.CONNECTIONS:
    sizes = [f"{depth.parameters(name, n):7,}" for n in (SHALLOW, MIDDLE, DEEP)]
    print(f"{name:14}", *sizes, f"  parameters with {SHALLOW}, {MIDDLE}, {DEEP} layers")

# %% [markdown]
# None: an addition has no weights. So the plain net is the fair control: same convolutions, same size, no connection.
# The dense net is larger at the deepest setting; <!-- claim: the_plain_net_is_as_large --> it is compared with itself,
# over depth.
#
# ## 2. More layers, worse fit
#
# SGD with momentum, 6 epochs, a cosine schedule with one epoch of [warm-up](../docs/glossary.md#warm-up); batch norm
# everywhere. <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
# > **Predict.** The shallowest plain net fits nearly all of its *training* images. What does the deepest reach,
# > on the same images: more, as much, less?

# %%
lesson.source(small_nets.RepeatedTraining.run_steps)
steps = small_nets.EPOCHS * (len(small_nets.digits()[0].labels) // small_nets.BATCH)
print(f"{steps} steps a training")
found = {"plain": [depth.accuracies("plain", n) for n in (SHALLOW, MIDDLE)]}
found["plain"].append(depth.accuracies("plain", DEEP, SEEDS, RATES))
for n, grid in zip((SHALLOW, MIDDLE, DEEP), found["plain"], strict=True):
    print(f"plain, {n:2} layers: " + ", ".join(f"{accuracy:.0%}" for accuracy in grid.ravel()))


# %% [markdown]
# Far less, with every [seed](../docs/glossary.md#seed) and with both learning rates (the first numbers are those of the
# first rate), in the same 132 steps. <!-- claim: a_deep_plain_net_does_not_fit --> He et al. call such a gap
# **degradation**; here it is the gap after these few steps, at which the deep net has hardly begun. Part 5 trains ten
# times as long. <!-- claim: ten_times_the_steps_mend_most_of_it -->
#
# > **Predict.** Is that overfitting? What would training and test accuracy look like if it were?


# %%
for n in (SHALLOW, DEEP):
    print(
        f"plain, {n:2} layers: training {depth.run('plain', n).training:.0%}, "
        f"test {depth.run('plain', n).test:.0%}"
    )

# %% [markdown]
# A net that overfits is *good* on its training images and bad on the test's. This one is bad on both. The popular
# sentence "deep nets overfit, so ResNet ..." starts from the wrong number.
#
# ## 3. The solution is there
#
# Perhaps the deep net just cannot represent what the shallow one does?
#
# > **Predict.** Copy the trained shallow net into the deep one and set every further block to the identity by hand.
# > What is the training accuracy?


# %%
shallow, deep = depth.extended(SHALLOW, DEEP)
print(
    f"the trained net of {SHALLOW} layers {shallow:.1%}, extended to {DEEP} layers {deep:.1%}"
)

# %% [markdown]
# The same. A 3x3 kernel with a one in its middle, a batch norm that undoes itself, a
# ReLU that changes nothing because what arrives is not negative: the weights exist, in that very net. Degradation is
# not a lack of capacity. It is a failure to *find* the weights in the steps that there are. (He et al. suspect that the
# identity is hard to find from a random start; nothing here measures that.)
#
# ## 4. Two ways out
#
# With an addition the identity is free: `F = 0`. With a concatenation nothing needs to be carried at all: what was
# found stays.
#
# > **Predict.** How well do the residual and the dense net fit at the deepest setting?

# %%
for name in ("residual", "dense"):
    found[name] = [depth.accuracies(name, n) for n in (SHALLOW, MIDDLE)]
    grid = (SEEDS, RATES) if name == "residual" else ((0,), (0.1,))
    found[name].append(depth.accuracies(name, DEEP, *grid))
    print(
        f"{name}, {DEEP} layers: "
        + ", ".join(f"{accuracy:.0%}" for accuracy in found[name][-1].ravel())
    )


# %%
lesson.show(
    lambda figure: depth.draw_depths(figure, found, (SHALLOW, MIDDLE, DEEP)),
    "02-depths",
    alt=f"Mean training accuracy with {SHALLOW}, {MIDDLE}, {DEEP} layers: "
    + "; ".join(
        f"{name} " + ", ".join(f"{grid[0].mean():.0%}" for grid in grids)
        for name, grids in found.items()
    ),
    size=(6, 5),
)

# %% [markdown]
# Bars are one standard deviation over the seeds, hollow marks the runs at the second learning rate. Every filled mark
# without a bar is a single run.

# %%
lesson.show(
    lambda figure: depth.draw_losses(
        figure,
        {
            (name, n): depth.run(name, n).losses
            for name in ("plain", "residual", "dense")
            for n in (SHALLOW, DEEP)
        },
    ),
    "02-losses",
    alt="Training loss in the last epoch: "
    + ", ".join(
        f"{name} {n} layers {depth.run(name, n).losses[-1]:.2f}"
        for name in ("plain", "residual", "dense")
        for n in (SHALLOW, DEEP)
    ),
    size=(6, 5),
)

# %% [markdown]
# Both connections end the degradation, and which one does not matter here: at this task they are equal. Note also what
# the deep nets did *not* gain: 8 layers are enough for digits.
# <!-- claim: both_connections_mend_it, a_deep_plain_net_does_not_fit -->
#
# ## 5. The whole grid
#
# `RESDENSE_FULL=1` trains every connection at every depth with three seeds and two learning rates; without it, this is
# the stored run, from which docs/difference.md takes its figures.


# %%
def measure_grid():
    return {
        name: {
            str(n): depth.accuracies(name, n, (0, 1, 2), (0.1, 0.03)).tolist()
            for n in (8, 20, 44)
        }
        for name in small_nets.CONNECTIONS
    }


whole = lesson.large("02-depths", measure_grid)
for name, by_depth in whole.items():
    for n, rows in by_depth.items():
        means = ", ".join(f"{np.mean(row):5.1%} ± {np.std(row, ddof=1):5.1%}" for row in rows)
        print(f"{name:14} {n:>2} layers: {means} at learning rate 0.1, 0.03")

# %% [markdown]
# Two longer runs are stored as well: the deep plain net in ten times the steps, and 110 layers with additions, once
# with the ReLU behind the addition (2015) and once with pre-activation (2016). The first learning rate; a number is a
# seed.
#
# > **Predict.** Do ten times the steps bring the plain net to what the shallow one reached? And which of the two orders
# > trains at 110 layers?

# %%
longer = lesson.stored("02-longer")
for name in ("plain 44, long", "residual 110", "preactivation 110"):
    seeds = f"{len(longer[name])} seeds:"
    print(f"{name:18} {seeds:8}", ", ".join(f"{accuracy:.1%}" for accuracy in longer[name]))
print(f"plain {SHALLOW}, in the usual steps: {depth.run('plain', SHALLOW).training:.1%}")


# %% [markdown]
# So here degradation is above all *slowness*: ten times the steps bring the deep plain net far up, most seeds to about
# nine in ten, and none to the shallow one. <!-- claim: ten_times_the_steps_mend_most_of_it -->
# (He et al. suspected that deep plain nets converge exponentially slowly.)
# At 110 layers with the ReLU behind the addition most seeds do not train: they stay below 30 %. With pre-activation all
# fit. <!-- claim: at_110_layers_the_order_matters --> Five seeds show that it can fail, not how often.

# %% [markdown]
# ## What this does not show
#
# > - **Not why.** "Because gradients vanish" is the usual answer; the next lesson measures them.
# > - **Not that plain nets cannot be trained deep.** In ten times the steps most of ours made up for most; He et al.
# >   trained theirs for 64,000 steps and still saw the gap. Xiao et al. (arXiv:1806.05393) train plain nets of 10,000
# >   layers, from orthogonal first weights.
# > - **Not that residual nets always train.** Ours at 110 layers did not with most seeds, though warmed up
# >   (exercise 4). <!-- claim: at_110_layers_the_order_matters -->
# > - **Not which connection is better**: digits are easy, the nets are narrow, and all connected ones fit them.
#
# ## In your own words
#
# Explain to a friend in three sentences what degradation is, why it is not overfitting, and what mends it. Then
# compare:
#
# <details><summary>One answer</summary>
# Deep plain nets fit even their training images worse than shallow ones in the same time. That is not overfitting, and
# the weights that would do better exist: the shallow net followed by blocks that change nothing. Where a block need not
# carry what came in, because it is added or appended, depth did no harm here, up to 44 layers.
# <!-- claim: a_deep_plain_net_does_not_fit, the_deep_net_could, both_connections_mend_it -->
# </details>
#
# **Change this number, predict, run.** Set `DEEP` to 32. Does the plain net lie nearer to 20 or to 44 layers?
#
# ## Exercises
#
# **1. Build the identity.** The kernel from part 3.


# %%
def identity_kernel(channels):
    """(3, 3, channels, channels): a convolution with it hands on its input."""
    return None  # your code


depth.check_identity_kernel(identity_kernel)

# %% [markdown]
# **2. Count.** Convolutions without bias, two trained numbers a channel for each batch norm (one behind every
# convolution), a head of 10 outputs with bias.


# %%
def plain_parameters(depth, width):
    return None  # your code


depth.check_plain_parameters(plain_parameters)

# %% [markdown]
# **3. Degradation or overfitting?** Write the rule for a deep net against a shallow one.


# %%
def verdict(shallow_training, deep_training, shallow_test, deep_test):
    """ "degradation", "overfitting" or "neither"."""
    return None  # your code


depth.check_verdict(verdict)

# %% [markdown]
# **4. Schedule a warm-up.** A rate that rises linearly to its peak and then falls as a
# cosine to 0.


# %%
def learning_rates(peak, warm_up, total):
    """A list of `total` rates: linear to `peak` at step `warm_up`, then half a cosine to 0."""
    return None  # your code


depth.check_learning_rates(learning_rates)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def identity_kernel(channels):
#     kernel = np.zeros((3, 3, channels, channels))
#     kernel[1, 1] = np.eye(channels)
#     return kernel
#
#
# def plain_parameters(layers, width):
#     convolutions = 9 * width + (layers - 2) * 9 * width**2
#     return convolutions + (layers - 1) * 2 * width + 10 * width + 10
#
#
# def verdict(shallow_training, deep_training, shallow_test, deep_test):
#     if deep_training < shallow_training:
#         return "degradation"
#     return "overfitting" if deep_test < shallow_test else "neither"
#
#
# def learning_rates(peak, warm_up, total):
#     rising = [peak * step / warm_up for step in range(1, warm_up + 1)]
#     rest = total - warm_up
#     return rising + [peak * (1 + np.cos(np.pi * step / rest)) / 2 for step in range(1, rest + 1)]
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Figure 1 is degradation,
#   figure 6 the same over depth, section 3.1 the argument with the identity, section 4.2 the warm-up.
# - He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, arXiv:1603.05027. Figure 4: pre-activation.
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 1.
# - Xiao et al.: *Dynamical Isometry and a Mean Field Theory of CNNs*, arXiv:1806.05393: plain nets of 10,000 layers.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_the_plain_net_is_as_large(other="residual"):
    plain, others = depth.parameters("plain", DEEP), depth.parameters(other, DEEP)
    assert plain == others, f"{plain:,} parameters without, {others:,} with connections"


def claim_a_deep_plain_net_does_not_fit(connection="plain", seeds=(0,), rates=(0.1,)):
    shallow = depth.run(connection, SHALLOW).training
    deep = depth.accuracies(connection, DEEP, seeds, rates)
    assert deep.max() < shallow - 0.3, (
        f"the deep net fits {deep.max():.0%}, the shallow {shallow:.0%}"
    )


def claim_it_is_not_overfitting(connection="plain"):
    gap = {
        n: depth.run(connection, n).training - depth.run(connection, n).test
        for n in (SHALLOW, DEEP)
    }
    lost = depth.run(connection, SHALLOW).training - depth.run(connection, DEEP).training
    assert lost > gap[DEEP] + 0.1, (
        f"training fell by {lost:.2f}, the gap to the test is {gap[DEEP]:.2f}"
    )


def claim_the_deep_net_could(identity=True):
    shallow, deep = depth.extended(SHALLOW, DEEP, identity=identity)
    assert abs(shallow - deep) < 0.002, f"shallow {shallow:.1%}, deep {deep:.1%}"  # 2 images


def claim_both_connections_mend_it(connections=("residual", "dense"), seeds=(0,), rates=(0.1,)):
    for connection in connections:
        worst = depth.accuracies(connection, DEEP, seeds, rates).min()
        assert worst > 0.95, f"{connection} fits {worst:.0%}"
        stored = lesson.stored("02-depths", quiet=True)
        assert np.min(stored[connection]["44"]) > 0.9 > 0.6 > np.max(stored["plain"]["44"])


def claim_ten_times_the_steps_mend_most_of_it(kind="plain 44, long"):
    found = lesson.stored("02-longer", quiet=True)[kind]
    shallow = depth.run("plain", SHALLOW).training  # in a tenth of the steps
    usual = np.max(lesson.stored("02-depths", quiet=True)["plain"]["44"])
    assert np.median(found) > 0.85 and min(found) > usual + 0.2, f"{kind}: {min(found):.1%}"
    assert max(found) < shallow - 0.02, f"{kind}: {max(found):.1%}, shallow {shallow:.1%}"


def claim_at_110_layers_the_order_matters(better="preactivation 110", worse="residual 110"):
    runs = lesson.stored("02-longer", quiet=True)
    assert min(runs[better]) > 0.99, f"{better}: {min(runs[better]):.1%}"
    failed = [accuracy for accuracy in runs[worse] if accuracy < 0.3]
    assert len(failed) > len(runs[worse]) / 2, f"{worse}: {len(failed)} do not train"


claim_a_deep_plain_net_does_not_fit(seeds=SEEDS, rates=RATES)
claim_both_connections_mend_it(("residual",), SEEDS, RATES)

BREAK = {
    claim_the_plain_net_is_as_large: {"other": "dense"},
    claim_a_deep_plain_net_does_not_fit: {"connection": "residual"},
    claim_it_is_not_overfitting: {"connection": "residual"},
    claim_the_deep_net_could: {"identity": False},
    claim_both_connections_mend_it: {"connections": ("plain",)},
    claim_ten_times_the_steps_mend_most_of_it: {"kind": "preactivation 110"},
    claim_at_110_layers_the_order_matters: {"worse": "preactivation 110"},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
