"""A block that is pulled out is gone, exactly, and comes back."""

import keras
import numpy as np
import pytest

import resdense_keras
from resdense_keras import RequestError
from resdense_keras.experiments import lesions

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
NETS = {
    "plain": lambda: resdense_keras.cifar_resnet(depth=8, shortcut=None, input_shape=(8, 8, 1)),
    "residual": lambda: resdense_keras.cifar_resnet(depth=8, input_shape=(8, 8, 1)),
    "bottleneck": lambda: resdense_keras.cifar_resnet(
        depth=11, block="bottleneck", shortcut="B", input_shape=(8, 8, 1)
    ),
    "pre-activation": lambda: resdense_keras.cifar_resnet(depth=8, variant="v2", input_shape=(8, 8, 1)),
    "dense": lambda: resdense_keras.cifar_densenet(depth=10, growth_rate=4, input_shape=(8, 8, 1)),
}


def trained(net):
    """The net with random weights everywhere: a fresh batch norm is nearly the identity and would hide a mistake."""
    model = NETS[net]()
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.2, 1, w.shape) * np.where(w.ndim > 1, 0.1, 1) for w in model.get_weights()])
    return model


def tensor(model, layer, images=IMAGES):
    return keras.Model(model.input, model.get_layer(layer).output).predict(images, verbose=0)


def halved(x, channels):
    """What option A's shortcut makes of x."""
    missing = channels - x.shape[-1]
    return np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


def test_blocks_are_named_in_their_order():
    assert lesions.block_names(NETS["residual"]()) == ["stage1_block1", "stage2_block1", "stage3_block1"]


@pytest.mark.parametrize("net", ["plain", "residual"])
def test_without_its_branch_a_block_hands_on_what_it_was_given(net):
    model = trained(net)
    before, shorter = tensor(model, "stem_relu"), tensor(model, "stage1_block1_relu")
    lesions.remove(model, "stage1_block1")
    np.testing.assert_allclose(tensor(model, "stage1_block1_relu"), before, rtol=1e-5)
    lesions.remove(model, "stage2_block1")
    np.testing.assert_allclose(tensor(model, "stage2_block1_relu"), halved(before, 32), rtol=1e-5)
    assert not np.allclose(before, shorter)


def test_a_preactivation_block_becomes_its_shortcut():
    model = trained("pre-activation")
    lesions.remove(model, "stage1_block1")
    np.testing.assert_allclose(tensor(model, "stage1_block1_add"), tensor(model, "stem_conv"), rtol=1e-5)


def test_a_bottleneck_becomes_its_projection():
    model = trained("bottleneck")
    lesions.remove(model, "stage1_block1")
    projected = np.maximum(tensor(model, "stage1_block1_shortcut_bn"), 0)
    np.testing.assert_allclose(tensor(model, "stage1_block1_relu"), projected, rtol=1e-5)


def test_a_dense_layer_appends_zeros():
    model = trained("dense")
    lesions.remove(model, "stage1_block1")
    out = tensor(model, "stage1_block1_concat")
    np.testing.assert_array_equal(out[..., :8], tensor(model, "stem_conv"))
    assert out.shape[-1] == 12 and not out[..., 8:].any()


def test_a_study_leaves_the_weights_as_they_were():
    model = trained("dense")
    before = model.get_weights()
    labels = np.argmax(model.predict(IMAGES, verbose=0), axis=-1)
    curve = lesions.lesion_curve(model, IMAGES, labels)
    assert curve["whole"] == 1 and list(curve["blocks"]) == lesions.block_names(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_what_cannot_be_left_out_is_refused():
    with pytest.raises(RequestError, match="unknown block 'stage1_block2'"):
        lesions.remove(NETS["residual"](), "stage1_block2")
    model = resdense_keras.cifar_resnet(depth=8, variant="v2", shortcut=None, input_shape=(8, 8, 1))
    with pytest.raises(RequestError, match="it cannot be left out"):
        lesions.remove(model, "stage1_block1")
