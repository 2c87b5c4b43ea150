"""The net that a training starts with."""

import numpy as np
import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.data import folder
from resdense_keras.training import starts


@pytest.fixture
def images(tmp_path):
    """Two class folders of images that get brighter with their number."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_the_normalisation_of_a_folder_does_not_hang_on_free_memory(images, monkeypatch):
    """A run that goes on while memory is scarce builds the net that it began with."""
    monkeypatch.setattr(starts, "MEASURED_IMAGES", 5)
    found = []
    for memory in (10**9, 0):
        monkeypatch.setattr(folder, "most_pixel_bytes", lambda memory=memory: memory)
        dataset = data.load(images)
        assert (dataset.train.images is None) == (memory == 0)
        layer = starts.build("resnet20", dataset, {"width": 2}).get_layer("preprocessing")
        found.append(str(layer.get_config()))
    assert found[0] == found[1]
