# %% [markdown]
# # 3. Where the gradient goes
#
# [← 2. Deeper is not better by itself](02_deeper_is_not_better.ipynb) ·
# [4. Pull a layer out →](04_pull_a_layer_out.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# "Deep nets do not train because their gradients vanish, and ResNet's shortcut cures it." Measure it.
#
# After this lesson you can
#
# - say for which fresh nets the gradient vanishes, for which it explodes, and what the makers of ResNet reported;
# - explain why "vanishing" is the wrong word for degradation;
# - show what *does* separate the connections: how fast gradients lose their memory (they *shatter*), and look for what
#   a textbook's replication lacked.
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
from resdense_keras.experiments.where_the_gradient_goes import gradients

# %% [markdown]
# ## 1. Backwards through the blocks
#
#     plain      y = F(x)         dL/dx = dL/dy F'(x)
#     residual   y = x + F(x)     dL/dx = dL/dy (1 + F'(x))
#     dense      y = [x , F(x)]   dL/dx = (dL/dy, first C channels) + (dL/dy, last k) F'(x)
#
# The nets are those of lesson 2: 16 channels at 4x4 pixels, (N, 4, 4, 16), a residual block of 2 x (9 x 16 x 16)
# weights, a dense layer of 9 x C x 4. [He's initialisation](../docs/glossary.md#he-initialisation), 64 digits.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> We take the loss's gradient in the *maps* that each
# convolution makes, (64, 4, 4, 16) numbers, and of those the root mean square ([RMS](../docs/glossary.md#rms)): their
# typical size. <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
# > **Predict.** A plain net with [batch norm](../docs/glossary.md#batch-norm), freshly initialised, the deepest of
# > these. How does the gradient at the first convolution compare with the last: far smaller, similar, far larger?

# %%
DEPTHS = lesson.pick((10, 30, 60), little=(10, 60))
SEEDS = lesson.pick((0, 1, 2), little=(0, 1))
SHALLOW, DEEP = DEPTHS[0], DEPTHS[-1]
NAMES = ("plain", "residual", "dense")


lesson.source(gradients.by_layer)
print(
    "gradient at the first convolution over that at the last, with batch norm, mean over seeds"
)
for name in NAMES:
    means = [np.exp(np.log(gradients.ratios(name, n, seeds=SEEDS)).mean()) for n in DEPTHS]
    print(
        f"{name:10}",
        ", ".join(f"{n} layers {mean:.3g}" for n, mean in zip(DEPTHS, means, strict=True)),
    )

# %% [markdown]
# Larger, by orders of magnitude: it **explodes** towards the input.
# <!-- claim: with_batch_norm_the_plain_gradient_explodes --> Batch norm fixes the
# size of what goes forward, and the price is a factor above 1 a layer backwards (Yang et al. 2019). With either
# connection the factor is nearly gone.
#
# The nets of 2015 that degraded had batch norm, and their makers looked: the difficulty is "unlikely to be caused by
# vanishing gradients", and with batch norm the gradients "exhibit healthy norms" (He et al. 2015, section 4.1). Our
# fresh, narrow nets explode; theirs were healthy. Neither vanishes.
#
# > **Predict.** Now without batch norm. Which of plain, residual and dense vanish, which explode?


# %%
def growth_a_block(connection):
    """Factor by which the square of the gradient grows in a block of two layers."""
    few, many = (gradients.ratios(connection, n, batch_norm=False)[0] for n in (SHALLOW, DEEP))
    return (many / few) ** (2 * 2 / (DEEP - SHALLOW))


print("without batch norm      gradient, first over last                loss (nats)")
for name in NAMES:
    runs = [gradients.by_layer(name, n, batch_norm=False) for n in DEPTHS]
    print(f"{name:10} {', '.join(f'{n}' for n in DEPTHS)} layers:", end="  ")
    print(
        ", ".join(f"{sizes[0] / sizes[-1]:.2g}" for sizes, _ in runs),
        "    ",
        ", ".join(f"{loss:.3g}" for _, loss in runs),
    )
a_block = growth_a_block("residual")
print(f"residual: the gradient's square grows {a_block:.2f} times a block")

# %% [markdown]
# *Here* is the vanishing gradient: a plain net **without** batch norm. A residual net without batch norm explodes: its
# blocks add up what they make, and the sum grows by the same factor in every block, here about 1.7 for the square of
# the gradient. <!-- claim: without_it_the_plain_gradient_vanishes, without_it_sums_explode --> A concatenation adds
# nothing up, and the dense net stays level with and without.
#
# But why does it vanish, when He's initialisation was made to prevent that?
# Look at the border. A 3x3 kernel at the edge of a 4x4 map meets padding: zeros.
#
# > **Predict.** The same net on 32x32 maps, each pixel of the digit repeated. Does the gradient still vanish?

# %%
SIZES = {4: 8, 32: 64}  # the maps' side: the images'
for side, size in SIZES.items():
    kept = gradients.kept_at_the_border(side)
    ratio = gradients.ratios("plain", DEEP, batch_norm=False, size=size)[0]
    print(
        f"{side}x{side} maps: {1 - kept:.0%} of the taps meet zeros; "
        f"first over last {ratio:.2g} after {DEEP} layers"
    )


# %% [markdown]
# It does not. On 4x4 maps 31 % of the taps are lost in every layer; on large maps hardly any.
# <!-- claim: the_border_makes_it_vanish --> What vanished was an **artefact of tiny maps**. With He's initialisation
# and maps of 32x32 pixels, a plain net's gradient is level even without batch norm. (One seed.)

# %%
sizes = {
    f"with batch norm, {DEEP} layers": {
        name: [gradients.by_layer(name, DEEP, seed=seed)[0] for seed in SEEDS] for name in NAMES
    },
    "without batch norm": {
        name: [gradients.by_layer(name, DEEP, seed=seed, batch_norm=False)[0] for seed in SEEDS]
        for name in NAMES
    },
}
lesson.show(
    lambda figure: gradients.draw_sizes(figure, sizes),
    "03-sizes",
    alt=f"First over last of {DEEP} layers, with batch norm and without: "
    + ", ".join(
        f"{name} {gradients.ratios(name, DEEP)[0]:.3g} and "
        f"{gradients.ratios(name, DEEP, batch_norm=False)[0]:.3g}"
        for name in NAMES
    ),
    size=(6, 8),
)

# %% [markdown]
# Lines are means over [seeds](../docs/glossary.md#seed), bands their range.
#
# ## 2. Ten steps later
#
# > **Predict.** Ten steps of gradient descent. Is the plain net's explosion still there?


# %%
for name in NAMES:
    start, later = (gradients.ratios(name, DEEP, steps=steps)[0] for steps in (0, 10))
    print(f"{name:10} first over last: {start:8.3g} at the start, {later:8.3g} after ten steps")

# %% [markdown]
# Most of it is gone: it falls about a hundredfold, to more than twice what is left with additions.
# <!-- claim: ten_steps_end_the_explosion --> Yet lesson 2's deep plain net is far behind when its training ends. Size
# does not settle what degradation is. (One seed and one rate; the first steps may have done harm that a later size does
# not show.)
#
# ## 3. What the gradient remembers
#
# A step helps if the gradient a little further on still points the same way. Balduzzi et al. looked at the simplest
# case: a fresh net of *one* number x, its slope dy/dx along x, and the correlation of two slopes at a distance.
#
# These nets differ from part 1's: fully connected, 100 units wide, one layer a block.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> Their batch norms subtract the mean over the points
# (*centre*) and divide by the RMS of what is left (*scale*).
#
# > **Predict.** Two plain layers, 24 plain, 24 with additions, 24 with concatenations. Match: which slope is (a) a
# > few flat steps, (b) white noise, (c) and (d) something between?

# %%
LAYERS = 24
SLOPES = {
    "plain, 2 layers": ("plain", 2),
    f"plain, {LAYERS} layers": ("plain", LAYERS),
    f"residual, {LAYERS} layers": ("residual", LAYERS),
    f"dense, {LAYERS} layers": ("dense", LAYERS),
}
lesson.show(
    lambda figure: gradients.draw_slopes(figure, SLOPES),
    "03-slopes",
    alt="Largest slope along the input: "
    + ", ".join(
        f"{title} {np.abs(gradients.along_a_line(*net)).max():.2g}"
        for title, net in SLOPES.items()
    )
    + ". Plain deep is noise, the others change more slowly",
    size=(6, 9),
)

# %%
LAGS = (1, 2, 4, 8, 16, 32)
LINE_SEEDS = range(5)


for name, n in (("plain", 2), *((name, LAYERS) for name in NAMES)):
    found = gradients.correlations(name, n, [2], seeds=LINE_SEEDS)
    print(
        f"{name:9} {n:2} layers: correlation {found.mean():.2f} ± {found.std(ddof=1):.2f} "
        "at a distance of 2 points"
    )

# %% [markdown]
# Deep and plain: white noise. Two inputs three hundredths apart have slopes that know nothing of each other. The
# gradient has exploded *and* is of no use a step further on. That is **shattering**. Additions keep half of the memory
# at this distance, concatenations three quarters. <!-- claim: connections_keep_some_memory -->
#
# ## 4. A textbook asks
#
# Notebook 11.1 of Prince's *Understanding Deep Learning* repeats the experiment, finds no shattering and asks the
# reader: "Can you help me find why I have failed to replicate this result?" Its nets have 24 layers of 200 ReLUs,
# weights and biases with Glorot's variance (half of He's), and no norm at all.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
# > **Predict.** Which of these make its slopes shatter: (a) dividing each unit by its RMS, (b) subtracting each unit's
# > mean, (c) dividing by the deviation around a mean that stays, (d) He's variance?

# %%
BOOK = {
    "none": "as in the book",
    "deviation": "over deviation",
    "scaled": "over RMS",
    "centred": "centred",
    "both": "both",
}
book = {
    norm: gradients.textbook_correlations(norm, LAGS, seeds=LINE_SEEDS)
    for norm in gradients.NORMS
}
for norm, found in book.items():
    count = gradients.pieces(gradients.textbook_line(norm)[1])
    at_2 = found[:, LAGS.index(2)]
    print(
        f"{BOOK[norm]:15} correlation {at_2.mean():5.2f} ± {at_2.std(ddof=1):.2f} "
        f"at a distance of 2 points, {count} pieces"
    )
he = gradients.textbook_correlations("none", [2], seeds=LINE_SEEDS, variance=2)
print(f"no norm, He's variance: correlation {he.mean():5.2f} ± {he.std(ddof=1):.2f}")


# %%
ours = {
    f"{name}, {n} layers": (
        gradients.correlations(name, n, LAGS, seeds=LINE_SEEDS),
        small_nets.LOOKS[name] | {"linewidth": 2.5 if n == LAYERS else 1},
    )
    for name, n in (("plain", 2), *((name, LAYERS) for name in NAMES))
}
deviation = {"color": "black", "marker": "x", "linestyle": (0, (5, 1))}
looks = [*small_nets.LOOKS.values()]
kinds = zip(book.items(), [looks[0], deviation, *looks[1:]], strict=True)
theirs = {BOOK[norm]: (found, look) for (norm, found), look in kinds}
lesson.show(
    lambda figure: gradients.draw_correlations(
        figure, {"our nets, centred and scaled": ours, "the book's nets": theirs}, LAGS
    ),
    "03-shattered",
    alt="Correlation at a distance of 2 points: "
    + ", ".join(
        f"{label} {found[:, LAGS.index(2)].mean():.2f}"
        for label, (found, _) in (ours | theirs).items()
    ),
    size=(6, 8),
)

# %% [markdown]
# (a) and (b), each without the other. Dividing by the deviation around a mean that stays is not enough, nor is He's
# variance.
# <!-- claim: scaling_or_centring_alone_shatters_them, neither_the_deviation_nor_hes_variance_shatters_them -->
# Without a norm the book's nets have some 200 straight pieces, and yet neighbouring slopes agree.
# <!-- claim: the_books_nets_do_not_shatter --> Either step is what they lack.
#
# In part 3's nets it is centring that matters, for another reason: they have no biases. Without biases and without
# centring every unit is on for x > 0 or for x < 0, whatever its depth, so the whole net is two straight pieces with its
# only kink at 0. <!-- claim: without_bias_and_centring_there_is_one_kink -->

# %%
for name in NAMES:
    count = gradients.pieces(gradients.along_a_line(name, LAYERS, centred=False))
    print(f"{name:9} without centring: {count} straight pieces")


# %% [markdown]
# ## 5. Batch norm, or the shortcut?
#
# Part 1's residual net without batch norm exploded, because its sums grow with every block. De and Smith (2020) say
# what batch norm does about it: it makes the branch small against the shortcut, so that a fresh deep net is nearly the
# identity. If that is all, one may start the branch at zero and leave batch norm out, here by its last convolution, as
# in Fixup (Zhang et al. 2019).
#
# > **Predict.** 44 layers with additions and without any batch norm, the last convolution of each branch at zero. Does
# > it fit its training images: (a) not at all, like the net with He's weights; (b) most of them; (c) all?

# %%
lesson.source(depth.zero_branches)
NORM_FREE = lesson.pick(44, little=20)


for zero in (False, True):
    found = depth.without_norm(NORM_FREE, zero=zero, learning_rate=0.01)
    start = "branches at zero" if zero else "He's weights"
    print(f"{NORM_FREE} layers, no batch norm, {start:16} fit {found:.0%} of the images")

# %% [markdown]
# (b). With the same additions and the same learning rate He's weights stay at guessing, and zeros fit most images.
# <!-- claim: a_branch_that_starts_at_zero_trains_without_batch_norm -->
# So a deep residual net is helped at its start by a branch that is small against the shortcut; batch norm is one way to
# get it. (It does more: with it the net of lesson 2 fits nearly all images. <!-- claim: both_connections_mend_it -->
# One seed, one rate.)
#
# ## 6. The large run


# %%
def measure_ratios():
    return {
        name: {
            str(n): gradients.ratios(name, n, seeds=range(5)).tolist()
            for n in (10, 30, 60, 100)
        }
        for name in NAMES
    }


for name, by_depth in lesson.large("03-gradients", measure_ratios).items():
    for n, found in by_depth.items():
        print(f"{name:10} {n:>3} layers: first over last {min(found):.3g} to {max(found):.3g}")

# %% [markdown]
# ## What this does not show
#
# > - **Not the cause of degradation.** Shattering goes along with it and is measured at the start, on fresh nets; that
# >   it *causes* the failure is Balduzzi's argument, not this measurement.
# > - **Not that shortcuts carry the gradient for free.** Where a shortcut passes a ReLU or a projection, the first term
# >   of `1 + F'` is something else.
# > - **One number in, one out** is not an image; the correlation of gradients over images is harder to see.
# > - **Vanishing is real elsewhere**: with saturating activations, small first weights, in recurrent nets.
#
# ## In your own words
#
# Explain to a friend in three sentences whether vanishing gradients are why ResNets exist. Then compare:
#
# <details><summary>One answer</summary>
# No: with batch norm a fresh plain net's gradient explodes here and was healthy in the makers' nets, and ten steps
# later most of the explosion is gone. <!-- claim: with_batch_norm_the_plain_gradient_explodes,
# ten_steps_end_the_explosion --> What deep plain nets lose is that neighbouring inputs have similar gradients: they
# shatter. Additions and concatenations keep part of that.
# </details>
#
# **Change this number, predict, run.** Set `LAYERS` to 8. Does the plain net's correlation lie nearer to that of 2 or
# of 24 layers?
#
# ## Exercises
#
# **1. Correlate.** Subtract the mean; then the mean of the products `lag` apart, over the mean of the squares.


# %%
def autocorrelation(series, lag):
    return None  # your code


gradients.check_autocorrelation(autocorrelation)

# %% [markdown]
# **2. Count the kinks.** How often does the slope change along the line, by more than 0.000001?


# %%
def kinks(slopes):
    return None  # your code


gradients.check_kinks(kinks)

# %% [markdown]
# **3. Name it.** Beyond a factor of 100 between the gradient at the first layer and at the last it is vanishing or
# exploding.


# %%
def word(first, last):
    """ "vanishing", "exploding" or "level"."""
    return None  # your code


gradients.check_word(word)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def autocorrelation(series, lag):
#     centred = series - np.mean(series)
#     return np.mean(centred[:-lag] * centred[lag:]) / np.mean(centred**2)
#
#
# def kinks(slopes):
#     return int(np.sum(np.abs(np.diff(slopes)) > 1e-6))
#
#
# def word(first, last):
#     return "vanishing" if first < last / 100 else "exploding" if first > 100 * last else "level"
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385, section 4.1 and figure 4.
# - Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz: *A Mean Field Theory of Batch Normalization*, arXiv:1902.08129.
#   Figure 1: with batch norm gradients grow with depth.
# - Balduzzi, Frean, Leary, Lewis, Ma, McWilliams: *The Shattered Gradients Problem*, arXiv:1702.08591. Figure 1 is
#   part 3.
# - De, Smith: *Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks*,
#   arXiv:2002.10444.
# - Zhang, Dauphin, Ma: *Fixup Initialization: Residual Learning Without Normalization*, arXiv:1901.09321.
# - Prince: *Understanding Deep Learning*, MIT Press 2023, notebook 11.1 (github.com/udlbook/udlbook): the replication
#   without normalisation, and the question.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_with_batch_norm_the_plain_gradient_explodes(connection="plain", seeds=(0,)):
    ratios = gradients.ratios(connection, DEEP, seeds=seeds)
    assert ratios.min() > 30, (
        f"{connection}: the first layer's is {ratios.min():.1f} times the last's"
    )


def claim_connections_keep_it_level(connections=("residual", "dense"), seeds=(0,)):
    for connection in connections:
        ratios = gradients.ratios(connection, DEEP, seeds=seeds)
        assert ratios.max() < 30, (
            f"{connection}: the first layer's is {ratios.max():.1f} times the last's"
        )


def claim_without_it_the_plain_gradient_vanishes(batch_norm=False, size=8):
    ratio = gradients.ratios("plain", DEEP, batch_norm=batch_norm, size=size)[0]
    assert ratio < 1 / 100, f"first over last: {ratio:.2g}"


def claim_without_it_sums_explode(connection="residual"):
    sizes, loss = gradients.by_layer(connection, DEEP, batch_norm=False)
    _, shallow = gradients.by_layer(connection, SHALLOW, batch_norm=False)
    assert sizes[0] > 100 * sizes[-1], f"first over last: {sizes[0] / sizes[-1]:.3g}"
    assert loss > 10 * shallow, f"the loss is {shallow:.3g} shallow, {loss:.3g} deep"
    a_block = growth_a_block(connection)
    assert 1.5 < a_block < 1.9, f"the gradient's square grows {a_block:.2f} times a block"


def claim_the_border_makes_it_vanish(size=64):
    ratio = gradients.ratios("plain", DEEP, batch_norm=False, size=size)[0]
    assert 1 / 100 < ratio < 100, f"first over last: {ratio:.2g}"
    assert round(1 - gradients.kept_at_the_border(4), 2) == 0.31


def claim_ten_steps_end_the_explosion(connection="plain"):
    start, later = (gradients.ratios(connection, DEEP, steps=steps)[0] for steps in (0, 10))
    assert later < start / 50, (
        f"first over last: {start:.3g} at the start, {later:.3g} after ten steps"
    )
    connected = gradients.ratios("residual", DEEP, steps=10)[0]
    assert later > 2 * connected, f"{later:.3g}, with additions {connected:.3g}"


def claim_the_plain_gradient_shatters(centred=True, seeds=range(5)):
    shallow, deep = (
        gradients.correlations("plain", n, [2], seeds=seeds, centred=centred).mean()
        for n in (2, LAYERS)
    )
    assert shallow > 0.8 and deep < 0.3, (
        f"correlation {shallow:.2f} with 2 layers, {deep:.2f} with {LAYERS}"
    )


def claim_connections_keep_some_memory(connections=("residual", "dense"), seeds=range(5)):
    for connection in connections:
        found = gradients.correlations(connection, LAYERS, [2], seeds=seeds).mean()
        assert found > 0.4, f"{connection}: correlation {found:.2f}"
    assert round(2 * 4 / 255, 2) == 0.03  # 256 points from -2 to 2
    means = [gradients.correlations(n, LAYERS, [2], seeds=LINE_SEEDS).mean() for n in NAMES[1:]]
    assert np.allclose(means, (0.5, 0.75), atol=0.1), means


def claim_the_books_nets_do_not_shatter(norm="none"):
    found = gradients.textbook_correlations(norm, [2], seeds=LINE_SEEDS).mean()
    assert found > 0.8, f"{norm}: correlation {found:.2f}"


def claim_scaling_or_centring_alone_shatters_them(norms=("scaled", "centred", "both")):
    for norm in norms:
        found = gradients.textbook_correlations(norm, [2], seeds=LINE_SEEDS).mean()
        assert found < 0.3, f"{norm}: correlation {found:.2f}"


def claim_neither_the_deviation_nor_hes_variance_shatters_them(norm="deviation"):
    for chosen, variance in ((norm, 1), ("none", 2)):
        found = gradients.textbook_correlations(
            chosen, [2], seeds=LINE_SEEDS, variance=variance
        ).mean()
        assert found > 0.6, f"{chosen}, variance {variance}: correlation {found:.2f}"


def claim_without_bias_and_centring_there_is_one_kink(centred=False):
    for name in NAMES:
        count = gradients.pieces(gradients.along_a_line(name, LAYERS, centred=centred))
        assert count == 2, f"{name}: {count} straight pieces"


def claim_a_branch_that_starts_at_zero_trains_without_batch_norm(zero=True):
    found = depth.without_norm(NORM_FREE, zero=zero, learning_rate=0.01)
    assert found > 0.7, f"it fits {found:.0%} of its training images"


claim_with_batch_norm_the_plain_gradient_explodes(seeds=SEEDS)
claim_connections_keep_it_level(seeds=SEEDS)

BREAK = {
    claim_with_batch_norm_the_plain_gradient_explodes: {"connection": "residual"},
    claim_connections_keep_it_level: {"connections": ("plain",)},
    claim_without_it_the_plain_gradient_vanishes: {"batch_norm": True},
    claim_without_it_sums_explode: {"connection": "dense"},
    claim_the_border_makes_it_vanish: {"size": 8},
    claim_ten_steps_end_the_explosion: {"connection": "residual"},
    claim_the_plain_gradient_shatters: {"centred": False, "seeds": (0,)},
    claim_connections_keep_some_memory: {"connections": ("plain",), "seeds": (0,)},
    claim_the_books_nets_do_not_shatter: {"norm": "centred"},
    claim_scaling_or_centring_alone_shatters_them: {"norms": ("none",)},
    claim_neither_the_deviation_nor_hes_variance_shatters_them: {"norm": "scaled"},
    claim_without_bias_and_centring_there_is_one_kink: {"centred": True},
    claim_a_branch_that_starts_at_zero_trains_without_batch_norm: {"zero": False},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
