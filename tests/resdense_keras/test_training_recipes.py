"""Laws of the recipes: every number has a source, the papers' are the papers', and a wrong one is named."""

import pytest
import yaml

from resdense_keras import RequestError
from resdense_keras.training import RECIPES, Recipe, recipe
from resdense_keras.training.recipes import FIELDS, TABLE, describe

STEPS = 352  # of 45,000 images in batches of 128


@pytest.mark.parametrize("name", TABLE)
def test_every_number_of_a_recipe_has_a_source(name):
    assert tuple(TABLE[name]) == FIELDS
    assert all(source.strip() for _, source in TABLE[name].values())


def test_paper_is_the_familys_own():
    he, huang = recipe("paper", "resnet56"), recipe("paper", "densenet_bc100_12")
    assert (he.batch_size, huang.batch_size) == (128, 64)
    assert abs(he.epochs * STEPS - 64_000) < STEPS  # He et al. 2015, section 4.2
    assert huang.epochs == 300
    for paper in (he, huang):
        assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.1, 0.9, 1e-4)
        assert paper.drops_at == (0.5, 0.75)
    assert recipe("paper", "plain20") == he


def test_show_is_yaml_that_reads_back_as_the_recipe(tmp_path):
    for name, row in RECIPES.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(describe(name))
        assert recipe(str(path)) == row
        assert describe(name).count("#") == 1 + len(FIELDS)


def test_flags_override_and_show_says_so():
    changed = recipe("fast", epochs=3, learning_rate=None)
    assert (changed.epochs, changed.learning_rate) == (3, RECIPES["fast"].learning_rate)
    assert "epochs: 3  # as given" in describe("fast", chosen=changed)


@pytest.mark.parametrize(
    "text, message",
    [
        ("base: fast\nlearning_rat: 0.1", "learning_rat.*did you mean `learning_rate`"),
        ("epochs: 3", "lacks batch_size, learning_rate"),
        ("base: fats", "did you mean `fast`"),
        ("base: paper", "paper is a recipe for each family"),
        ("base: fast\nepochs: 0", "epochs=0 was given"),
        ("base: fast\nepochs: many", "epochs='many' was given"),
        ("base: fast\nmomentum: 1.0", "momentum=1.0 was given; it must be a number from 0 and below 1"),
        ("base: fast\nlearning_rate: .nan", "learning_rate=nan was given"),
        ("base: fast\naugment: [mirorr]", "did you mean `mirror`"),
        ("base: fast\naugment: 3", "wrong kind"),
        ("base: fast\nschedule: step", "did you mean `steps`"),
        ("- 1", "not a mapping"),
        ("{", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        recipe(str(path))


def test_an_unknown_recipe_and_an_unknown_field_name_the_nearest():
    with pytest.raises(RequestError, match="did you mean `finetune`"):
        recipe("finetun")
    with pytest.raises(RequestError, match="did you mean `batch_size`"):
        recipe("fast", batchsize=3)


def test_a_recipe_survives_yaml():
    row = RECIPES["imagenet"]
    assert Recipe(**yaml.safe_load(yaml.safe_dump(row.as_dict()))) == row


def test_schedules_rise_fall_and_end_as_they_say():
    from resdense_keras.training.schedules import Schedule

    def rates(**changes):
        schedule = Schedule(recipe("fast", epochs=10, learning_rate=1.0, **changes), 10)
        return [float(schedule(step)) for step in range(100)]

    linear, cosine = rates(), rates(schedule="cosine")
    steps = rates(schedule="steps", drops_at=(0.5, 0.75), warmup=0.0)
    assert linear[0] == pytest.approx(1 / 20) and linear[19] == 1.0 and linear[99] == pytest.approx(1 / 80)
    assert cosine[20] == 1.0 and cosine[60] == pytest.approx(0.5) and cosine[99] < 1e-3
    assert [steps[step] for step in (0, 49, 50, 74, 75)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
