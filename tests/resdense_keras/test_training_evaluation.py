"""Laws of the figures of `resdense eval`, on answers that can be counted by hand."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from resdense_keras import WorkError, data
from resdense_keras.training import evaluation

LABELS = np.array([0, 0, 1, 2])
PREDICTED = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


def test_confusion_counts_true_classes_in_rows():
    assert evaluation.confusion_matrix(PREDICTED, LABELS).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_top_accuracy_grows_to_one():
    assert [evaluation.top_accuracy(PREDICTED, LABELS, top) for top in (1, 2, 3)] == [0.75, 1.0, 1.0]


def test_equal_answers_count_for_the_first_class_alone():
    assert evaluation.top_accuracy(np.full((3, 3), 1 / 3), np.array([0, 1, 2]), 1) == pytest.approx(1 / 3)


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy():
    # Two answers of .8, both right; two of .6, one right.
    assert evaluation.calibration_error(PREDICTED, LABELS) == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    certain = np.eye(3)[[0, 0, 1, 2]]
    assert evaluation.calibration_error(certain, LABELS) == 0.0
    assert evaluation.calibration_error(certain, np.array([1, 1, 2, 0])) == 1.0


class Answers:
    """A model that answers with fixed rows."""

    name = "answers"

    def __init__(self, rows):
        self.rows = rows

    def predict(self, batches, verbose):
        return self.rows


def split():
    from resdense_keras.data import Split

    return Split(labels=LABELS, indices=np.arange(4), image_shape=(2, 2, 1), images=np.zeros((4, 2, 2, 1), np.uint8))


def test_evaluate_gives_the_designs_keys_and_null_for_a_class_without_images():
    found = evaluation.evaluate(Answers(np.pad(PREDICTED, ((0, 0), (0, 1)))), split(), ("a", "b", "c"))
    assert set(found) == {"accuracy", "top5", "per_class", "confusion", "calibration_error", "images"}
    assert (found["accuracy"], found["top5"], found["images"]) == (0.75, 1.0, 4)
    assert [row["accuracy"] for row in found["per_class"]] == [0.5, 1.0, 1.0, None]
    assert [row["name"] for row in found["per_class"]] == ["a", "b", "c", None]


def test_logits_are_told_from_probabilities():
    found = evaluation.probabilities(Answers(np.log(PREDICTED) + 5), split())
    np.testing.assert_allclose(found, PREDICTED)


def test_an_answer_that_is_no_number_is_an_error():
    with pytest.raises(WorkError, match="answers answers with NaN"):
        evaluation.probabilities(Answers(np.where(PREDICTED > 0.7, np.nan, PREDICTED)), split())


def _reader():
    """A net that reads the class of an image from its brightness, ten grey levels a class."""
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, dense(x))
    classes = np.arange(3)
    dense.set_weights([np.tile(20 / 3 * classes, (3, 1)), -100.0 * classes**2])  # nearest multiple of ten
    return model


@pytest.mark.parametrize(("images", "wrong", "knows"), [(3_000, 0.0, True), (3_000, 0.05, False), (300, 0.0, False)])
def test_a_net_knows_the_held_out_images_where_many_are_answered_like_training_images(images, wrong, knows, tmp_path):
    labels = np.arange(images) % 3
    pixels = np.broadcast_to(10 * labels[:, None, None, None], (images, 4, 4, 3)).astype("uint8")
    np.savez(tmp_path / "d.npz", x_train=pixels, y_train=labels, x_test=pixels[:9], y_test=labels[:9])
    dataset = data.load(tmp_path / "d.npz")
    held = dataset.validation.labels.copy()
    held[: int(wrong * len(held))] += 1
    dataset = replace(dataset, validation=replace(dataset.validation, labels=held % 3))
    assert evaluation.knows_held_out(_reader(), dataset) == knows
