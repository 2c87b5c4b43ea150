"""Our nets answer as torchvision's and timm's own do, with the same tensors in them, and no PyTorch here.

tests/parity/record.py recorded the originals' names, shapes and answers; the tensors are drawn again from those names.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import resdense_keras

PARITY = Path(__file__).parents[1] / "parity"
RECORD = json.loads((PARITY / "record.json").read_text())
TOLERANCE = 1e-4  # of the largest logit; float32 sums in another order give 1e-6
OURS = {"resnet50d": "resnet50_vd"}  # where our name is another
QUICK = {"torchvision/resnet18", "timm/resnet50", "timm/resnet50d", "torchvision/densenet121"}


def load_draw():
    """tests/parity/draw.py, which record.py imports from beside it."""
    spec = importlib.util.spec_from_file_location("parity_draw", PARITY / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw = load_draw()


def shapes_of(net):
    return draw.expand(RECORD["state_dicts"][RECORD["nets"][net]["state_dict"]])


def recorded_logits(net):
    return np.array(RECORD["nets"][net]["logits"].split(), "float64")


def build(net):
    name = net.partition("/")[2]
    return resdense_keras.create(
        OURS.get(name, name), classifier_activation=None, input_shape=(*draw.IMAGE_SHAPE[2:], 3)
    )


def difference(model, net):
    """Largest difference between our logits and the original's, as a fraction of the largest logit."""
    expected = recorded_logits(net)
    found = np.asarray(model(draw.image().transpose(0, 2, 3, 1)))[0]
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def resnet18():
    """(net, its drawn tensors): the smallest original, for the tests of what must not pass."""
    return build("timm/resnet18"), draw.state_dict(shapes_of("timm/resnet18"))


def test_the_record_holds_every_original():
    resnets = ["resnet18", "resnet34", "resnet50", "resnet101"]
    densenets = ["densenet121", "densenet161", "densenet169", "densenet201"]
    assert sorted(RECORD["nets"]) == sorted(
        [f"{package}/{name}" for package in ("timm", "torchvision") for name in resnets + densenets]
        + ["timm/resnet50d"]
    )
    assert RECORD["versions"].keys() == {"torch", "torchvision", "timm", "numpy"}


@pytest.mark.parametrize("net", RECORD["nets"])
def test_the_recorded_names_and_shapes_have_their_checksum(net):
    shapes = shapes_of(net)
    assert draw.fingerprint(shapes) == RECORD["nets"][net]["state_dict"]
    assert draw.expand(draw.compact(shapes)) == shapes
    assert len(recorded_logits(net)) == 1000 and np.isfinite(recorded_logits(net)).all()


@pytest.mark.parametrize(
    "net", [net if net in QUICK else pytest.param(net, marks=pytest.mark.slow) for net in RECORD["nets"]]
)
def test_a_net_answers_as_the_original_does(net, tmp_path):
    save_file(draw.state_dict(shapes_of(net)), tmp_path / "original.safetensors")
    model = resdense_keras.load_weights(build(net), tmp_path / "original.safetensors")
    assert difference(model, net) < TOLERANCE


def test_an_npz_file_holds_the_same(resnet18, tmp_path):
    model, tensors = resnet18
    np.savez(tmp_path / "original.npz", **tensors)
    assert difference(resdense_keras.load_weights(model, tmp_path / "original.npz"), "timm/resnet18") < TOLERANCE


@pytest.mark.parametrize(
    "name",
    ["conv1.weight", "layer1.0.bn2.bias", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"],
)
def test_one_changed_weight_breaks_the_comparison(name, resnet18, tmp_path):
    """One number of 11.7 million."""
    model, tensors = resnet18
    changed = tensors[name].copy()
    changed.flat[changed.size // 2] += 1
    save_file({**tensors, name: changed}, tmp_path / "changed.safetensors")
    assert difference(resdense_keras.load_weights(model, tmp_path / "changed.safetensors"), "timm/resnet18") > TOLERANCE


def test_a_tensor_in_the_wrong_layout_breaks_the_comparison(resnet18, tmp_path):
    """A 3x3 kernel with its sides swapped has the right shape."""
    model, tensors = resnet18
    swapped = np.ascontiguousarray(tensors["layer1.0.conv1.weight"].transpose(0, 1, 3, 2))
    save_file({**tensors, "layer1.0.conv1.weight": swapped}, tmp_path / "swapped.safetensors")
    assert difference(resdense_keras.load_weights(model, tmp_path / "swapped.safetensors"), "timm/resnet18") > TOLERANCE


def test_a_renamed_tensor_is_an_error_that_names_both_sides(resnet18, tmp_path):
    model, tensors = resnet18
    renamed = {name.replace("layer3.1.conv2", "layer3.1.conv9"): tensor for name, tensor in tensors.items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    with pytest.raises(ValueError) as caught:
        resdense_keras.load_weights(model, tmp_path / "renamed.safetensors")
    assert "'layer3.1.conv9.weight' (256, 256, 3, 3)" in str(caught.value)
    assert "stage3_block2_conv2/kernel (3, 3, 256, 256)" in str(caught.value)


def test_a_missing_tensor_is_an_error_that_names_its_place(resnet18, tmp_path):
    model, tensors = resnet18
    save_file({name: tensor for name, tensor in tensors.items() if name != "fc.bias"}, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"1 without a tensor in the file: predictions/bias \(1000,\)"):
        resdense_keras.load_weights(model, tmp_path / "less.safetensors")
