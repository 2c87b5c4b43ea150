"""Sentences with numbers or comparisons are backed: each names a claim of a lesson, which can fail, or a test."""

import ast
import inspect
import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
spec = spec_from_file_location("prose", Path(__file__).parent / "prose.py")
prose = module_from_spec(spec)
spec.loader.exec_module(prose)

LESSONS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
EXPLAINER = ROOT / "docs" / "explainer" / "index.html"
PAGES = (*LESSONS, ROOT / "README.md", ROOT / "FAQ.md", ROOT / "docs" / "difference.md", EXPLAINER)


def text(page):
    """A page's text as Markdown: of a lesson its text cells, of the explainer its paragraphs."""
    if page.suffix == ".py":
        return "\n\n".join(cell.source for cell in jupytext.read(page).cells if cell.cell_type == "markdown")
    if page.suffix == ".html":
        found = re.findall(r"<(p|li|figcaption|summary)\b[^>]*>(.*?)</\1>", page.read_text(), re.DOTALL)
        return "\n\n".join(re.sub(r"\s+", " ", re.sub(r"<(?!!--)[^>]*>", "", inside)) for _, inside in found)
    return page.read_text()


def claims(script):
    """Names of a lesson's claims that its table BREAK makes fail, without `claim_`."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "BREAK":
            return {key.id.removeprefix("claim_") for key in node.value.keys}
    return set()


@pytest.fixture(scope="session")
def known():
    """All names that a tag may have."""
    tests = {
        name
        for path in ROOT.joinpath("tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    return tests.union(*map(claims, LESSONS))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_sentence_with_a_number_or_a_comparison_names_what_backs_it(page):
    found = prose.unbacked(text(page))
    assert not found, f"write <!-- claim: NAME --> behind it, print it from code, or leave it out: {found}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_is_that_of_a_claim_that_can_fail_or_of_a_test(page, known):
    assert sorted(set(prose.tags(text(page))) - known) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The dense net has 12 channels.",
        "It loses 3.5 %.",
        "Dense nets are faster.",
        "This is the *smallest* file.",
        "It takes twice the memory.",
        "First a sentence. Then one that says less.",
        "- an item that has 4 maps;",
        "| a row | 8 |",
        "It has 12 layers. <!-- claim: backed --> And 13 of another kind.",
        "It is larger. <!-- not a claim: name -->",
    ],
)
def test_a_sentence_without_its_claim_is_found(sentence):
    assert len(prose.unbacked(f"## Title\n\nNothing is said here.\n\n{sentence}\n")) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Lesson 2 and figure 3 show it.",
        "Is it larger than 5?",
        "He et al. trained for 64,000 steps.",
        "Huang, arXiv:1608.06993: figure 5.",
        "Measured on 2026-11-28.",
        "ResNet-50 and CIFAR-10 in float32, with a 3x3 kernel.",
        "The code `x = 12` and [a link](page-12.md).",
        "**Not which net is better.**",
        "    a line of code = 12",
        "> **Predict.** 12 layers or more?",
        "It has 12 layers. <!-- claim: backed -->",
        "It has 12 layers, and it is larger. It is. <!-- claim: backed, other -->",
    ],
)
def test_what_states_nothing_and_what_is_backed_passes(sentence):
    assert prose.unbacked(f"## Title\n\n{sentence}\n") == []


def test_a_tag_without_such_a_claim_is_found(known):
    assert set(prose.tags("It is 5. <!-- claim: the_moon_is_larger -->")) - known == {"the_moon_is_larger"}


def test_a_claim_that_no_change_breaks_backs_nothing(tmp_path):
    script = tmp_path / "01_lesson.py"
    script.write_text("def claim_a():\n    pass\n\n\ndef claim_b():\n    pass\n\n\nBREAK = {claim_b: {}}\n")
    assert claims(script) == {"b"}


# What the lessons' and pages' sentences say of the nets, where no lesson's claim does


def test_the_nets_are_as_the_lessons_describe_them():
    from resdense_keras.experiments import small_nets
    from resdense_keras.experiments.pull_a_layer_out import lesion_study
    from resdense_keras.experiments.what_it_costs import costs
    from resdense_keras.experiments.where_the_gradient_goes import gradients

    training, test = small_nets.digits()
    assert training.images.shape == (1437, 8, 8, 1) and len(test.labels) == 360
    assert (small_nets.WIDTH, small_nets.GROWTH_RATE, small_nets.BATCH, small_nets.EPOCHS) == (16, 4, 64, 6)
    assert small_nets.EPOCHS * (len(training.labels) // small_nets.BATCH) == 132 and small_nets.WARM_UP_EPOCHS == 1
    net = small_nets.net("residual", 20)
    assert net.get_layer("stem_conv").output.shape == (None, 4, 4, 16)
    assert net.get_layer("stage1_block9_conv2").kernel.shape == (3, 3, 16, 16)
    dense = small_nets.net("dense", 20)
    assert dense.get_layer("stage1_block18_conv1").kernel.shape == (3, 3, 16 + 17 * 4, 4)
    assert lesion_study.width_of_the_head("dense") == 88
    defaults = inspect.signature(gradients.line.__wrapped__).parameters["width"].default
    book = {
        name: row.default for name, row in inspect.signature(gradients.textbook_line.__wrapped__).parameters.items()
    }
    assert defaults == 100 and (book["depth"], book["width"]) == (24, 200)
    assert (costs.RESIDUAL_DEPTH, costs.DENSE_DEPTH) == (14, 16)


def test_the_shipped_digits_nets_are_judged_on_364_images():
    from resdense_keras import data

    assert len(data.load("digits").test.labels) == 364


def test_the_shipped_nets_were_trained_as_lesson_5_says():
    shipped = ROOT / "resdense_keras" / "weights" / "shipped"
    for name, epochs, decay in (("densenet_bc28_6_digits-digits", 60, 1e-4), ("densenet_bc22_16-cifar10", 10, 5e-4)):
        record = json.loads((shipped / f"{name}.json").read_text())
        config = json.dumps(record)
        assert f'"epochs": {epochs}' in config and f'"weight_decay": {decay}' in config, name


def test_the_smallest_block_of_lesson_8_has_so_many_weights():
    import keras
    from keras import layers

    x = keras.Input((8, 8, 12))
    plain = keras.Model(x, layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(x)))
    folded = keras.Model(x, layers.Conv2D(12, 1)(x))
    trained = sum(weight.shape.num_elements() for weight in plain.trainable_weights)
    assert (trained, folded.count_params()) == (12 * 12 + 24, 12 * 12 + 12)
    assert plain.count_params() - trained == 24


def test_the_digits_folder_has_five_training_images_a_class(tmp_path):
    from resdense_keras.experiments.build_train_tell_apart import recognition

    recognition.write_digits(tmp_path)
    assert len(list((tmp_path / "train").rglob("*.png"))) == 50
    assert recognition.EPOCHS * 50 // recognition.BATCH == 75


def test_the_readme_says_the_epochs_of_every_recipe():
    from resdense_keras.training.recipes import OFFERED, RECIPES

    readme = (ROOT / "README.md").read_text()
    listed = re.findall(r"^- `(\w+)` \((.*? epochs.*?)\)", readme, re.MULTILINE)
    said = {name: [int(number) for number in re.findall(r"\d+", text)] for name, text in listed}
    rows = {name: [row for row in RECIPES if row.partition("-")[0] == name] for name in OFFERED if name != "slim"}
    assert said == {name: [RECIPES[row].epochs for row in rows[name]] for name in rows}


def compared(name):
    """The row of a net in the stored report."""
    report = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text())
    return next(net for net in report["models"] if net["name"] == name)


def test_the_readmes_table_shows_three_times_the_work():
    residual, dense = compared("resnet20"), compared("densenet_bc22_24")
    assert dense["parameters"] == pytest.approx(residual["parameters"], rel=0.05)
    assert 2.5 < dense["macs"] / residual["macs"] < 3.5
    times = [
        next(
            export["measurements"][0]["median_ms"]
            for export in net["exports"]
            if (export["scheme"], export["converter"]) == ("fp32", "rewritten")
        )
        for net in (dense, residual)
    ]
    assert 2.5 < times[0] / times[1] < 3.5


def test_fp16_is_half_of_the_download():
    for name in ("resnet20", "densenet_bc22_24"):
        size = {row["scheme"]: row["bytes"] for row in compared(name)["exports"] if row["converter"] == "rewritten"}
        assert size["fp16"] < 0.6 * size["fp32"]


def test_densenet121_was_faster_than_resnet50_as_a_file():
    def latency(name):
        stored = json.loads((ROOT / "benchmarks" / "results" / f"export-{name}.json").read_text())
        return stored["times"]["latency"]["fp32"]["ours_ms"]

    assert latency("densenet121") < latency("resnet50")


def test_the_readme_says_what_determinism_cost():
    ratios = json.loads((ROOT / "benchmarks" / "results" / "determinism-2026-11-28.json").read_text())["ratios"]
    assert f"took {min(ratios):.2f} to {max(ratios):.2f} of the time" in (ROOT / "README.md").read_text()


def test_batch_norms_of_these_nets_forget_sooner_than_keras():
    from keras import layers

    from resdense_keras import resnet20

    own = next(layer for layer in resnet20().layers if isinstance(layer, layers.BatchNormalization))
    assert (own.momentum, layers.BatchNormalization().momentum) == (0.9, 0.99)


def test_an_imagenet_stem_leaves_8_of_32_pixels():
    from resdense_keras import resnet18

    assert resnet18(input_shape=(32, 32, 3)).get_layer("stem_pool").output.shape[1:3] == (8, 8)


def test_the_explainers_nets_are_as_large_as_each_other():
    from resdense_keras import create

    names = ("plain20_digits", "resnet20_digits", "densenet_bc28_6_digits")
    sizes = [create(name, weights=None).count_params() for name in names]
    assert max(sizes) < 1.05 * min(sizes)
