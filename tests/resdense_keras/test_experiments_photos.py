"""Laws behind lesson 9: drawings are pictures of five shapes, a folder is read, exercises know wrong answers."""

import numpy as np
import pytest

from resdense_keras.experiments import lesson
from resdense_keras.experiments.which_one_for_my_photos import photos


@pytest.fixture(scope="module")
def drawings():
    return photos.folder()


def test_the_drawings_are_small_pictures_of_five_shapes(drawings):
    assert drawings.class_names == tuple(sorted(photos.SHAPES))
    assert drawings.images.shape == (80, 32, 32, 3) and drawings.test_images.shape == (120, 32, 32, 3)
    assert drawings.images.dtype == np.float32 and 0 <= drawings.images.min() < drawings.images.max() <= 255
    assert np.bincount(drawings.labels).tolist() == [16] * 5


def test_the_drawings_are_the_same_every_time(tmp_path, drawings):
    again = photos.folder(str(photos.write_drawings(tmp_path)))
    np.testing.assert_array_equal(again.images, drawings.images)


def test_at_most_so_many_of_a_class_are_taken(tmp_path):
    photos.write_drawings(tmp_path, per_class=6, tests_per_class=3)
    found = photos.folder(str(tmp_path), 2)
    assert np.bincount(found.labels).tolist() == np.bincount(found.test_labels).tolist() == [2] * 5


def test_a_folder_that_is_none_stops_with_a_hint(tmp_path):
    with pytest.raises(SystemExit, match="hint: "):
        photos.folder(str(tmp_path / "missing"))


def test_pictures_are_drawn(drawings):
    found = {(family, "fresh"): (0.5, 0.6) for family in photos.NETS}
    estimates = {key: type("Interval", (), {"low": 0.4, "high": 0.7}) for key in found}
    for draw in (
        lambda figure: photos.draw_examples(figure, drawings),
        lambda figure: photos.draw_accuracies(figure, found, estimates, 0.2),
    ):
        assert lesson.render(draw, (6, 3)).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "check, answer, message",
    [
        (photos.check_guessing, lambda labels: 1 / len(set(labels)), "gave 0.5, not 0.75"),
        (photos.check_overlap, lambda first, second: first[1] > second[1], "gave False, not True"),
        (photos.check_choose, lambda nets, tie, most: max(nets, key=lambda name: nets[name][0]), "gave 'c', not 'a'"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(check, answer, message, capsys):
    check(answer)
    assert message in capsys.readouterr().out
