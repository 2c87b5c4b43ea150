# %% [markdown]
# # 5. Who reuses what
#
# [← 4. Pull a layer out](04_pull_a_layer_out.ipynb) ·
# [6. What does it cost? →](06_what_it_costs.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# "DenseNet reuses features" is drawn as a heat map of weights. Is the map evidence? And what is left of an early
# feature after many additions?
#
# After this lesson you can
#
# - compute the weight map of a DenseNet, and say why its untrained twin must stand beside it;
# - compute a map of causes instead: what breaks when one layer stops reading one source;
# - say what addition does to early features that concatenation does not, in one number.
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
from resdense_keras.experiments.who_reuses_what import reuse

# %% [markdown]
# ## 1. Edges
#
# The smallest block that can reuse anything: two dense layers with [growth rate](../docs/glossary.md#growth-rate) 4
# behind a stem of 16 channels. <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
#     layer 1 reads [stem]              (N, 4, 4, 16)   kernel (3, 3, 16, 4)      576 weights
#     layer 2 reads [stem, 1]           (N, 4, 4, 20)   kernel (3, 3, 20, 4)      720 weights
#     head    reads [stem, 1, 2]        (N, 24)         kernel (24, 10)           240 weights
#
# Each pair of reader and source is an *edge*, and has weights of its own: a slice of the reader's kernel. Ours has 18
# dense layers. <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->

# %%
maps = reuse.maps()
print(f"{np.sum(~np.isnan(maps['trained']))} edges")

# %% [markdown]
# ## 2. The map of weights
#
# The paper's figure 5 shows the mean |w| of each edge. Dark cells far from the diagonal are read as "old features are
# used". But each reader has a [batch norm](../docs/glossary.md#batch-norm) of its own in front, which brings all maps
# to one size and multiplies each by a trained factor gamma. So what counts is gamma x |w|.
#
# Two trained DenseNets ship with the package: one for digits, one for CIFAR-10. Beside each stands its *untrained
# twin*, the same net with fresh weights.
#
# > **Predict.** Whose map differs from its twin's: (a) both, (b) the digits net's, (c) the CIFAR-10 net's, (d) neither?


# %%
print("spread within a row        |w|   gamma x |w|     newest source, oldest source")
for weights in reuse.SHIPPED:
    for trained in (False, True):
        kind = f"{weights:8} {'trained' if trained else 'untrained':9}"
        alone = reuse.shipped_spread(weights, trained=trained, gamma=False)
        both = reuse.shipped_spread(weights, trained=trained)
        newest, oldest = reuse.newest_and_oldest(weights, trained=trained)
        print(f"{kind} {alone:11.1%} {both:12.1%} {newest:11.2f}x the mean, {oldest:.2f}x")

# %%
shipped = {
    f"{weights}, {'trained' if trained else 'untrained'}": reuse.shipped_map(
        weights, trained=trained
    )
    for weights in reuse.SHIPPED
    for trained in (False, True)
}
SPREADS = ", ".join(
    f"{weights} {reuse.shipped_spread(weights):.0%} "
    f"(untrained {reuse.shipped_spread(weights, trained=False):.0%})"
    for weights in reuse.SHIPPED
)
lesson.show(
    lambda figure: reuse.draw_shipped(figure, shipped),
    "05-weights",
    alt=f"Four maps of readers and sources. Spread within a row: {SPREADS}",
    size=(6, 7),
)

# %% [markdown]
# On digits |w| is as flat as the twin's, and gamma x |w| twice as uneven. On CIFAR-10 both are far from flat: recent
# sources weigh more, old ones less. So a flat map is no law of DenseNets, and a map that is *not* flat is no proof
# either: <!-- claim: on_digits_it_stays_flat, on_cifar_the_map_is_not_its_twins, recent_sources_weigh_more --> only
# beside its untrained twin does it say that training has changed anything. The two nets differ in data, epochs (60 and
# 10) and weight decay (1e-4 and 5e-4); <!-- claim: test_the_shipped_nets_were_trained_as_lesson_5_says --> which of
# them makes the difference was not isolated.
#
# Whether a source *matters* is another question than how much it weighs.
#
# ## 3. The map of causes
#
# Ask the net itself: give one reader zeros in place of one source, leave all else as it is, and see by how much the
# loss on test images rises.
#
# We return to our own net. The ten lines behind `causal_map` come down to one: `kernel[:, :, source] = 0`. We say that
# an edge matters if the loss rises by more than 0.02 *[nats](../docs/glossary.md#nat)*, the unit of the cross-entropy.
# (Guessing one of ten classes costs `log(10)`.) <!-- claim: few_edges_matter_and_some_a_lot -->
#
# > **Predict.** 190 edges, cut one at a time. How many matter: (a) nearly all, (b) half, (c) one in six, (d) none?


# %%
lesson.source(reuse.causal_map)
print(
    f"{reuse.share_that_matters(maps['causal']):.0%} of the edges matter, "
    f"one costs {np.nanmax(maps['causal']):.2f} nats"
)

# %%
lesson.show(
    lambda figure: reuse.draw_causes(figure, maps["causal"]),
    "05-causes",
    alt=f"Map of causes: {reuse.share_that_matters(maps['causal']):.0%} of the edges raise the "
    f"loss by more than 0.02 nats, in the first layers and the head; one by "
    f"{np.nanmax(maps['causal']):.1f}",
    size=(6, 6.5),
)

# %% [markdown]
# The causal map is another picture: a few edges of the first layers, and the stem above all, carry the net. The scale
# is cut off, so that not only the largest edge is seen; even so nearly all cells are dark. **There is reuse**: several
# layers need the stem (layer 1 has no other source). But it is sparse. <!-- claim: few_edges_matter_and_some_a_lot,
# the_stem_is_reused_most -->


# %%
needing = np.flatnonzero(maps["causal"][:, 0] > 0.02) + 1
print(f"layers that need the stem, by more than 0.02 nats: {', '.join(map(str, needing))}")

# %% [markdown]
# ## 4. What is left of an early feature
#
# A layer can reuse only what it can still read. After each block we fit the best
# *[linear](../docs/glossary.md#linear-reader)* reader from all channels of a pixel to the stem's 16 channels there, on
# training images, and score it ([R²](../docs/glossary.md#r-squared)) on test images.
# <!-- claim: test_the_nets_are_as_the_lessons_describe_them -->
#
# > **Predict.** After the last block: how much of the stem's features can be read in a plain net, with additions,
# > with concatenations?

# %%
SEEDS = lesson.pick((0, 1, 2), little=(0, 1))
read = {
    title: {
        name: np.array([reuse.decodability(name, seed=seed, trained=trained) for seed in SEEDS])
        for name in small_nets.CONNECTIONS
    }
    for title, trained in (("untrained", False), ("trained", True))
}
for name, runs in read["trained"].items():
    start = read["untrained"][name][:, -1]
    print(
        f"{name:14} after the last block: {runs[:, -1].mean():.2f} ± "
        f"{runs[:, -1].std(ddof=1):.2f} trained, {start.mean():.2f} untrained"
    )


# %%
lesson.source(reuse.explained)

# %%
lesson.show(
    lambda figure: reuse.draw_decodability(figure, read),
    "05-readable",
    alt="R squared of the stem's features along the net, at its end: "
    + ", ".join(f"{name} {runs[:, -1].mean():.2f}" for name, runs in read["trained"].items()),
    size=(6, 8),
)

# %% [markdown]
# Bars are one standard deviation over the [seeds](../docs/glossary.md#seed).
#
# With concatenation nothing is lost, and that needs no training: the features are *there*, in channels of their own
# (lesson 1). <!-- claim: concatenation_keeps_everything_readable --> With additions they are summed over, and part of
# them can still be read. <!-- claim: additions_blur -->
#
# But the four targets are two kinds: the plain and the residual net's stem ends in a batch norm and a ReLU, the others'
# does not. So we score all four on the same kind: on what the stem's convolution made, and on a ReLU of that at mean 0
# and deviation 1. <!-- claim: with_one_target_for_all_the_order_stays -->

# %%
print("R² of one target for all     the convolution's maps     their ReLU")
print("                             stem   last block          stem   last block")
for name in small_nets.CONNECTIONS:
    print(f"{name:26}", end="")
    for target in ("maps", "rectified"):
        runs = [reuse.decodability(name, seed=seed, target=target) for seed in SEEDS]
        start, last = np.mean([run[0] for run in runs]), [run[-1] for run in runs]
        print(f"{start:7.2f} {np.mean(last):8.2f} ± {np.std(last, ddof=1):.2f}", end="     ")
    print()


# %% [markdown]
# On either target the dense net keeps the most, by far. <!-- claim: with_one_target_for_all_the_order_stays -->
# The residual net keeps a little more than the plain one; untrained the two differ hardly.
# <!-- claim: additions_still_keep_more_than_nothing --> Other rows may be compared within one column only.
#
# So "feature reuse" means two things: that a feature can be read, which
# concatenation guarantees, and that it is read. The map of causes shows that the loss seldom depends on one edge. (Chen
# et al. 2017 use the words the other way round: to them ResNet reuses features and DenseNet explores new ones.)
#
# ## 5. A third switch: a weighted sum of all
#
# Which earlier layer may I read? ResNet's block reads one sum, DenseNet's layer all maps side by side. DenseFormer
# (Pagliardini et al. 2024) does something between: block i + 1 reads a *weighted sum* of everything before it, with one
# learnt number for each,
#
#     x_(i+1) = a_0 stem + a_1 y_1 + ... + a_i y_i        16 channels, as wide as before
#
# and starts as the pre-activation net, with the newest alone.
#
# > **Predict.** Each block may now bring the stem back by one number. After the training, how much of the stem is
# > readable at the end: as in the dense net, as in the pre-activation net, less?

# %%
lesson.source(small_nets.WeightedSum)
third = {
    name: np.array([reuse.decodability(name, seed=seed)[-1] for seed in SEEDS])
    for name in ("preactivation", small_nets.WEIGHTED)
}
for name, last in third.items():
    print(f"{name:14} after the last block: {last.mean():.2f} ± {last.std(ddof=1):.2f}")
print("the learnt numbers, a row a block, the oldest first:")
for shares in reuse.learnt_shares():
    print("   ", " ".join(f"{share:5.2f}" for share in shares))


# %% [markdown]
# Less: about half of what the pre-activation net keeps, with every seed. Why, we do not know. In these few steps the
# learnt numbers stay near their start. <!-- claim: a_weighted_sum_keeps_no_more, the_newest_still_counts_most --> So to
# *be allowed to read* all is not to *have room to keep* it; concatenation gives both, for width. (In transformers the
# learnt numbers show reuse of distant layers, as Pagliardini et al. report. Others choose by attention over layers,
# arXiv:2603.15031, or carry several streams, arXiv:2512.24880.)
#
# ## 6. The large run
#
# Both maps with several seeds. The [rank correlation](../docs/glossary.md#rank-correlation) says whether the trained
# map of weights puts the edges into the untrained one's order.


# %%
def measure_many():
    return {
        "share": [
            reuse.share_that_matters(reuse.maps(seed=seed)["causal"]) for seed in range(5)
        ],
        "agreement": [
            reuse.agreement(
                reuse.maps(seed=seed)["trained"], reuse.maps(seed=seed)["untrained"]
            )
            for seed in range(5)
        ],
    }


large = lesson.large("05-reuse", measure_many)
for title, key in (
    ("edges that matter", "share"),
    ("rank correlation with the untrained map", "agreement"),
):
    print(
        f"{title}: {np.mean(large[key]):.2f} ± {np.std(large[key], ddof=1):.2f}, "
        f"{len(large[key])} seeds"
    )
assert max(large["share"]) < 0.35 and min(large["agreement"]) > 0.5, large

# %% [markdown]
# ## What this does not show
#
# > - **Not that the paper's map is wrong.** Its net was trained on CIFAR-10 with weight decay, like our second one; it
# >   shows no untrained twin.
# > - **One cut at a time.** Edges that stand in for each other look unimportant until both are cut.
# > - **Zero is not neutral**: it is a value that the reader may never have seen. A mean in its place gives other rises.
# > - **Linear at the same pixel.** A net may read what our reader cannot. And *readable* is not *useful*.
# > - A **[transition](../docs/glossary.md#transition)** with compression ends the guarantee: it keeps some of the
# >   channels, mixed.
#
# ## In your own words
#
# Explain to a friend in three sentences what feature reuse is, and how one measures it. Then compare:
#
# <details><summary>One answer</summary>
# An early feature can be read later without loss after concatenations and only in part after additions. Whether it is
# read is another question: weights say little unless an untrained net stands beside them. Cutting one edge at a time
# shows that about one in six matters.
# <!-- claim: concatenation_keeps_everything_readable, additions_blur, few_edges_matter_and_some_a_lot -->
# </details>
#
# **Change this number, predict, run.** Replace 0.02 in `needing` by 0.1. How many layers still need the stem?
#
# ## Exercises
#
# **1. Count the edges** of a dense block: stem and layers are sources, layers and head are readers.


# %%
def edges_of(layers):
    return None  # your code


reuse.check_edges(edges_of)

# %% [markdown]
# **2. Cut an edge.** The kernel of a reader that gets zeros in place of some channels. Leave the given one alone.


# %%
def cut(kernel, channels):
    """(3, 3, C, k) -> the same shape."""
    return None  # your code


reuse.check_cut(cut)

# %% [markdown]
# **3. Score a reader.** R²: 1 for a perfect one, 0 for one that always answers the mean.


# %%
def r_squared(truth, found):
    """Two (samples, channels) arrays."""
    return None  # your code


reuse.check_r_squared(r_squared)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def edges_of(layers):
#     return (layers + 1) * (layers + 2) // 2
#
#
# def cut(kernel, channels):
#     kernel = kernel.copy()
#     kernel[:, :, channels] = 0
#     return kernel
#
#
# def r_squared(truth, found):
#     return 1 - np.sum((truth - found) ** 2) / np.sum((truth - truth.mean(axis=0)) ** 2)
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 5:
#   the map of weights.
# - Alain, Bengio: *Understanding Intermediate Layers Using Linear Classifier Probes*, arXiv:1610.01644. Figure 5:
#   linear readers by depth.
# - He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, arXiv:1603.05027. Figure 1.
# - Chen et al.: *Dual Path Networks*, arXiv:1707.01629.
# - Pagliardini, Mohtashami, Fleuret, Jaggi: *DenseFormer: Enhancing Information Flow in Transformers via Depth Weighted
#   Averaging*, arXiv:2402.02622.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_on_cifar_the_map_is_not_its_twins(weights="cifar10", trained=True):
    spread = reuse.shipped_spread(weights, trained=trained)
    twin = reuse.shipped_spread(weights, trained=False)
    assert spread > 10 * twin, f"{weights}: spread {spread:.1%}, untrained {twin:.1%}"


def claim_on_digits_it_stays_flat(weights="digits"):
    spread = reuse.shipped_spread(weights, gamma=False)
    twin = reuse.shipped_spread(weights, trained=False, gamma=False)
    assert spread < 1.5 * twin, f"{weights}: |w| spreads {spread:.1%}, untrained {twin:.1%}"
    factor = reuse.shipped_spread(weights) / twin  # the twin's gammas are all 1
    assert 1.5 < factor < 2.5, f"{weights}: gamma x |w| spreads {factor:.1f} times the twin's"


def claim_recent_sources_weigh_more(weights="cifar10"):
    newest, oldest = reuse.newest_and_oldest(weights)
    assert newest > 1.1 and oldest < 0.9, f"{weights}: newest {newest:.2f}, oldest {oldest:.2f}"


def claim_few_edges_matter_and_some_a_lot(trained=True):
    causal = reuse.maps()["causal"] if trained else reuse.causal_map_of_an_untrained_net()
    share, most = reuse.share_that_matters(causal), np.nanmax(causal)
    assert share < 0.35, f"{share:.0%} of the edges matter"
    assert most > 0.2, f"the most important edge costs {most:.2f} nats"
    assert np.sum(~np.isnan(causal)) == 190


def claim_the_stem_is_reused_most(source=0):
    causal = reuse.maps()["causal"]
    by_source = np.nansum(np.maximum(causal, 0), axis=0)
    assert by_source[source] == by_source.max(), (
        f"source {source}: {by_source[source]:.2f} of {by_source.max():.2f} nats"
    )
    assert np.sum(causal[:, 0] > 0.02) > 1


def claim_concatenation_keeps_everything_readable(connection="dense", seeds=(0,)):
    last = min(reuse.decodability(connection, seed=seed)[-1] for seed in seeds)
    assert last > 0.98, f"{connection}: R² is {last:.2f} after the last block"


def claim_additions_blur(connections=("residual", "preactivation"), seeds=(0,)):
    for connection in connections:
        last = max(reuse.decodability(connection, seed=seed)[-1] for seed in seeds)
        assert last < 0.8, f"{connection}: R² is {last:.2f} after the last block"


def claim_additions_still_keep_more_than_nothing(kept="residual", lost="plain", seeds=(0,)):
    more, less = (
        np.mean([reuse.decodability(n, seed=s)[-1] for s in seeds]) for n in (kept, lost)
    )
    assert more > less + 0.04, f"R² is {more:.2f} for {kept}, {less:.2f} for {lost}"
    fresh = [reuse.decodability(n, seed=seeds[0], trained=False)[-1] for n in (kept, lost)]
    assert abs(fresh[0] - fresh[1]) < 0.1, f"untrained {fresh[0]:.2f} and {fresh[1]:.2f}"


def claim_a_weighted_sum_keeps_no_more(switch="weighted", other="preactivation", seeds=(0,)):
    for seed in seeds:
        found, base = (reuse.decodability(name, seed=seed)[-1] for name in (switch, other))
        assert found < 0.75 * base, f"{switch} keeps {found:.2f}, {other} {base:.2f}"


def claim_the_newest_still_counts_most(rows=None):
    for shares in rows or reuse.learnt_shares():
        assert shares[-1] > 0.5 > np.abs(shares[:-1]).max(), f"shares {np.round(shares, 2)}"


claim_concatenation_keeps_everything_readable(seeds=SEEDS)
claim_additions_blur(seeds=SEEDS)
claim_additions_still_keep_more_than_nothing(seeds=SEEDS)
claim_a_weighted_sum_keeps_no_more(seeds=SEEDS)


def claim_with_one_target_for_all_the_order_stays(most="dense", seeds=(0,)):
    for target in ("maps", "rectified"):
        last = {
            name: np.mean([reuse.decodability(name, seed=s, target=target)[-1] for s in seeds])
            for name in small_nets.CONNECTIONS
        }
        others = {name: found for name, found in last.items() if name != most}
        assert last[most] > max(others.values()) + 0.1, f"{target}: {last}"


BREAK = {
    claim_on_cifar_the_map_is_not_its_twins: {"trained": False},
    claim_on_digits_it_stays_flat: {"weights": "cifar10"},
    claim_recent_sources_weigh_more: {"weights": "digits"},
    claim_few_edges_matter_and_some_a_lot: {"trained": False},
    claim_the_stem_is_reused_most: {"source": 17},
    claim_concatenation_keeps_everything_readable: {"connection": "residual"},
    claim_additions_blur: {"connections": ("dense",)},
    claim_a_weighted_sum_keeps_no_more: {"switch": "dense"},
    claim_the_newest_still_counts_most: {"rows": [np.full(3, 1 / 3)]},
    claim_with_one_target_for_all_the_order_stays: {"most": "preactivation"},
    claim_additions_still_keep_more_than_nothing: {"kept": "plain", "lost": "residual"},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
