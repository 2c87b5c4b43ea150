# %% [markdown]
# # 3. Where the gradient goes
#
# "Deep nets do not train because their gradients vanish, and ResNet's shortcut cures it." Measure it.
#
# After this lesson you can
#
# - say for which nets the gradient vanishes, for which it explodes, and that the nets ResNet was made for did the
#   second;
# - explain why "vanishing" is the wrong word for degradation;
# - show what *does* separate the connections: how fast gradients lose their memory (they *shatter*), and why a
#   replication without mean-centring cannot see it.
#
# **Time:** at most 3 minutes on 2 CPU cores; the last cell prints what this run took.
# **Needs:** this package (`python -m pip install .` in its folder). The images are scikit-learn's digits: no network.
#
# Where it says **Predict**, write your answer down before you read on.

# %%
from resdense_keras.experiments import lesson

lesson.begin("tensorflow", "sklearn", threads=1)

import numpy as np

from resdense_keras.experiments import gradients

# %% [markdown]
# ## 1. Backwards through the blocks
#
#     plain      y = F(x)         dL/dx = dL/dy F'(x)
#     residual   y = x + F(x)     dL/dx = dL/dy (1 + F'(x))
#     dense      y = [x , F(x)]   dL/dx = (dL/dy, first C channels) + (dL/dy, last k) F'(x)
#
# The nets are those of lesson 2: 16 channels at 4x4 pixels, (N, 4, 4, 16), a residual block of 2 x (9 x 16 x 16)
# weights, a dense layer of 9 x C x 4. He's initialisation, 64 digits. We take the root mean square (RMS) of the
# loss's gradient in each convolution.
#
# > **Predict.** A plain net with batch norm, freshly initialised, the deepest of these. How does the gradient in the
# > first convolution compare with the last: far smaller, similar, far larger?

# %%
DEPTHS = lesson.pick((10, 30, 60), little=(10, 60))
SEEDS = lesson.pick((0, 1, 2), little=(0, 1))
SHALLOW, DEEP = DEPTHS[0], DEPTHS[-1]
NAMES = ("plain", "residual", "dense")


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


claim_with_batch_norm_the_plain_gradient_explodes(seeds=SEEDS)
claim_connections_keep_it_level(seeds=SEEDS)
print("gradient of the first convolution over the last's, with batch norm, mean over seeds")
for name in NAMES:
    means = [np.exp(np.log(gradients.ratios(name, n, seeds=SEEDS)).mean()) for n in DEPTHS]
    print(
        f"{name:10}",
        ", ".join(f"{n} layers {mean:.3g}" for n, mean in zip(DEPTHS, means, strict=True)),
    )

# %% [markdown]
# Larger, by orders of magnitude: it **explodes** towards the input. Batch norm fixes the size of what goes forward,
# and the price is a factor above 1 a layer backwards (Yang et al. 2019). With either connection the factor is nearly
# gone.
#
# The nets of 2015 that degraded had batch norm. He et al. say so themselves: "this optimization difficulty is
# unlikely to be caused by vanishing gradients" (section 4.1).
#
# > **Predict.** Now without batch norm. Which of plain, residual and dense vanish, which explode?


# %%
def claim_without_it_the_plain_gradient_vanishes(batch_norm=False):
    shallow, deep = (
        gradients.by_layer("plain", n, batch_norm=batch_norm)[0][0] for n in (SHALLOW, DEEP)
    )
    assert deep < shallow / 10, (
        f"the first layer's gradient is {shallow:.2g} shallow, {deep:.2g} deep"
    )


def claim_without_it_sums_explode_forward(connection="residual"):
    shallow, deep = (
        gradients.by_layer(connection, n, batch_norm=False)[1] for n in (SHALLOW, DEEP)
    )
    assert deep > 10 * shallow, f"the loss is {shallow:.3g} shallow, {deep:.3g} deep"


claim_without_it_the_plain_gradient_vanishes()
claim_without_it_sums_explode_forward()
print("without batch norm      gradient of the first convolution        loss (nats)")
for name in NAMES:
    runs = [gradients.by_layer(name, n, batch_norm=False) for n in DEPTHS]
    print(f"{name:10} {', '.join(f'{n}' for n in DEPTHS)} layers:", end="  ")
    print(
        ", ".join(f"{sizes[0]:.2g}" for sizes, _ in runs),
        "    ",
        ", ".join(f"{loss:.3g}" for _, loss in runs),
    )

# %% [markdown]
# *Here* is the vanishing gradient: a plain net **without** batch norm. Zeros at the border eat a little of the
# signal in each layer, forward and backward. A residual net without batch norm does the opposite: each block adds as
# much variance as it was given, the sum doubles, and the loss is lost before the first step. A
# concatenation adds nothing up, so the dense net stays calm with and without.

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
    alt="Gradient by layer: with batch norm plain rises to the input, else near 0",
    size=(9, 4),
)

# %% [markdown]
# Lines are means over seeds, bands their range.
#
# ## 2. Ten steps later
#
# > **Predict.** Ten steps of gradient descent. Is the plain net's explosion still there?


# %%
def claim_ten_steps_end_the_explosion(connection="plain"):
    start, later = (gradients.ratios(connection, DEEP, steps=steps)[0] for steps in (0, 10))
    assert later < start / 2, (
        f"first over last: {start:.3g} at the start, {later:.3g} after ten steps"
    )


claim_ten_steps_end_the_explosion()
for name in NAMES:
    start, later = (gradients.ratios(name, DEEP, steps=steps)[0] for steps in (0, 10))
    print(f"{name:10} first over last: {start:8.3g} at the start, {later:8.3g} after ten steps")

# %% [markdown]
# Most of it is gone: large gradients make large steps, the weights grow, and behind a batch norm larger weights have
# smaller gradients. So the *size* repairs itself, and yet lesson 2's deep plain net stays stuck for good. Neither
# vanishing nor exploding explains degradation.
#
# ## 3. What the gradient remembers
#
# A step helps if the gradient a little further on still points the same way. Balduzzi et al. looked at the simplest
# case: a fresh net of *one* number x, its slope dy/dx along x, and the correlation of two slopes at a distance.
#
# > **Predict.** Two layers, 24 layers, 24 with additions, 24 with concatenations: draw the slope from x = -2 to 2.

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
    alt="Slope along the input: calm for 2 plain layers, noise for 24, the others in between",
    size=(11, 3),
)

# %%
LAGS = (1, 2, 4, 8, 16, 32)
LINE_SEEDS = range(5)


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


claim_the_plain_gradient_shatters()
claim_connections_keep_some_memory()
for name, n in (("plain", 2), *((name, LAYERS) for name in NAMES)):
    found = gradients.correlations(name, n, [2], seeds=LINE_SEEDS)
    print(
        f"{name:9} {n:2} layers: correlation {found.mean():.2f} ± {found.std(ddof=1):.2f} "
        "at a distance of 2 points"
    )
assert round(2 * 4 / 255, 2) == 0.03  # 256 points from -2 to 2
halves = [gradients.correlations(n, LAYERS, [2], seeds=LINE_SEEDS).mean() for n in NAMES[1:]]
assert np.allclose(halves, (0.5, 0.75), atol=0.1), halves

# %% [markdown]
# Deep and plain: white noise. Two inputs three hundredths apart have slopes that know nothing of each other: the
# gradient is there, of a good size, and useless a step further on. That is **shattering**. Additions keep half of
# the memory at this distance, concatenations three quarters.
#
# > **Predict.** A well-known textbook's notebook tries to repeat this and leaves it open. Leave
# > the mean-centring out, keep everything else. What happens to the correlation at 24 layers?

# %%
panels = {}
for title, centred in (("with mean-centring", True), ("without", False)):
    panels[title] = {
        (name, n): gradients.correlations(name, n, LAGS, seeds=LINE_SEEDS, centred=centred)
        for name, n in (("plain", 2), *((name, LAYERS) for name in NAMES))
    }
lesson.show(
    lambda figure: gradients.draw_correlations(figure, panels, LAGS),
    "03-shattered",
    alt="Correlation over distance: plain drops at once; without centring all are one",
    size=(9, 4),
)
SLOPE_KINDS = {name: gradients.along_a_line(name, LAYERS, centred=False) for name in NAMES}


def claim_without_centring_there_is_one_kink(centred=False):
    for name in NAMES:
        slopes = gradients.along_a_line(name, LAYERS, centred=centred)
        pieces = 1 + int(np.sum(np.abs(np.diff(slopes)) > 1e-3 * np.abs(slopes).max()))
        assert pieces == 2, f"{name}: {pieces} straight pieces"


claim_without_centring_there_is_one_kink()

# %% [markdown]
# All four curves fall on one: nothing shatters at any depth. The reason takes one line. Without a bias and without
# centring every unit is on for x > 0 or for x < 0, whatever its depth, so the whole net is two straight pieces with
# its only kink at 0. Subtracting the mean moves each unit's kink to a place of its own; then depth multiplies them.
# Batch norm does that in every real net.
#
# ## 4. The large run


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
    if name == "plain":
        assert min(by_depth["100"]) > 1000, by_depth

# %% [markdown]
# ## What this does not show
#
# > - **Not the cause of degradation.** Shattering goes along with it and is measured at the start, on fresh nets;
# >   that it *causes* the failure is Balduzzi's argument, not this measurement.
# > - **Not that shortcuts carry the gradient for free.** Where a shortcut passes a ReLU or a projection, the 1 in
# >   1 + F' is not a 1.
# > - **One number in, one out** is not an image; the correlation of gradients over images is harder to see.
# > - **Vanishing is real elsewhere**: without normalisation, with saturating activations, in recurrent nets.
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
# **3. Name it.** Beyond a factor of 100 between the first layer's gradient and the last's it is vanishing or
# exploding.


# %%
def word(first, last):
    """ "vanishing", "exploding" or "level"."""
    return None  # your code


gradients.check_word(word)

# %% [markdown]
# ## Can these claims fail?

# %%
BREAK = {
    claim_with_batch_norm_the_plain_gradient_explodes: {"connection": "residual"},
    claim_connections_keep_it_level: {"connections": ("plain",)},
    claim_without_it_the_plain_gradient_vanishes: {"batch_norm": True},
    claim_without_it_sums_explode_forward: {"connection": "dense"},
    claim_ten_steps_end_the_explosion: {"connection": "residual"},
    claim_the_plain_gradient_shatters: {"centred": False, "seeds": (0,)},
    claim_connections_keep_some_memory: {"connections": ("plain",), "seeds": (0,)},
    claim_without_centring_there_is_one_kink: {"centred": True},
}
for claim, change in BREAK.items():
    print(lesson.refutation(claim, change))

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385, section 4.1 and figure 4.
# - Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz: *A Mean Field Theory of Batch Normalization*, arXiv:1902.08129.
#   Figure 1: with batch norm gradients grow with depth.
# - Balduzzi, Frean, Leary, Lewis, Ma, McWilliams: *The Shattered Gradients Problem*, arXiv:1702.08591. Figure 1 is
#   part 3.
# - Prince: *Understanding Deep Learning*, MIT Press 2023, notebook 11.1: the replication without centring.

# %%
lesson.cost()
