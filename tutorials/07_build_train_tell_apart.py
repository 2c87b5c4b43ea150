# %% [markdown]
# # 7. Build, train, tell apart
#
# [← 6. What does it cost?](06_what_it_costs.ipynb) ·
# [8. To the phone →](08_to_the_phone.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# You have a folder of images. Are trained weights worth more than fresh ones there? And if somebody hands you
# `resnet50.weights`: which ResNet is it, and what happens if you guess wrong? (The appendix.)
#
# After this lesson you can
#
# - build both families and train them on a folder of your own;
# - say when transfer helps, and measure it instead of hoping;
# - (appendix) tell v1, v1.5, v2 and D apart, recognise a file of weights, and name the one confusion that no file gives
#   away.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). No network: the digits nets ship with it.
#
# With `RESDENSE_FOLDER=FOLDER` in the environment part 2 runs on your own images (a folder a class), at 8x8 grey pixels
# so that it takes seconds. `resdense train` trains on them as they are.

# %%
from resdense_keras.experiments import lesson

lesson.begin(
    "tensorflow", "sklearn"
)  # says what is missing, before anything that could miss it

import os

import resdense_keras
from resdense_export.report import noise
from resdense_keras.experiments.build_train_tell_apart import recognition

# %% [markdown]
# ## 1. A folder of one's own
#
# A folder of class folders is all that training needs. Ours is made from digits, five training images a class, none of
# which the shipped nets have seen; upright in one folder, turned by a quarter in the other.
# <!-- claim: test_the_digits_folder_has_five_training_images_a_class -->

# %%
FOLDER = os.environ.get("RESDENSE_FOLDER")
which = [FOLDER] if FOLDER else ["upright", "turned"]
for name in which:
    found = recognition.folder(name)
    print(
        f"{name}: {len(found.labels)} training and {len(found.test_labels)} test images, "
        f"{len(found.class_names)} classes"
    )
for family, name in recognition.NETS.items():
    net = resdense_keras.create(name, weights="digits")
    print(f"{family}: {name}, {net.count_params():,} parameters")

# %% [markdown]
# ## 2. Fresh or shipped weights
#
# Both families get a new head and are trained whole, with the same recipe, from fresh weights and from those that
# ship.
#
# > **Predict.** Where does the transfer help: on upright digits, on turned ones, on both? In one family more than in
# > the other?

# %%
lesson.source(recognition.NewHead.run)
results = {}
for name in which:
    for family in recognition.NETS:
        for transfer in (False, True):
            found = recognition.accuracies(family, name, transfer=transfer)
            results[family, name, transfer] = found
            start = "shipped" if transfer else "fresh"
            print(f"{name:8} {family:9} {start:8}", *(f"{accuracy:6.1%}" for accuracy in found))

# %%
lesson.show(
    lambda figure: recognition.draw_transfer(figure, results),
    "07-transfer",
    alt="Mean test accuracy: "
    + ", ".join(
        f"{family} {name} {'shipped' if transfer else 'fresh'} {sum(found) / len(found):.0%}"
        for (family, name, transfer), found in results.items()
    ),
    size=(6, 8),
)


# %%
def mean(values):
    return sum(values) / len(values)


def gain(family, name, transfer=True):
    """Points of accuracy that the shipped weights are worth."""
    shipped = recognition.accuracies(family, name, transfer=transfer)
    return 100 * (mean(shipped) - mean(recognition.accuracies(family, name, transfer=False)))


def dense_against_residual(name, transfer=False):
    """The difference of the accuracies, with its 95 % interval."""
    runs = (recognition.accuracies(f, name, transfer=transfer) for f in ("dense", "residual"))
    first, second = ({"accuracy_by_seed": list(accuracies)} for accuracies in runs)
    return noise.accuracy_difference(first, second, len(recognition.folder(name).test_labels))


for name in which:
    for family in recognition.NETS:
        print(f"{name}, {family}: {gain(family, name):+.0f} points by the shipped weights")
for name in which:
    apart = dense_against_residual(name)
    print(
        f"{name}, fresh weights: dense is {100 * apart.value:.1f} points ahead of residual "
        f"(95 % interval {100 * apart.low:.1f} to {100 * apart.high:.1f})"
    )


# %% [markdown]
# Trained weights are worth what the two tasks share. Upright digits are the same task with other images. Turned ones
# share strokes and contrast, and there the shipped weights have no effect beyond the [seeds](../docs/glossary.md#seed).
# In this both families behave alike.
# <!-- claim: transfer_helps_both_families_on_a_related_task, it_helps_less_on_another_task,
# on_another_task_it_is_no_more_than_the_seeds -->
#
# In another way they do not: from *fresh* weights the dense net is ahead on 50 images, in every seed of both tasks.
# Only on turned digits does the interval exclude zero. <!-- claim: fresh_the_dense_net_is_ahead --> That is a hint for
# "few images, DenseNet" and no proof: so few steps may show which net fits in less time and not which needs less data,
# and the images were always the same. <!-- claim: test_the_digits_folder_has_five_training_images_a_class -->
#
# ## Appendix, for people with a file of weights
#
# ## A1. One name, four nets
#
# "ResNet-50" names several layouts, four of them here: <!-- claim: each_layout_shows_in_its_graph -->
#
# - **v1**, the paper's: a [bottleneck](../docs/glossary.md#bottleneck) of 1x1, 3x3, 1x1; where the image shrinks, the
#   *first* 1x1 takes steps of two.
# - **v1.5**, torchvision's and others': the *3x3* takes them, so that no pixel is skipped unseen.
# - **v2**, pre-activation: [batch norm](../docs/glossary.md#batch-norm) and ReLU stand before each convolution, and
#   again before the head.
# - **D**: three 3x3 convolutions instead of the 7x7 in front, and shortcuts that pool before their 1x1.
#
# We build each with two blocks, the second of which has a stride, and let the graph speak.

# %%
nets = {variant: recognition.small(variant) for variant in recognition.VARIANTS}
print(
    "layout   stride in  block begins with  stem convs  shortcut           norm before the head"
)
for variant, net in nets.items():
    stride, first, stem, shortcut, last = recognition.layout(net)
    print(
        f"{variant:8} {stride:10} {first:18} {stem:<11} {shortcut:18} {'yes' if last else 'no'}"
    )


# %% [markdown]
# > **Predict.** v1 and v1.5 differ in where the stride stands. Which of the two has more parameters, and which more
# > multiply-adds?
#
# The arithmetic for the second block here, 32x32x32 in (width 16, so 16 -> 16 -> 64 channels), without norms:
# <!-- claim: equal_parameters_but_not_equal_work -->
#
#     parameters   32 x 16  +  9 x 16 x 16  +  16 x 64            in both
#     v1           first 1x1 on 16x16 pixels, then all on 16x16
#     v1.5         first 1x1 on 32x32 pixels, then all on 16x16

# %%
for variant in ("v1", "v1.5"):
    for row in resdense_keras.profile(recognition.small(variant, stem="cifar")).layers:
        if row.name.startswith("stage2_block1_conv") and row.macs:
            shape = "x".join(map(str, row.output_shape))
            print(
                f"{variant:5} {row.name.removeprefix('stage2_block1_')} -> {shape:9}", end=" "
            )
            print(f"{row.parameters:6,} parameters {row.macs:9,} MACs")


first, second = (
    resdense_keras.profile(recognition.small(v, stem="cifar")) for v in ("v1", "v1.5")
)
print(f"whole net: v1 {first.parameters:,} parameters, v1.5 {second.parameters:,}", end=" ")
print(f"and {second.macs / first.macs:.2f} times the multiply-adds")


# %% [markdown]
# ## A2. Which file is this?
#
# A file of weights holds names and shapes, no strides. `load_weights` compares them with the net before it reads a
# number, and says which layout the names tell of.
#
# > **Predict.** Of the twelve ways to load one of these four files into another layout, how many are refused?

# %%
print("file      net       load_weights says")
for saved in recognition.VARIANTS:
    for built in recognition.VARIANTS:
        if saved != built:
            hint = recognition.answer_to_foreign_weights(saved, built)
            print(f"{saved:9} {built:9} {hint or 'nothing: it loads'}")


# %% [markdown]
# Ten are refused by name. The two between v1 and v1.5 are not: nothing in these files could tell. What does it cost to
# guess wrong?
#
# > **Predict.** We train a v1 net on the digits and put its weights into v1.5. Does the accuracy stay, drop, or fall to
# > the 10 % of chance?


# %%
right, wrong = recognition.accuracies_of_one_file("v1", "v1.5")
print(f"the same weights: {right:.1%} in v1, {wrong:.1%} in v1.5")


# %% [markdown]
# It drops and stays far above chance, which is no error that one would see: it looks like a net that is merely not very
# good. <!-- claim: the_wrong_stride_costs_accuracy --> So **v1 against v1.5 is settled by labelled images, never by
# loading**: build both, take the one whose accuracy is what its authors promise. (Some files have a hint: convolutions
# with a bias in front of a batch norm point to keras.applications, whose nets are v1.)
#
# ## What this does not show
#
# > - **Your images.** Ten small classes, 8x8 pixels. With many images fresh weights can catch up (He, Girshick, Dollár
# >   2018, for detection); with photographs and ImageNet's weights, early layers carry over further.
# > - **One recipe for both starts.** Another learning rate or frozen stages may suit shipped weights.
# > - **Three seeds** vary the fresh weights, the head and the order, not the choice of the training images.
# > - **The drop between v1 and v1.5** is that of one small net; how large it is depends on the net.
#
# ## In your own words
#
# Explain to a friend in three sentences when trained weights help, and why a file of weights alone is not enough.
# Then compare:
#
# <details><summary>One answer</summary>
# They help as far as the two tasks share what was learnt: much on upright digits, not beyond the seeds on turned
# ones. A file's names and shapes tell its layout but not the place of a stride, so only labelled images settle v1
# against v1.5.
# </details>
#
# **Change this number, predict, run.** Build `recognition.small("v1.5", stem="imagenet")` in A1's table of MACs. More
# or fewer than with the cifar stem?
#
# ## Exercises
#
# Replace each body, run the cell; it says what is still missing.
#
# **1. Recognise a file.** From names and shapes alone. Which three answers are possible?


# %%
def recognize(tensors):
    """{"layer/variable": shape} of one of the four small nets -> "v1 or v1.5", "v2" or "vd"."""
    return None  # your code; `recognition.tensors(net)` shows what you get


recognition.check_recognize(recognize)

# %% [markdown]
# **2. How small do the maps get?** An ImageNet stem on small images throws most of them away.


# %%
def halvings(model):
    """The image's height over that of the last maps before the pooling."""
    return None  # your code; every layer has an `output.shape`


recognition.check_halvings(halvings)

# %% [markdown]
# **3. Train the head alone.** Freeze all else. Batch norms have weights too.


# %%
def freeze(model):
    """Leaves only the layer "predictions" trainable, in place."""
    # your code


recognition.check_frozen(freeze)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def recognize(tensors):
#     if "stem_conv1/kernel" in tensors:
#         return "vd"
#     return "v2" if "head_bn/gamma" in tensors else "v1 or v1.5"
#
#
# def halvings(model):
#     last = [layer.output.shape for layer in model.layers if len(layer.output.shape) == 4][-1]
#     return model.input_shape[1] // last[1]
#
#
# def freeze(model):
#     for layer in model.layers:
#         layer.trainable = layer.name == "predictions"
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Figure 5 is the bottleneck,
#   table 1 the layouts.
# - He, Zhang, Ren, Sun: *Identity Mappings in Deep Residual Networks*, arXiv:1603.05027. Figure 1 is v2.
# - He et al.: *Bag of Tricks for Image Classification with Convolutional Neural Networks*, arXiv:1812.01187. Figure 2
#   has the variants B (here v1.5), C and D.
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 2.
# - Yosinski, Clune, Bengio, Lipson: *How transferable are features in deep neural networks?*, arXiv:1411.1792: features
#   are worth less the further two tasks lie apart, and even then can be worth more than random ones.
# - He, Girshick, Dollár: *Rethinking ImageNet Pre-training*, arXiv:1811.08883.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_transfer_helps_both_families_on_a_related_task(transfer=True):
    for family in recognition.NETS:
        points = gain(family, "upright", transfer)
        assert points > 10, f"{family}: only {points:.0f} points"


def claim_it_helps_less_on_another_task(task="turned"):
    for family in recognition.NETS:
        related, other = gain(family, "upright"), gain(family, task)
        assert other < related / 2, f"{family}: {other:.0f} points against {related:.0f}"


def claim_on_another_task_it_is_no_more_than_the_seeds(task="turned"):
    for family in recognition.NETS:
        found = recognition.accuracies(family, task, transfer=True)
        points, spread = gain(family, task), 100 * (max(found) - min(found))
        assert abs(points) < spread, f"{family}: {points:+.0f} points, seeds {spread:.0f} apart"


def claim_fresh_the_dense_net_is_ahead(transfer=False):
    for task in ("upright", "turned"):
        dense, residual = (
            recognition.accuracies(family, task, transfer=transfer)
            for family in ("dense", "residual")
        )
        assert min(dense) > max(residual), f"{task}: not ahead in every seed"
        apart = dense_against_residual(task, transfer)
        assert apart.low > 0 or task == "upright", f"{task}: the interval holds 0"


def claim_each_layout_shows_in_its_graph(other="v1"):
    looks = {
        recognition.layout(recognition.small(variant))
        for variant in ("v1.5", "v2", "vd", other)
    }
    assert len(looks) == 4, f"only {len(looks)} of four layouts differ"


def claim_equal_parameters_but_not_equal_work(late="v1.5"):
    first, second = (
        resdense_keras.profile(recognition.small(v, stem="cifar")) for v in ("v1", late)
    )
    assert first.parameters == second.parameters, "the parameters differ"
    assert second.macs > first.macs, f"{second.macs:,} MACs, no more than {first.macs:,}"


def claim_a_wrong_file_is_refused_by_name(saved="v2", built="v1"):
    hint = recognition.answer_to_foreign_weights(saved, built)
    assert hint and repr(saved) in hint, f"a {saved} file in a {built} net: {hint}"


def claim_but_v1_and_v15_have_equal_tensors(other="v1.5"):
    same = recognition.tensors(recognition.small("v1")) == recognition.tensors(
        recognition.small(other)
    )
    assert same, f"v1 and {other} differ in their tensors"


def claim_the_wrong_stride_costs_accuracy(built="v1.5"):
    right, wrong = recognition.accuracies_of_one_file("v1", built)
    assert right - wrong > 0.05, f"{right:.1%} in v1, {wrong:.1%} in {built}"


BREAK = {
    claim_each_layout_shows_in_its_graph: {"other": "v2"},
    claim_equal_parameters_but_not_equal_work: {"late": "v1"},
    claim_a_wrong_file_is_refused_by_name: {"saved": "v1", "built": "v1.5"},
    claim_but_v1_and_v15_have_equal_tensors: {"other": "v2"},
    claim_the_wrong_stride_costs_accuracy: {"built": "v1"},
    claim_transfer_helps_both_families_on_a_related_task: {"transfer": False},
    claim_it_helps_less_on_another_task: {"task": "upright"},
    claim_on_another_task_it_is_no_more_than_the_seeds: {"task": "upright"},
    claim_fresh_the_dense_net_is_ahead: {"transfer": True},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
