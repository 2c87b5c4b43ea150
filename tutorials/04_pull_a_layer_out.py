# %% [markdown]
# # 4. Pull a layer out
#
# [← 3. Where the gradient goes](03_where_the_gradient_goes.ipynb) ·
# [5. Who reuses what →](05_who_reuses_what.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# Train a net, take one block out, train nothing again. What is left?
#
# After this lesson you can
#
# - say what "taking a block out" means for each connection, and do it by changing weights alone;
# - predict which nets survive it and which fall to guessing;
# - read a lesion study with care: which block, how many, against what.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). The images are scikit-learn's digits: no network.
#
# Where it says **Predict**, write your answer down before you read on.

# %%
from resdense_keras.experiments import lesson

lesson.begin("tensorflow", "sklearn", threads=1)

import itertools

import numpy as np

from resdense_keras.experiments import lesions, small_nets
from resdense_keras.experiments.pull_a_layer_out import lesion_study

# %% [markdown]
# ## 1. What is left where a block was
#
#     plain           y = F(x)             y = x         (N, 4, 4, 16): F becomes the identity
#     residual        y = relu(x + F(x))   y = x         (N, 4, 4, 16): F becomes 0
#     preactivation   y = x + F(x)         y = x         (N, 4, 4, 16): F becomes 0
#     dense           y = [x, F(x)]        y = [x, 0]    (N, 4, 4, C + 4): F becomes 0
#
# The nets are lesson 2's with 20 layers: nine blocks of two convolutions (2 x 9 x 16 x 16 weights each), or 18 dense
# layers (9 x C x 4). <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> No graph is rebuilt: the last
# weights of `F` become zero, and in the plain net, where nothing goes around the block, its two convolutions and norms
# become the identity. That is as gentle as a lesion can be.
#
# These lines take a block out:

# %%
lesson.source(lesions.silence)

# %% [markdown]
# Does it do what it says?

# %%
for name in small_nets.CONNECTIONS:
    apart = lesion_study.branch_after_removal(name)
    print(f"{name:14} {apart:.1g} of the largest value from what is promised above")


# %% [markdown]
# ## 2. One block
#
# > **Predict.** Each net classifies about nine of ten test digits. One block goes. Which nets keep working, and
# > how well?

# %%
SEEDS = lesson.pick((0, 1, 2), little=(0, 1))
studies = {
    name: [lesion_study.one_by_one(name, seed=seed) for seed in SEEDS]
    for name in small_nets.CONNECTIONS
}
for name, runs in studies.items():
    blocks, whole = (
        np.array([blocks for blocks, _ in runs]),
        np.array([whole for _, whole in runs]),
    )
    print(
        f"{name:14} whole {whole.mean():.0%}; without one block: "
        f"median {np.median(blocks):.0%}, worst {blocks.min():.0%}, best {blocks.max():.0%}"
    )


# %%
lesson.show(
    lambda figure: lesion_study.draw_lesions(figure, studies),
    "04-one-block",
    alt="Accuracy after one lesion by place. Median over the blocks: "
    + ", ".join(
        f"{name} {np.median([blocks for blocks, _ in runs]):.0%}"
        for name, runs in studies.items()
    )
    + ". Early blocks hurt most",
    size=(6, 10),
)

# %% [markdown]
# Bars are one standard deviation over the [seeds](../docs/glossary.md#seed), the thin line is the whole net.
#
# The plain net falls to guessing wherever it is cut: each block reads *only* what the one before it made. With a
# connection the cut block is one contribution among many, and later blocks still find the others where they expect
# them. But look at the first ones.
#
# > **Predict.** Which block hurts most: an early one, a middle one, a late one? Why?


# %% [markdown]
# Early. Perhaps because everything behind it has learnt to read what it writes; that was not measured here. It is not
# what Veit et al. found: theirs were the blocks that halve the image, and ours has none.
#
# To them a ResNet looks like an ensemble of shallow nets: at each block a path goes around or through, so nine blocks
# make 2^9 = 512 paths from input to head, and cutting one block removes the half that goes through it.
# <!-- claim: half_of_the_paths_pass_each_block --> (The sum over paths is exact where every F is linear; with ReLUs it
# is a picture.)


# %%
BLOCKS = 9


def ways(blocks):
    """All paths through so many blocks: at each one goes around (0) or through (1)."""
    return list(itertools.product((0, 1), repeat=blocks))


around_the_third = [path for path in ways(BLOCKS) if path[2] == 0]
print(f"{len(ways(BLOCKS))} paths, {len(around_the_third)} of them around the third block")


# %% [markdown]
# ## 3. Many blocks
#
# > **Predict.** A third of the blocks, drawn by chance. Then two thirds. Does the accuracy fall like a stair or like
# > a slope?

# %%
SHARES = (1 / 9, 1 / 3, 2 / 3)
together = {}
print("test accuracy, mean ± standard deviation over draws and seeds:")
for name in small_nets.CONNECTIONS:
    count = 18 if name == "dense" else 9
    counts = [round(share * count) for share in SHARES]
    together[name] = np.hstack(
        [lesion_study.together(name, counts, seed=seed) for seed in SEEDS]
    )
    print(
        f"{name:14}",
        ", ".join(f"{row.mean():.0%} ± {row.std(ddof=1):.0%}" for row in together[name]),
    )


# %%
lesson.show(
    lambda figure: lesion_study.draw_together(figure, together, SHARES),
    "04-many-blocks",
    alt="Median accuracy with a ninth, a third, two thirds of the blocks out: "
    + "; ".join(
        f"{name} " + ", ".join(f"{np.median(row):.0%}" for row in rows)
        for name, rows in together.items()
    ),
    size=(6, 5),
)

# %% [markdown]
# Marks are medians, bars hold the middle two thirds of draws and seeds. On average a slope; but the bars are wide,
# because it depends on *which* blocks go: one early block can halve the accuracy of the residual and the pre-activation
# net (part 2). <!-- claim: one_early_block_can_halve_the_accuracy, it_is_a_slope --> And it is *not* that the blocks
# are superfluous: a third of them out costs the pre-activation and the dense net more than half of their accuracy on
# average. <!-- claim: a_third_of_the_blocks_can_cost_more_than_half -->
#
# > **Predict.** Now leave branches out at random already while the net trains, up to half of the last block's
# > (*stochastic depth*, Huang et al. 2016). Afterwards a third of the blocks goes. What is left: more than before,
# > less, as much?


# %%
for name in ("preactivation", small_nets.DROPPED):
    found = np.hstack([lesion_study.together(name, [1, 3, 6], seed=seed) for seed in SEEDS])
    alone = [lesion_study.one_by_one(name, seed=seed) for seed in SEEDS]
    print(
        f"{name:14} whole {np.mean([whole for _, whole in alone]):.0%}, "
        f"without its most important block {min(blocks.min() for blocks, _ in alone):.0%}; "
        f"1, 3, 6 of 9 out: " + ", ".join(f"{row.mean():.0%}" for row in found)
    )

# %% [markdown]
# More, by far, at nearly the same accuracy of the whole net: whether a block can be spared also depends on how the net
# was trained. <!-- claim: a_net_that_trained_without_blocks_can_do_without -->
#
# ## 4. Short paths and long ones
#
# A path of length k goes through k branches and around the others. Three blocks make eight:
#
#     length 0   around all three                 1 path
#     length 1   F1, or F2, or F3                 3 paths
#     length 2   F1 F2, or F1 F3, or F2 F3        3 paths
#     length 3   F1 F2 F3                         1 path
#
# Forward they cannot be told apart. Backward they can: let the gradient pass only the branches of one path, and see how
# much arrives at the stem.
#
# > **Predict.** Nine blocks. Most paths have length 4 or 5. Where does most of the gradient come from in the trained
# > pre-activation net: (a) paths shorter than that, (b) those, (c) longer ones?

# %%
lesson.source(lesion_study.path_gradient)
lengths = {trained: lesion_study.path_lengths(trained=trained) for trained in (False, True)}
print("length     one path: fresh, trained      all paths of the length: fresh, trained")
for k in range(10):
    sizes = [lengths[trained]["one"][k] for trained in (False, True)]
    shares = [lengths[trained]["all"][k] for trained in (False, True)]
    print(f"{k:6} {sizes[0]:17.1e} {sizes[1]:10.1e} {shares[0]:25.1%} {shares[1]:10.1%}")


# %%
lesson.show(
    lambda figure: lesion_study.draw_paths(figure, lengths),
    "04-paths",
    alt="Share of the gradient by the paths' length, trained: "
    + ", ".join(f"{k} {share:.0%}" for k, share in enumerate(lengths[True]["all"])),
    size=(6, 4.5),
)

# %% [markdown]
# (a). Most of the trained pre-activation net's gradient comes through paths of three branches or fewer, although most
# paths are longer: each branch on the way takes part of it.
# <!-- claim: short_paths_carry_the_gradient, a_longer_path_carries_less --> (A share here is the size of the gradient
# on a path times the number of such paths, as if no two cancelled.) <!-- claim: short_paths_carry_the_gradient -->
# That is what Veit et al. found in a net of 54 blocks. In the fresh net it is not so yet.
#
# ## 5. The large run


# %%
def measure_deep():
    return {
        name: {
            str(n): lesion_study.medians(name, seeds=(0, 1, 2), depth=n).tolist()
            for n in (8, 20, 32)
        }
        for name in small_nets.CONNECTIONS
    }


large = lesson.large("04-lesions", measure_deep)
for name, by_depth in large.items():
    for n, kept in by_depth.items():
        print(
            f"{name:14} {n:>2} layers: the median lesion keeps "
            f"{np.mean(kept):.0%} ± {np.std(kept, ddof=1):.0%} of the accuracy"
        )


# %% [markdown]
# With three blocks each is a third of the net, and the median lesion costs much; with nine or fifteen it costs a
# residual net one or two per cent of its accuracy. <!-- claim: the_deeper_nets_lose_little -->
#
# ## What this does not show
#
# > - **Not that ResNets are ensembles.** The paths share weights and were trained together. And what part 4 measures is
# >   the gradient's way, at the end of one training.
# > - **Not residual against dense.** A dense layer here appends 4 of 88 maps, a residual block rewrites all 16: the
# >   cuts differ in size. <!-- claim: test_the_nets_are_as_the_lessons_describe_them --> The picture over shares is
# >   fairer, and still no race.
# > - **Not that the cut blocks can be left out for good.** No net was trained again; that is pruning.
# > - **The plain net at its worst?** It was cut in the gentlest way we know, and its own training suffers at this depth
# >   (lesson 2).
#
# ## In your own words
#
# Explain to a friend in three sentences what happens when a block is taken out of a trained net, and what that shows.
# Then compare:
#
# <details><summary>One answer</summary>
# A plain net falls to guessing, for each block reads only the one before. With additions or concatenations the rest
# still finds what it reads, and the median block costs little. In the residual and pre-activation nets an early block
# can cost half of the accuracy, and many blocks at once cost much in all of them.
# <!-- claim: a_plain_net_does_not_survive, nets_with_connections_survive, one_early_block_can_halve_the_accuracy,
# it_is_a_slope -->
# </details>
#
# **Change this number, predict, run.** Take out `SHARES = (1 / 9, 1 / 2)`. Is half of the blocks nearer to a third or
# to two thirds?
#
# ## Exercises
#
# **1. Count the paths.** Through each of n residual blocks a path goes around or through. How many paths have 0, 1,
# ... branches on them, once some blocks are taken out?


# %%
def paths(blocks, taken_out):
    """A list: paths with 0 branches, with 1, ..."""
    return None  # your code


lesion_study.check_paths(paths)

# %% [markdown]
# **2. Silence a dense layer** by its convolution's kernel.


# %%
def silence(kernel):
    return None  # your code


lesion_study.check_silence(silence)

# %% [markdown]
# **3. Shut a residual branch** by the two trained numbers of its last [batch norm](../docs/glossary.md#batch-norm).


# %%
def shut(gamma, beta):
    """The new (gamma, beta)."""
    return None  # your code


lesion_study.check_shut(shut)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# from math import comb
#
#
# def paths(blocks, taken_out):
#     left = blocks - taken_out
#     return [comb(left, branches) for branches in range(left + 1)]
#
#
# def silence(kernel):
#     return 0 * kernel
#
#
# def shut(gamma, beta):
#     return 0 * gamma, 0 * beta
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - Veit, Wilber, Belongie: *Residual Networks Behave Like Ensembles of Relatively Shallow Networks*,
#   arXiv:1605.06431. Figure 3: one block taken out of a plain and a residual net; figure 5: many.
# - Huang et al.: *Deep Networks with Stochastic Depth*, arXiv:1603.09382. Figure 2: blocks dropped while training.
# - He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, arXiv:1603.05027. Figure 1.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_the_lesion_is_exact(removed=True):
    for name in small_nets.CONNECTIONS:
        apart = lesion_study.branch_after_removal(name, removed=removed)
        assert apart < 1e-5, (
            f"{name}: the output is {apart:.2g} of the largest value from what was promised"
        )


def claim_a_plain_net_does_not_survive(connection="plain", seeds=(0,)):
    for seed in seeds:
        blocks, whole = lesion_study.one_by_one(connection, seed=seed)
        assert blocks.max() < whole / 2, (
            f"without its least important block it still has {blocks.max():.0%}"
        )


def claim_nets_with_connections_survive(
    connections=("residual", "preactivation", "dense"), seeds=(0,)
):
    for connection in connections:
        kept = lesion_study.medians(connection, seeds=seeds)
        assert kept.min() > 0.8, f"{connection} keeps {kept.min():.0%} of its accuracy"


def claim_the_first_blocks_matter_most(
    connections=("residual", "preactivation", "dense"), seeds=(0,)
):
    for connection in connections:
        runs = np.array([lesion_study.one_by_one(connection, seed=seed)[0] for seed in seeds])
        third = runs.shape[1] // 3
        early, late = runs[:, :third].mean(), runs[:, -third:].mean()
        assert early < late - 0.1, (
            f"{connection}: {early:.0%} without an early block, {late:.0%} without a late one"
        )


def claim_one_early_block_can_halve_the_accuracy(
    connections=("residual", "preactivation"), seeds=(0, 1, 2)
):
    for connection in connections:
        found = [lesion_study.one_by_one(connection, seed=seed) for seed in seeds]
        worst = min(blocks.min() / whole for blocks, whole in found)
        assert worst < 0.5, f"{connection} keeps {worst:.0%} without its most important block"


def claim_half_of_the_paths_pass_each_block(taken_out=1):
    assert len(lesion_study.one_by_one("residual")[0]) == BLOCKS
    paths, left = len(ways(BLOCKS)), len(ways(BLOCKS - taken_out))
    assert (paths, left) == (512, 256), f"{paths} paths, {left} are left"


def claim_it_is_a_slope(connections=("residual", "preactivation", "dense")):
    for name in connections:
        few, third = lesion_study.together(
            name, [2 if name == "dense" else 1, 6 if name == "dense" else 3]
        )
        assert few.mean() > third.mean() + 0.05, (
            f"{name}: {few.mean():.0%}, then {third.mean():.0%}"
        )
        assert third.mean() > 0.15, (
            f"{name} is at {third.mean():.0%} without a third of its blocks"
        )


def claim_a_third_of_the_blocks_can_cost_more_than_half(
    connections=("preactivation", "dense"), seeds=(0, 1, 2)
):
    for name in connections:
        counts = [6, 12] if name == "dense" else [3, 6]
        found = [lesion_study.together(name, counts, seed=seed).mean(axis=1) for seed in seeds]
        whole = np.mean([lesion_study.one_by_one(name, seed=seed)[1] for seed in seeds])
        third, two_thirds = np.mean(found, axis=0) / whole
        assert third < 0.5, f"{name} keeps {third:.0%} without a third of its blocks"
        assert two_thirds < 0.3, f"{name} keeps {two_thirds:.0%} without two thirds"


def claim_a_net_that_trained_without_blocks_can_do_without(connection="dropped", seeds=(0,)):
    for seed in seeds:
        third, usual = (
            lesion_study.together(name, [3], seed=seed).mean()
            for name in (connection, "preactivation")
        )
        blocks, _ = lesion_study.one_by_one(connection, seed=seed)
        assert third > usual + 0.2, f"{connection}: {third:.0%} against {usual:.0%}"
        assert blocks.min() > 0.6, f"{connection}: {blocks.min():.0%} without one block"


def claim_short_paths_carry_the_gradient(trained=True):
    shares = lesion_study.path_lengths(trained=trained)["all"]
    assert shares[:4].sum() > 0.5, f"paths of length 0 to 3 carry {shares[:4].sum():.0%}"


def claim_a_longer_path_carries_less(trained=True, first=0, last=9):
    sizes = lesion_study.path_lengths(trained=trained)["one"]
    assert sizes[last] < sizes[first] / 50, f"{sizes[last]:.1e} against {sizes[first]:.1e}"


def claim_the_deeper_nets_lose_little(name="residual"):
    kept = lesson.stored("04-lesions", quiet=True)[name]
    few, many = np.mean(kept["8"]), min(np.mean(kept[n]) for n in ("20", "32"))
    assert few < 0.8 and many > 0.97, f"{name}: {few:.0%} with 3 blocks, {many:.0%} with more"


claim_a_plain_net_does_not_survive(seeds=SEEDS)
claim_nets_with_connections_survive(seeds=SEEDS)
claim_the_first_blocks_matter_most(seeds=SEEDS)
claim_one_early_block_can_halve_the_accuracy(seeds=SEEDS)
claim_a_third_of_the_blocks_can_cost_more_than_half(seeds=SEEDS)
claim_a_net_that_trained_without_blocks_can_do_without(seeds=SEEDS)

BREAK = {
    claim_the_lesion_is_exact: {"removed": False},
    claim_a_plain_net_does_not_survive: {"connection": "residual"},
    claim_nets_with_connections_survive: {"connections": ("plain",)},
    claim_the_first_blocks_matter_most: {"connections": ("plain",)},
    claim_one_early_block_can_halve_the_accuracy: {"connections": ("dense",)},
    claim_a_third_of_the_blocks_can_cost_more_than_half: {"connections": ("residual",)},
    claim_it_is_a_slope: {"connections": ("plain",)},
    claim_a_net_that_trained_without_blocks_can_do_without: {"connection": "preactivation"},
    claim_half_of_the_paths_pass_each_block: {"taken_out": 2},
    claim_short_paths_carry_the_gradient: {"trained": False},
    claim_a_longer_path_carries_less: {"trained": False},
    claim_the_deeper_nets_lose_little: {"name": "plain"},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
