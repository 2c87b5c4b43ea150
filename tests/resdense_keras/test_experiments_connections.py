"""Laws behind lesson 1, and the reference solutions of its exercises beside wrong answers that must be refused."""

import keras
import numpy as np
import pytest
from keras import layers

from resdense_keras import profile
from resdense_keras.experiments.add_or_concatenate import connections

# Chains


@pytest.mark.parametrize(
    "connection, widths",
    [("plain", [24, 24, 24]), ("residual", [24, 24, 24]), ("dense", [36, 48, 60])],
)
def test_each_connection_has_its_widths(connection, widths):
    blocks = connections.by_block(connections.chain(connection, 3, size=8))
    assert [block.writes for block in blocks] == widths
    assert [block.reads for block in blocks] == [24, *widths[:-1]]


@pytest.mark.parametrize("connection", connections.CONNECTIONS)
def test_the_blocks_parameters_are_all_of_the_chains(connection):
    model = connections.chain(connection, 3, size=8)
    assert sum(block.parameters for block in connections.by_block(model)) == profile(model).trainable


def test_appended_channels_lie_apart_added_ones_together_and_plain_ones_are_replaced():
    held = {name: connections.holdings(connections.chain(name, 2, size=8))[-1] for name in connections.CONNECTIONS}
    assert held == {
        "plain": {2: range(24)},
        "residual": {0: range(24), 1: range(24), 2: range(24)},
        "dense": {0: range(24), 1: range(24, 36), 2: range(36, 48)},
    }
    assert list(connections.bands(held["residual"]))[1] == (1, range(24), 1, 3)
    assert list(connections.bands(held["dense"]))[1] == (1, range(24, 36), 0, 1)


def test_the_channels_of_a_source_hold_what_its_block_computed():
    """Read off numbers: whatever a dense block i appends is the same in every later output."""
    model = connections.chain("dense", 3, width=5, growth_rate=2, size=4)
    joined = [layer.output for layer in model.layers if isinstance(layer, layers.Concatenate)]
    first, second, third = keras.Model(model.inputs[0], joined)(np.random.default_rng(0).normal(size=(1, 4, 4, 5)))
    channels = connections.holdings(model)[-1]
    np.testing.assert_array_equal(first[..., 5:], np.asarray(third)[..., channels[1]])
    np.testing.assert_array_equal(np.asarray(second)[..., 7:], np.asarray(third)[..., channels[2]])


def test_an_unknown_connection_is_named():
    with pytest.raises(ValueError, match="connection='sum' was given; allowed: 'plain', 'residual', 'dense'"):
        connections.chain("sum", 2)


def test_memory_is_a_line_for_residual_and_recomputed_blocks_and_a_parabola_for_dense_ones():
    depths = np.array([4, 8, 12, 16])

    def second_differences(connection, **options):
        return np.diff([connections.activation_mib(connection, int(d), **options) for d in depths], n=2)

    assert np.allclose(second_differences("residual"), 0)
    assert np.allclose(second_differences("dense", recompute=True), 0)
    curved = second_differences("dense")
    assert (curved > 1).all() and np.allclose(curved, curved[0])


def test_a_recomputed_chain_answers_as_the_plain_one_with_its_weights():
    def by_name(model):
        return {"/".join(weight.path.split("/")[-2:]): weight for weight in model.weights}

    plain, recomputed = (connections.chain("dense", 2, width=6, size=8, recompute=choice) for choice in (False, True))
    connections.difference(plain, plain)  # draws its weights
    assert set(by_name(recomputed)) == set(by_name(plain))
    for name, weight in by_name(recomputed).items():
        weight.assign(by_name(plain)[name])
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype("float32")
    np.testing.assert_allclose(recomputed(images), plain(images), atol=1e-6)


# Comparing


def test_difference_is_zero_for_the_same_net_and_sees_a_missing_addition():
    def net(connection):
        return connections.chain(connection, 1, width=4, size=8)

    assert connections.difference(net("residual"), net("residual")) == 0
    assert connections.difference(net("plain"), net("residual")) > 0.1


def test_difference_refuses_outputs_of_different_shapes():
    inputs = keras.Input((4, 4, 3))
    pooled = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 4, 4, 3\) and \(2, 3\) cannot be compared"):
        connections.difference(keras.Model(inputs, layers.ReLU()(inputs)), pooled)


def test_a_difference_with_nan_is_nan():
    inputs = keras.Input((4, 4, 3))
    broken = keras.Model(inputs, keras.ops.log(inputs))  # of negative numbers too
    assert np.isnan(connections.difference(broken, keras.Model(inputs, layers.ReLU()(inputs))))


def test_a_sum_gives_all_of_x_plus_y_nothing_of_x_minus_y_and_half_of_x():
    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 3))
    lost = [connections.lost_by_adding(target, x, y) for target in (x + y, x - y, x)]
    assert lost == pytest.approx([0, 1, 0.5], abs=0.02)


# The four words


@pytest.mark.parametrize("bottleneck", [False, True])
def test_compression_halves_what_a_transition_hands_on(bottleneck):
    whole, half = (
        connections.densenet_size(bottleneck=bottleneck, compression=share, blocks=(2, 2)) for share in (1.0, 0.5)
    )
    assert whole.channels == (24, 48, 48, 72)
    assert half.channels == (24, 48, 24, 48)
    assert half.parameters < whole.parameters


@pytest.mark.parametrize("bottleneck, expected", [(False, 9 * 50 * 12 + 100), (True, 50 * 48 + 100 + 9 * 48 * 12 + 96)])
def test_a_dense_layers_parameters_are_its_convolutions_and_batch_norms(bottleneck, expected):
    assert connections.layer_parameters(50, bottleneck=bottleneck) == expected


@pytest.mark.parametrize("layer", [layers.Add, layers.Concatenate])
def test_only_maps_of_one_size_join(layer):
    assert connections.joins(layer(), (8, 8, 3), (8, 8, 3))
    assert not connections.joins(layer(), (8, 8, 3), (4, 4, 3))


# Exercises: reference solutions, and answers of those who have not understood


def conv(x, filters):
    return layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)


def norm(x):
    return layers.BatchNormalization(epsilon=1e-5)(x)


def tied_kernel(kernel, sources):
    return np.concatenate([kernel] * sources, axis=2)


def head_width(blocks, growth_rate, compression, stem_width):
    width = stem_width
    for stage, depth in enumerate(blocks, start=1):
        width += depth * growth_rate
        if stage < len(blocks):
            width = int(compression * width)
    return width


def break_even(growth_rate):
    """9Ck + 2C > 4Ck + 2C + 36kk + 8k, so 5C > 36k + 8."""
    return (36 * growth_rate + 8) // 5 + 1


def dense_block(x, depth, growth_rate):
    for _ in range(depth):
        x = layers.Concatenate()([x, conv(layers.ReLU()(norm(x)), growth_rate)])
    return x


def reads_only_the_newest(x, depth, growth_rate):
    maps = [x]
    for _ in range(depth):
        maps.append(conv(layers.ReLU()(norm(maps[-1])), growth_rate))
    return layers.Concatenate()(maps)


def convolves_before_it_normalizes(x, depth, growth_rate):
    for _ in range(depth):
        x = layers.Concatenate()([x, layers.ReLU()(norm(conv(x, growth_rate)))])
    return x


def forgets_the_relu(x, depth, growth_rate):
    for _ in range(depth):
        x = layers.Concatenate()([x, conv(norm(x), growth_rate)])
    return x


SOLVED = [
    (connections.check_tied_kernel, tied_kernel),
    (connections.check_head_width, head_width),
    (connections.check_break_even, break_even),
    (connections.check_dense_block, dense_block),
]
UNSOLVED = [
    (connections.check_tied_kernel, lambda kernel, sources: None, "has shape None"),
    (connections.check_tied_kernel, lambda kernel, sources: kernel, "has shape (3, 3, 5, 4)"),
    (connections.check_tied_kernel, lambda kernel, sources: np.repeat(kernel, sources, axis=2), "outputs differ by"),
    (connections.check_tied_kernel, lambda kernel, sources: tied_kernel(kernel / 2, sources), "outputs differ by"),
    (connections.check_tied_kernel, lambda kernel, n: tied_kernel(kernel * np.nan, n), "differ by up to nan"),
    (connections.check_head_width, lambda *net: None, "head_width((3,), 4, 0.5, 8) gave None, not 20"),
    (connections.check_head_width, lambda blocks, k, _, stem: stem + sum(blocks) * k, "((2, 3), 4, 0.5, 8) gave 28"),
    (connections.check_break_even, lambda k: None, "gave None; it should be a whole number"),
    (connections.check_break_even, lambda k: 7.2 * k, "gave 28.8; it should be a whole number"),
    (connections.check_break_even, lambda k: break_even(k) - 1, "not smaller"),
    (connections.check_break_even, lambda k: break_even(k) + 1, "already makes it smaller"),
    (connections.check_dense_block, lambda x, depth, k: None, "your code stopped with"),
    (connections.check_dense_block, reads_only_the_newest, "the convolutions read [6, 4, 4] channels"),
    (connections.check_dense_block, convolves_before_it_normalizes, "your code stopped with ValueError"),
    (connections.check_dense_block, forgets_the_relu, "the output differs by"),
]


@pytest.mark.parametrize("check, solution", SOLVED)
def test_the_reference_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize("check, answer, message", UNSOLVED)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and message in printed
