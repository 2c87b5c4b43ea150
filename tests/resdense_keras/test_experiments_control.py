"""Laws behind lesson 1's control: only the place of the maps differs."""

import numpy as np
import pytest

from resdense_keras.errors import RequestError
from resdense_keras.experiments import small_nets
from resdense_keras.experiments.add_or_concatenate import control


def test_appending_by_padding_is_the_librarys_dense_block_and_adding_is_not():
    assert control.distance_to_the_library("append") < 1e-5
    assert control.distance_to_the_library("add, narrow") > 0.1


def test_where_the_maps_land_costs_no_weight_and_a_wider_stem_only_its_own():
    append, add, narrow = map(control.parameters, control.JOINS)
    assert append == narrow
    assert add - append == 9 * (control.DIGITS.width - control.DIGITS.stem)


@pytest.mark.parametrize("join, filled", [("append", control.DIGITS.width), ("add, narrow", control.DIGITS.stem)])
def test_appended_maps_fill_the_width_and_narrow_sums_only_the_stem(join, filled):
    model = control.net(join)
    small_nets.draw(model, 0)
    last = small_nets.running_features(model, small_nets.digits()[1].images[:4])[-1]
    assert last.shape[-1] == control.DIGITS.width
    assert np.count_nonzero(np.abs(last).max(axis=(0, 1, 2))) == filled


def test_an_unknown_join_is_named():
    with pytest.raises(ValueError, match="join='mul' was given"):
        control.net("mul")


def test_the_larger_nets_differ_in_nothing_but_the_place_either():
    append, add, narrow = (control.parameters(join, control.CIFAR10) for join in control.JOINS)
    assert append == narrow
    assert add - append == 9 * 3 * (control.CIFAR10.width - control.CIFAR10.stem)  # 3 channels of colour
    shapes = [control.net(join, control.CIFAR10).get_layer("head_relu").output.shape for join in control.JOINS]
    assert shapes == [(None, 8, 8, control.CIFAR10.width)] * 3


def test_images_other_than_cifar10s_are_refused(tmp_path):
    path = tmp_path / "small.npz"
    images, labels = np.zeros((4, 32, 32, 3), "uint8"), np.zeros(4, "int64")
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(RequestError, match=r"has 4 and 4 images of \(32, 32, 3\)"):
        control.cifar10(path)
