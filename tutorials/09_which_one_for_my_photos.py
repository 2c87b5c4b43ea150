# %% [markdown]
# # 9. Which one for my photos?
#
# [← 8. To the phone](08_to_the_phone.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# You have a folder of pictures and little time. ResNet or DenseNet, trained weights or fresh ones, and what fits the
# phone? No table answers that for *your* pictures. An evening's measurement does, and this lesson is a small one.
#
# After this lesson you can
#
# - compare two nets on a folder of your own, with intervals instead of single numbers;
# - say what each costs in memory, time and bytes, beside its accuracy;
# - write the sentence that the numbers allow, and no other.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). No network: the weights ship with it.
#
# With `RESDENSE_FOLDER=FOLDER` in the environment it runs on your photos (a folder a class; it takes a few of each to
# train and to test, at 32x32 pixels). Without a folder it runs on **drawings made by code**, which look like no photo:
# what comes out then is about these drawings.

# %%
from resdense_keras.experiments import lesson

lesson.begin("tensorflow")  # says what is missing, before anything that could miss it

import os

import resdense_export
from resdense_export.report import accuracy_sentence, noise
from resdense_keras.experiments.build_train_tell_apart import recognition
from resdense_keras.experiments.which_one_for_my_photos import photos

# %% [markdown]
# ## 1. The pictures

# %%
FOLDER = os.environ.get("RESDENSE_FOLDER")
LIMIT = 16 if FOLDER else None  # photos a class
WHAT = "your photos" if FOLDER else "drawings made by code"
pictures = photos.folder(FOLDER, LIMIT)
print(
    f"{WHAT}: {len(pictures.labels)} to train, {len(pictures.test_labels)} to test, "
    f"{len(pictures.class_names)} classes"
)
lesson.show(
    lambda figure: photos.draw_examples(figure, pictures),
    "09-pictures",
    alt=f"The first training picture of each of the {len(pictures.class_names)} classes: "
    + ", ".join(pictures.class_names),
    size=(6, 2),
)

# %% [markdown]
# ## 2. Two nets, two starts
#
# Two nets ship with weights for CIFAR-10, small photos of animals and vehicles. They differ in size and in the length
# of their training: <!-- claim: the_dense_net_is_smaller_and_keeps_more --> this lesson asks which one to *take*, not
# what a connection does.


# %%
for family, name in photos.NETS.items():
    row = photos.counted(family)
    print(
        f"{family:9} {name:17} {row['parameters']:,} parameters, {row['macs'] / 1e6:.0f} M "
        f"multiply-adds, training keeps {row['activation_bytes'] / 2**20:.1f} MiB an image, "
        f"inference {row['inference_bytes'] / 2**10:.0f} KiB"
    )

# %% [markdown]
# The dense net has fewer parameters and keeps more of every image. <!-- claim: the_dense_net_is_smaller_and_keeps_more
# -->
# Both get a new head for your classes and are trained whole. This is the training:

# %%
lesson.source(recognition.NewHead.run)

# %% [markdown]
# > **Predict.** Which of the four will be the best on the test pictures: residual or dense, from fresh or from shipped
# > weights? How far will its [seeds](../docs/glossary.md#seed) lie apart?

# %%
SEEDS = lesson.pick(3, little=2)
guessing_gets = 1 / len(pictures.class_names)


def accuracies(family, transfer):
    return photos.accuracies(family, FOLDER, transfer=transfer, per_class=LIMIT, seeds=SEEDS)


found = {
    (family, start): accuracies(family, start == "shipped")
    for family in photos.NETS
    for start in ("fresh", "shipped")
}
images = len(pictures.test_labels)
estimates = {
    key: noise.accuracy(photos.entry(key[0], values), images) for key, values in found.items()
}
for (family, start), estimate in estimates.items():
    print(
        f"{family:9} {start:8} {estimate.value:6.1%} "
        f"(95 % interval {estimate.low:.0%} to {estimate.high:.0%})"
    )

# %%
lesson.show(
    lambda figure: photos.draw_accuracies(figure, found, estimates, guessing_gets),
    "09-accuracies",
    alt=f"Mean test accuracy on {WHAT}: "
    + ", ".join(
        f"{family} {start} {estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"
        for (family, start), estimate in estimates.items()
    ),
    size=(6, 5),
)


# %% [markdown]
# Dots are seeds, bars their mean, lines its 95 % interval. On the drawings the shipped weights are far ahead in both
# families, in these few steps: fresh nets hardly leave guessing.
# <!-- claim: on_drawings_the_shipped_weights_help -->
#
# ## 3. What each costs
#
# > **Predict.** Which of the two is the smaller file in int8, and which answers sooner?

# %%
print("family    step, ms   scheme     kB   accuracy (95 % interval)   latency, ms")
for family in photos.NETS:
    step = photos.step_ms(family, FOLDER, LIMIT)
    rows = photos.files(family, resdense_export, FOLDER, LIMIT)
    for scheme, row in rows.items():
        print(
            f"{family:9} {step:8.1f}   {scheme:6} {row['bytes'] / 1000:6.0f} "
            f"{row['accuracy']:10.1%} ({row['low']:.0%} to {row['high']:.0%}) {row['ms']:17.2f}"
        )

# %% [markdown]
# The step is one training image on this machine, the latency one image in the finished file on one thread. Both are
# this machine's, today. The files hold the net of the last seed, from shipped weights.
#
# ## 4. The sentence
#
# What may you say now? The package's report computes its sentence from the numbers. Where the interval of the
# difference excludes zero, it names the more accurate net first. Where it does not, it says that the two tie. <!--
# claim: the_sentence_follows_the_numbers -->


# %%
def sentence(residual, dense, images=200):
    return accuracy_sentence(
        photos.entry("residual", residual), photos.entry("dense", dense), images
    )


said = sentence(found["residual", "shipped"], found["dense", "shipped"], images)
print(f"On {WHAT}, from shipped weights, at 32x32 pixels: {said}")
if FOLDER:
    best = max(estimates, key=lambda key: estimates[key].value)
    print(f"On your photos the {best[0]} net from {best[1]} weights came out first here.")
else:
    print("These are drawings made by code: this says nothing about photos.")

# %% [markdown]
# With the numbers exchanged the sentence turns round, and with equal ones it says that they tie.
# <!-- claim: the_sentence_follows_the_numbers -->
#
# ## 5. The same on photos of flowers
#
# We ran it once on a folder of a thousand flower photos, with the same nets. They are from
# github.com/martinwestin/flower_classification, which states no licence, so only the numbers are kept.

# %%
flowers = lesson.stored("09-flowers")
print(
    f"{flowers['training']} photos to train, {flowers['test']} to test, "
    f"{flowers['classes']} classes, {flowers['epochs']} epochs"
)
for name, values in flowers["accuracies"].items():
    estimate = noise.accuracy(photos.entry(name.split()[0], values), flowers["test"])
    print(f"{name:16} {estimate.value:6.1%} ({estimate.low:.0%} to {estimate.high:.0%})")
for family, rows in flowers["files"].items():
    print(
        f"{family:9} "
        + "; ".join(
            f"{scheme} {row['bytes'] / 1000:.0f} kB {row['accuracy']:.1%} {row['ms']:.2f} ms"
            for scheme, row in rows.items()
        )
    )
for start in ("fresh", "shipped"):
    nets = (flowers["accuracies"][f"{family} {start}"] for family in photos.NETS)
    print(f"On these flowers, {start} weights: {sentence(*nets, flowers['test'])}")


def on_flowers(start):
    """Accuracies of the stored run, one a seed: (residual, dense)."""
    found = lesson.stored("09-flowers", quiet=True)["accuracies"]
    return found[f"residual {start}"], found[f"dense {start}"]


def worth(family, start="shipped"):
    """What a start is worth against fresh weights, in points, with its 95 % interval."""
    place = list(photos.NETS).index(family)
    first, second = ({"accuracy_by_seed": on_flowers(s)[place]} for s in (start, "fresh"))
    found = noise.accuracy_difference(first, second, 200)  # test photos
    return 100 * found.value, 100 * found.low, 100 * found.high


for family in photos.NETS:
    points, low, high = worth(family)
    print(
        f"{family}: the shipped weights are worth {points:+.1f} points "
        f"(95 % interval {low:+.1f} to {high:+.1f})"
    )

# %% [markdown]
# On 800 photos fresh nets learn something, and what the shipped weights are worth shrinks: to a few points in the dense
# net; in the residual one it is not told apart from zero.
# <!-- claim: on_flowers_shipped_weights_are_worth_a_few_points -->
# From fresh weights the dense net is ahead, from shipped ones the report calls it a tie, although every seed points the
# same way. <!-- claim: on_flowers_fresh_the_dense_net_is_ahead, on_flowers_the_two_tie_from_shipped_weights -->
# The int8 files have less than a third of the bytes and lose nothing.
# <!-- claim: on_flowers_int8_loses_nothing -->
#
# So for these photos: the dense net if the file counts or you start from fresh weights, the residual one if memory or
# time counts. From shipped weights accuracy does not decide. The drawings said something else, which is why it takes
# *your* folder to say something about your photos.
#
# ## What this does not show
#
# > - **Not which connection is better.** The two nets differ in size, and their shipped weights in epochs.
# > - **Other seeds vary** the fresh weights, the head and the order. The test pictures stay the same, so the interval
# >   says what another training would change, not what other pictures would.
# > - **At 32x32 pixels** photos lose what large nets live on. `resdense compare` takes your folder at any size, and
# >   `resdense train --weights imagenet` begins with ImageNet's weights where there is a network.
# > - **Your phone.** The milliseconds are this machine's; [docs/phone.md](../docs/phone.md) measures on yours.
#
# ## In your own words
#
# Explain to a friend in three sentences how you would choose a net for your photos. Then compare:
#
# <details><summary>One answer</summary>
# I would train both from the weights that are there, with several seeds, on my own folder. Where the report says that
# they tie, memory, time and the file decide. <!-- claim: the_sentence_follows_the_numbers --> Numbers from other
# people's pictures, or from drawings, tell me where to look and not what to take.
# </details>
#
# **Change this number, predict, run.** Set `SEEDS` to 2. What becomes of the intervals, and of the sentence?
#
# ## Exercises
#
# Replace each body, run the cell; it says what is still missing.
#
# **1. What guessing gets.** The share of right answers of the best constant answer.


# %%
def guessing(labels):
    """A list of class numbers -> 0 to 1."""
    return None  # your code


photos.check_guessing(guessing)

# %% [markdown]
# **2. Do they overlap?** Two intervals that share no number are told apart; others may not be.


# %%
def overlap(first, second):
    """(low, high), (low, high) -> True or False."""
    return None  # your code


photos.check_overlap(overlap)

# %% [markdown]
# **3. Choose.** Of the nets that fit, some tie with the most accurate one: the interval of their difference holds zero.
# Take the smallest of these.


# %%
def choose(nets, tie, most_bytes):
    """{name: (accuracy, bytes)}, tie(name, other) -> a name, or None where nothing fits."""
    return None  # your code


photos.check_choose(choose)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def guessing(labels):
#     return max(labels.count(label) for label in labels) / len(labels)
#
#
# def overlap(first, second):
#     return first[0] <= second[1] and second[0] <= first[1]
#
#
# def choose(nets, tie, most_bytes):
#     fits = [name for name, (accuracy, size) in nets.items() if size <= most_bytes]
#     if not fits:
#         return None
#     best = max(fits, key=lambda name: nets[name][0])
#     ties = [name for name in fits if name == best or tie(name, best)]
#     return min(ties, key=lambda name: nets[name][1])
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv:1512.03385. Section 4.2: the small nets.
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 3:
#   accuracy over parameters.
# - Kornblith, Shlens, Le: *Do Better ImageNet Models Transfer Better?*, arXiv:1805.08974. Figure 1.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_the_dense_net_is_smaller_and_keeps_more(small="dense", large="residual"):
    one, other = photos.counted(small), photos.counted(large)
    assert one["parameters"] < 0.6 * other["parameters"], (
        f"{one['parameters']:,} parameters against {other['parameters']:,}"
    )
    assert one["activation_bytes"] > 2 * other["activation_bytes"], "it keeps less"
    assert one["inference_bytes"] > 2 * other["inference_bytes"], "it needs less in inference"


def claim_on_drawings_the_shipped_weights_help(transfer=True):
    for family in photos.NETS:
        fresh, other = accuracies(family, False), accuracies(family, transfer)
        assert min(other) > max(fresh) + 0.2, (
            f"{family}: {min(other):.0%}, fresh {max(fresh):.0%}"
        )


def claim_the_sentence_follows_the_numbers(dense=(0.80, 0.81, 0.79)):
    said = sentence((0.90, 0.91, 0.92), dense)
    assert said.startswith("The ResNet (resnet20) is more accurate"), said
    turned = sentence(dense, (0.90, 0.91, 0.92))
    assert turned.startswith("The DenseNet (densenet_bc22_16) is more accurate"), turned


def claim_on_flowers_the_two_tie_from_shipped_weights(start="shipped"):
    said = sentence(*on_flowers(start))
    assert "tie in accuracy within the noise" in said, said


def claim_on_flowers_fresh_the_dense_net_is_ahead(start="fresh"):
    said = sentence(*on_flowers(start))
    assert said.startswith("The DenseNet (densenet_bc22_16) is more accurate"), said


def claim_on_flowers_shipped_weights_are_worth_a_few_points(start="shipped"):
    points, low, high = worth("dense", start)
    assert low > 0 and high < 10, f"dense: {points:.1f} points, {low:.1f} to {high:.1f}"
    points, low, high = worth("residual", start)
    assert low < 0 < high, f"residual: {points:.1f} points, {low:.1f} to {high:.1f}"


def claim_on_flowers_int8_loses_nothing(scheme="int8", share=0.31):
    for rows in lesson.stored("09-flowers", quiet=True)["files"].values():
        assert rows[scheme]["accuracy"] >= rows["fp32"]["accuracy"], "it loses accuracy"
        assert rows[scheme]["bytes"] < share * rows["fp32"]["bytes"], "it is hardly smaller"


BREAK = {
    claim_the_dense_net_is_smaller_and_keeps_more: {"small": "residual", "large": "dense"},
    claim_on_drawings_the_shipped_weights_help: {"transfer": False},
    claim_the_sentence_follows_the_numbers: {"dense": (0.91, 0.90, 0.92)},
    claim_on_flowers_the_two_tie_from_shipped_weights: {"start": "fresh"},
    claim_on_flowers_fresh_the_dense_net_is_ahead: {"start": "shipped"},
    claim_on_flowers_shipped_weights_are_worth_a_few_points: {"start": "fresh"},
    claim_on_flowers_int8_loses_nothing: {"scheme": "fp32"},
}

# %%
for claim, change in BREAK.items():
    if not FOLDER or claim is not claim_on_drawings_the_shipped_weights_help:
        claim()
        print(lesson.refutation(claim, change))

# %%
lesson.cost()
