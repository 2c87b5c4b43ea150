"""Which images a file is right on, as bits, and how often on each class."""

import numpy as np
import pytest

from resdense_export.right_answers import packed, right_by_class, unpacked, worst_first


def test_the_classes_are_counted_from_the_bits_of_our_files_in_the_order_of_the_outputs():
    labels, right = np.array([1, 0, 1, 1, 0]), np.array([True, False, False, True, True])
    bits = packed(right)
    ours = {"converter": "rewritten", "scheme": "int8", "right": bits}
    rows = right_by_class([ours, {**ours, "converter": "stock"}], labels, ["a", "b", "c"])
    assert [(row["name"], row["images"], row["right"]) for row in rows] == [
        ("a", 2, {"int8": 1}),
        ("b", 3, {"int8": 2}),
        ("c", 0, {"int8": 0}),
    ]
    assert right_by_class([ours], labels, None)[1]["name"] == "1"
    assert right_by_class([{**ours, "right": None}], labels, None) is None
    assert right_by_class([ours | {"right": None}], None, ["a"]) is None


def test_bits_come_back_and_what_is_no_base64_is_told():
    for images in (0, 1, 8, 13):
        right = np.random.default_rng(images).random(images) < 0.5
        np.testing.assert_array_equal(unpacked(packed(right), images), right)
        assert unpacked(packed(right)).sum() == right.sum()
    with pytest.raises(ValueError):
        unpacked("no base64!")


def test_the_worst_classes_come_first_and_a_class_without_images_is_none_of_them():
    rows = [
        {"name": name, "images": images, "right": {"fp32": 9, "int8": int8}}
        for name, images, int8 in (("a", 10, 9), ("b", 0, 0), ("c", 10, 2), ("d", 20, 4))
    ]
    assert [row["name"] for row in worst_first(rows)] == ["c", "d", "a"]
    assert worst_first(()) == []
