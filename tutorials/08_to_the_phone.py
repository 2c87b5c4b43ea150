# %% [markdown]
# # 8. To the phone
#
# [← 7. Build, train, tell apart](07_build_train_tell_apart.ipynb) ·
# [9. Which one for my photos? →](09_which_one_for_my_photos.ipynb) ·
# [Glossary](../docs/glossary.md)
#
# A trained net becomes a file of operators. Which rewriting makes it faster without changing an answer, why does a
# DenseNet gain more from it than a ResNet, and which number type is worth its loss?
#
# After this lesson you can
#
# - fold a [batch norm](../docs/glossary.md#batch-norm) into a convolution, and say where it cannot be folded;
# - quantize numbers by hand, and say what calibration is for and what ruins it;
# - read a table of schemes: size, accuracy, agreement, latency;
# - choose the file for a phone's CPU, GPU, NPU or browser.
#
# **Time:** at most 3 minutes on 2 idle CPU cores; compare with the processor time that the last cell prints.
# **Needs:** this package (`python -m pip install .` in its folder). No network: the digits nets ship with it.

# %%
from resdense_keras.experiments import lesson

lesson.begin(
    "tensorflow", "sklearn", "ai_edge_litert", "litert_quantizer"
)  # says what is missing, before it is missed

import functools
import tempfile
from pathlib import Path

import numpy as np
import tensorflow

import resdense_export
import resdense_keras
from resdense_keras import data
from resdense_keras.experiments.to_the_phone import phone_files

NORM = tensorflow.keras.layers.BatchNormalization
tensorflow.get_logger().setLevel("ERROR")  # it would report every conversion

# %% [markdown]
# ## 1. A batch norm that is not there
#
# In inference a batch norm is one factor a and one offset b a channel, and so can be multiplied into its neighbour:
#
#     a (w x) + b      =  (a w) x + b                    behind a convolution: one operator less, nothing lost
#     w relu(a x + b)  =  (a w) max(x, -b / a) + w b     in front of one, with a ReLU between, for a > 0: one maximum
#
# The smallest block has 12 channels: a 1x1 convolution has 12 x 12 weights, the folded one 12 more for its bias, and
# the norm's 48 numbers are gone, 24 trained and 24 stored.
# <!-- claim: test_the_smallest_block_of_lesson_8_has_so_many_weights -->
#
# > **Predict.** ResNet (v1): convolution, norm, ReLU. DenseNet: norm, ReLU, convolution. In which does every norm fold,
# > and what happens to the others?


# %%
def fold(kernel, norm):  # (..., inputs, outputs); norm has four numbers for each output
    a = norm.gamma / np.sqrt(norm.variance + norm.epsilon)  # the factor
    b = norm.beta - norm.mean * a  # the offset
    return kernel * a, b  # the new kernel, and its bias


def fold_error(norm_first=False):
    """Largest difference of the outputs, as a share of the largest, for a 1x1 convolution."""
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=(64, 12)), random.normal(size=(12, 12))
    norm = phone_files.random_norm(12)
    folded, bias = fold(kernel, norm)
    if norm_first:
        right = np.maximum(norm(x), 0) @ kernel
    else:
        right = norm(x @ kernel)
    return np.abs(x @ folded + bias - right).max() / np.abs(right).max()


print(f"norm behind the convolution: folded, the outputs differ by {fold_error():.1g}")
print(f"norm and ReLU in front: the same fold would be wrong by {fold_error(True):.0%}")


# %% [markdown]
# The first norm of a dense layer reads a *concatenation*: the parts come from many layers, and each later layer has its
# own norm for them. It cannot be folded backwards. (The second one, behind a 1x1 convolution, can.) But norm, ReLU and
# convolution in a row can be written otherwise: one maximum with a constant remains of the norm, in place of a
# multiplication and an addition over all channels, and the factor goes into the convolution behind it.


# %%
def maximum_error(a=2.0, b=0.5):
    x = np.linspace(-3, 3, 101)
    return np.abs(np.maximum(a * x + b, 0) - (a * np.maximum(x, -b / a) + b)).max()


print(f"relu(2 x + 0.5) and 2 max(x, -0.25) + 0.5 differ by up to {maximum_error():.1g}")


# %% [markdown]
# A negative factor turns the maximum around; how that and the padding at the border are handled is in
# docs/rewriting.md.
#
# ## 2. The same answers
#
# We take the shipped digits nets. (Trained ones: a fresh batch norm has nothing to add, and the converter drops what
# adds nothing.)

# %%
NETS = {
    "residual": "resnet20_digits",
    "dense": "densenet_bc28_6_digits",
}  # as large as each other
DIGITS = data.load("digits")
CALIBRATION = data.calibration(DIGITS)[1]  # training images; the test images judge


@functools.cache
def net(family):
    return resdense_keras.create(NETS[family], weights="digits", include_preprocessing=True)


@functools.cache
def float_file(family, graph):
    """The float file of a net as it is (graph None), or rewritten for "float" or "int8"."""
    model = net(family) if graph is None else resdense_export.rewrite(net(family), graph)
    return resdense_export.convert(model)


@functools.cache
def content(family, scheme, rewritten=True, light=1.0):
    """The .tflite bytes; `light` darkens the images that calibrate int8."""
    graph = ("int8" if scheme == "int8" else "float") if rewritten else None
    images = (CALIBRATION * light).astype("float32") if scheme == "int8" else None
    return resdense_export.quantize(float_file(family, graph), scheme, images)


@functools.cache
def answers(family):
    return net(family).predict(DIGITS.test.array(), batch_size=256, verbose=0)


@functools.cache
def judged(family, scheme, rewritten=True, light=1.0):
    """The finished file's Check against the Keras net, on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net-{scheme}.tflite"
        path.write_bytes(content(family, scheme, rewritten, light))
        images, labels = DIGITS.test.array(), DIGITS.test.labels
        return resdense_export.check(path, answers(family), images, labels, scheme=scheme)


def file(family, scheme, rewritten=True, latency_ms=None):
    found = judged(family, scheme, rewritten)
    size = len(content(family, scheme, rewritten))
    results = found.accuracy, found.accuracy_interval, found.agreement, found.operators
    return phone_files.File(family, scheme, rewritten, size, *results, latency_ms)


# %% [markdown]
# > **Predict.** By how much do the rewritten nets' probabilities differ from the original's?


# %%
for family in NETS:
    apart = judged(family, "fp32").max_difference
    print(f"{family}: rewritten fp32, probabilities differ by at most {apart:.1g}")


# %% [markdown]
# > **Predict.** Which net loses the larger share of its operators by rewriting?

# %%
plain_files = [
    file(family, "fp32", rewritten) for family in NETS for rewritten in (False, True)
]
for row in plain_files:
    state = "rewritten" if row.rewritten else "as it is"
    print(f"{row.family:9} {state:10} {sum(row.operators.values()):4} operators:", end=" ")
    print(", ".join(f"{count} {name}" for name, count in sorted(row.operators.items())))

# %%
lesson.show(
    lambda figure: phone_files.draw_operators(figure, plain_files),
    "08-operators",
    alt="Operators in each file: "
    + ", ".join(
        f"{row.family} {'rewritten' if row.rewritten else 'as it is'} "
        f"{sum(row.operators.values())}"
        for row in plain_files
    ),
    size=(6, 6),
)


# %%
def lost_share(family):
    """Share of the operators that rewriting removes, 0 to 1."""
    before, after = (
        sum(judged(family, "fp32", rewritten).operators.values()) for rewritten in (False, True)
    )
    return 1 - after / before


for family in NETS:
    print(f"rewriting removes {lost_share(family):.0%} of the {family} net's operators")

# %% [markdown]
# That is why a DenseNet gains more: the stock converter already folds every norm of a v1 ResNet. Of this DenseNet's
# 27 norms it folds 12, and keeps a multiplication and an addition for each of the other 15; rewriting leaves
# a maximum. <!-- claim: the_dense_net_gains_more, a_maximum_remains_of_each_norm --> In int8 each multiplication and
# each addition would be rounded.
#
# ## 3. Eight bits by hand
#
# int8 stores an integer q and reads it as `scale * (q - zero)`. For weights the range is known: the largest |w| of each
# output becomes 127, and zero stays 0. <!-- claim: these_lines_make_the_files_weights -->
#
# > **Predict.** We fold one norm of the shipped residual net and round its kernel with these lines. How many of the
# > integers in the finished int8 file are others: (a) none, (b) a few, by rounding, (c) most?


# %%
def to_int8(kernel):  # (height, width, inputs, outputs)
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127  # one for each output
    return np.round(kernel / scale).astype(np.int8), scale


LAYER = "stage2_block2_conv1"


def by_hand(folded=True):
    """The layer's kernel in eight bits: integers (3, 3, 10, 10) and scales (10,)."""
    kernel = net("residual").get_layer(LAYER).kernel.numpy()
    norm = phone_files.norm_of(net("residual").get_layer(LAYER.replace("conv", "bn")))
    return to_int8(fold(kernel, norm)[0] if folded else kernel)


integers, scales = by_hand()
in_the_file = phone_files.int8_kernel(content("residual", "int8"), LAYER)
print(f"{np.sum(integers != in_the_file[0])} of {integers.size} integers are others")
print(
    f"the scales differ by up to {np.abs(scales / in_the_file[1] - 1).max():.0e} of their size"
)
unfolded, scales = by_hand(folded=False)
print(f"without the fold: {np.sum(unfolded != in_the_file[0])} integers are others,", end=" ")
ratios = scales / in_the_file[1]
print(f"the scales are {ratios.min():.1f} to {ratios.max():.1f} times the file's")


# %% [markdown]
# None: that is what is in the file. The fold shows in the scales only: as each output has its own, the norm's factor
# changes no integer. <!-- claim: these_lines_make_the_files_weights -->
#
# The range of *activations* is not known before the net runs. It is learned from images, which is called calibration;
# there the zero point lets the 256 integers cover a range that is not symmetric.
# <!-- claim: the_error_is_half_a_step -->
#
# > **Predict.** Values between 0 and 6 get a range of 0 to 6: how large is the largest error? And with a range of 0 to
# > 1, learned from images that were too dark?


# %%
def largest_error(high):
    """Of values from 0 to 6, rounded in the range from 0 to `high`."""
    values = np.linspace(0, 6, 1001)
    _, again = phone_files.int8_values(values, 0.0, high)
    return np.max(np.abs(values - again))


print(f"range 0 to 6: the largest error is {largest_error(6):.4f}; 6 / 255 / 2 = {6 / 510:.4f}")
print(f"range 0 to 1: the largest error is {largest_error(1):g}: 6 is read as 1")


# %% [markdown]
# ## 4. What each scheme costs and gives
#
# - **fp32**: the net itself. **fp16**: weights in two bytes each; computed in float16 where the device can, else in
#   float32.
# - **dynamic**: int8 weights; activations are rounded while it runs. No calibration.
# - **int8**: everything; needs calibration, runs on nearly every NPU.
#
# > **Predict.** Order the four by size, then by accuracy. Does int8 come to a quarter of fp32?

# %%
SCHEMES = ("fp32", "fp16", "dynamic", "int8")


def all_files():
    """All schemes of both families, timed against each other; fp32 and int8 as they are."""
    kinds = [(family, scheme, True) for family in NETS for scheme in SCHEMES]
    kinds += [(family, scheme, False) for family in NETS for scheme in ("fp32", "int8")]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.tflite" for number in range(len(kinds))]
        for path, kind in zip(paths, kinds, strict=True):
            path.write_bytes(content(*kind))
        times = resdense_export.measure(paths, rounds=60)
    spreads = [tuple(row[key] for key in ("p10_ms", "median_ms", "p90_ms")) for row in times]
    return [file(*kind, latency_ms=spread) for kind, spread in zip(kinds, spreads, strict=True)]


files = all_files()
print("family    scheme   graph       kB   accuracy  agreement  latency, µs (p10 to p90)")
for row in files:
    state = "rewritten" if row.rewritten else "as it is"
    low, median, high = (1000 * value for value in row.latency_ms)
    print(f"{row.family:9} {row.scheme:8} {state:10}{row.bytes / 1000:5.0f}", end=" ")
    print(f"{row.accuracy:9.1%} {row.agreement:9.1%} {median:8.0f} ({low:.0f} to {high:.0f})")

# %%
lesson.show(
    lambda figure: phone_files.draw_files(figure, files),
    "08-files",
    alt="Size, accuracy and median latency: "
    + "; ".join(
        f"{row.family} {row.scheme} {row.bytes / 1000:.0f} kB {row.accuracy:.1%} "
        f"{1000 * row.latency_ms[1]:.0f} µs"
        for row in files
        if row.rewritten
    ),
    size=(6, 11),
)


# %%
for family in NETS:
    share = len(content(family, "int8")) / len(content(family, "fp32"))
    points = 100 * (judged(family, "int8").accuracy - judged(family, "fp32").accuracy)
    print(f"{family}: int8 has {share:.0%} of the bytes and {points:+.1f} points of accuracy")

# %% [markdown]
# Not a quarter: in nets this small, names, shapes and a scale for every channel weigh heavily beside the weights. Here
# *dynamic* is the smallest. <!-- claim: int8_is_smaller_and_as_good, dynamic_is_smaller_still --> In nets of millions
# of weights the rest does not matter.
#
# And calibration? With images at an eighth of their brightness the file converts, runs, and is wrong:

# %%
for family in NETS:
    dark = judged(family, "int8", light=0.125)
    gate = dark.gates["accuracy"]
    print(f"{family}: {dark.accuracy:.1%}; gate {'passed' if gate['passed'] else 'failed'}:")
    print(f"    {gate['detail']}")

# %% [markdown]
# No tool said a word until labelled images did. That is why `resdense export` writes no file that falls too far.
#
# ## 5. Which file to take
#
# - **A phone's CPU: int8**, if its accuracy holds; phones since about 2018 multiply 8-bit numbers natively.
# - **GPU: fp16**, which is what GPU delegates compute in. **NPU: int8**, which nearly every NPU takes; some take floats
#   too (Qualcomm's delegate documents both, Core ML runs in float16).
# - **Browser: fp16**: little more than half of the download, though nets as small as these save less (the table above;
#   docs/rewriting.md). <!-- claim: test_fp16_is_half_of_the_download -->
# - **No images to calibrate with: dynamic.**
#
# `resdense export` writes this, with the reasons and figures of your net, into the bundle's `model.json`. Then measure
# on the device.
#
# ## What this does not show
#
# > - **Your phone.** Latencies are those of this computer. These nets run in microseconds, so the start of each
# >   operator takes a large part of the time. No claim above rests on them.
# > - **Losses of large nets.** Digits hardly notice eight bits; other nets and images may.
# > - **364 test images**: one percentage point is fewer than four of them.
# >   <!-- claim: test_the_shipped_digits_nets_are_judged_on_364_images -->
# > - **Training with quantization**, which can win back part of what calibration loses.
#
# ## In your own words
#
# Explain to a friend in three sentences how a trained net becomes a small file that answers the same. Then compare:
#
# <details><summary>One answer</summary>
# A batch norm behind a convolution is multiplied into it; one in front leaves a maximum. Eight-bit numbers need a
# range for each tensor, which comes from calibration images. Whether the file still answers right, only labelled
# images tell.
# </details>
#
# **Change this number, predict, run.** Darken the calibration images to `light=0.5` instead of 0.125. Does the gate
# pass?
#
# ## Exercises
#
# Replace each body, run the cell; it says what is still missing.
#
# **1. Fold, with a bias.** Some convolutions have a bias of their own in front of their norm. Extend `fold`.


# %%
def fold_with_bias(kernel, bias, norm):
    """(inputs, outputs) kernel and (outputs,) bias, the norm behind them -> (kernel, bias)."""
    return None  # your code


phone_files.check_fold(fold_with_bias)

# %% [markdown]
# **2. Scale and zero point.** So that the range's ends become -128 and 127.


# %%
def scale_and_zero_point(low, high):
    """(scale, zero) with real = scale * (integer - zero); the zero point is an integer."""
    return None  # your code


phone_files.check_scale(scale_and_zero_point)

# %% [markdown]
# **3. Choose.** The smallest file that is accurate enough and fits.


# %%
def choose(files, least, max_kb):
    """{scheme: (kB, accuracy)} -> the scheme, or None where no file will do."""
    return "fp32"  # your code


phone_files.check_choice_of_file(choose)

# %% [markdown]
# ## Solutions
#
# <details><summary>Open after trying</summary>
#
# ```python
# def fold_with_bias(kernel, bias, norm):
#     kernel, offset = fold(kernel, norm)
#     return kernel, offset + bias * norm.gamma / np.sqrt(norm.variance + norm.epsilon)
#
#
# def scale_and_zero_point(low, high):
#     scale = (high - low) / 255
#     return scale, round(-128 - low / scale)
#
#
# def choose(files, least, max_kb):
#     good = [scheme for scheme, (size, accuracy) in files.items() if accuracy >= least and size <= max_kb]
#     return min(good, key=lambda scheme: files[scheme][0], default=None)
# ```
#
# </details>

# %% [markdown]
# ## Sources
#
# - Jacob et al.: *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
#   arXiv:1712.05877. Figure 1.1 is int8 inference, equation 1 scale and zero point, section 3.2 folding.
# - Ioffe, Szegedy: *Batch Normalization*, arXiv:1502.03167. Section 3.1: inference is one factor and one offset.
# - Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, arXiv:1608.06993. Figure 2:
#   what each norm reads.
# - Nagel et al.: *A White Paper on Neural Network Quantization*, arXiv:2106.08295. Figure 2.

# %% [markdown]
# ## Can these claims fail?
#
# All claims of this lesson, and in `BREAK` the change that must make each of them fail.


# %%
def claim_a_norm_behind_a_convolution_folds(norm_first=False):
    error = fold_error(norm_first)
    assert error < 1e-12, f"the outputs differ by {error:.0%} of the largest"


def claim_norm_and_relu_are_one_maximum(a=2.0):
    apart = maximum_error(a)
    assert apart < 1e-12, f"they differ by up to {apart:.2g}"


def claim_rewriting_changes_no_answer(scheme="fp32"):
    for family in NETS:
        apart = judged(family, scheme).max_difference
        assert apart < 1e-4, f"{family}: probabilities differ by {apart:.2g}"


def claim_the_dense_net_gains_more(more="dense", less="residual"):
    gains = lost_share(more), lost_share(less)
    assert gains[0] > gains[1] + 0.1, (
        f"{more} loses {gains[0]:.0%} of its operators, {less} {gains[1]:.0%}"
    )


def claim_a_maximum_remains_of_each_norm(rewritten=True):
    operators = judged("dense", "fp32", rewritten).operators
    left = operators.get("MUL", 0)
    assert operators.get("MAXIMUM", 0) == 15 and not left, f"{left} multiplications are left"
    norms = [layer for layer in net("dense").layers if isinstance(layer, NORM)]
    assert len(norms) == 27, f"{len(norms)} batch norms"


def claim_these_lines_make_the_files_weights(folded=True):
    integers, scales = by_hand(folded)
    theirs, their_scales = phone_files.int8_kernel(content("residual", "int8"), LAYER)
    assert integers.shape == theirs.shape == (3, 3, 10, 10)
    assert np.array_equal(integers, theirs), f"{np.mean(integers != theirs):.0%} are others"
    assert np.array_equal(by_hand(folded=False)[0], theirs)
    apart = np.abs(scales / their_scales - 1).max()
    assert apart < 1e-5, f"the scales are up to {apart:.0%} apart"


def claim_the_error_is_half_a_step(high=6.0):
    error, half_a_step = largest_error(high), 6 / 255 / 2
    assert error <= half_a_step + 1e-9, (
        f"the largest error is {error:.2f}, half a step {half_a_step:.3f}"
    )
    integers, _ = phone_files.int8_values([0.0, high], 0.0, high)
    assert list(integers) == [-128, 127]  # all 256 are used


def claim_int8_is_smaller_and_as_good(light=1.0):
    for family in NETS:
        size, whole = len(content(family, "int8")), len(content(family, "fp32"))
        found, right = judged(family, "int8", light=light), judged(family, "fp32")
        assert size < 0.75 * whole, f"{family}: {size:,} of {whole:,} bytes"
        drop = right.accuracy - found.accuracy
        assert drop <= 0.02, f"{family}: int8 loses {100 * drop:.0f} points"


def claim_dynamic_is_smaller_still(small="dynamic", large="int8"):
    for family in NETS:
        sizes = len(content(family, small)), len(content(family, large))
        assert sizes[0] < sizes[1], (
            f"{family}: {small} {sizes[0]:,} bytes, {large} {sizes[1]:,}"
        )


BREAK = {
    claim_a_norm_behind_a_convolution_folds: {"norm_first": True},
    claim_rewriting_changes_no_answer: {"scheme": "int8"},
    claim_norm_and_relu_are_one_maximum: {"a": -2.0},
    claim_these_lines_make_the_files_weights: {"folded": False},
    claim_the_dense_net_gains_more: {"more": "residual", "less": "dense"},
    claim_a_maximum_remains_of_each_norm: {"rewritten": False},
    claim_the_error_is_half_a_step: {"high": 1.0},
    claim_int8_is_smaller_and_as_good: {"light": 0.125},
    claim_dynamic_is_smaller_still: {"small": "int8", "large": "dynamic"},
}

# %%
for claim, change in BREAK.items():
    claim()
    print(lesson.refutation(claim, change))

# %%
lesson.cost()
