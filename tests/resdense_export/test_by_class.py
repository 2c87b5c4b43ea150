"""How often a file is right on each class."""

import base64

import numpy as np

from resdense_export.by_class import right_by_class


def test_the_classes_are_counted_from_the_bits_of_our_files_in_the_order_of_the_outputs():
    labels, right = np.array([1, 0, 1, 1, 0]), np.array([True, False, False, True, True])
    bits = base64.b64encode(np.packbits(right)).decode()
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
