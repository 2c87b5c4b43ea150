"""Two nets in one report: what differs, by how much on the same images, and what is said of a slim one."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest

from resdense_export import pipeline
from resdense_export.report import html, merging, noise, read_report, summary, validate, view
from resdense_export.right_answers import packed
from resdense_keras.errors import RequestError, WorkError

IMAGES = 360


@pytest.fixture
def slim_report(report):
    """A ResNet beside a slim one, as exports put side by side: no training known, the right images known."""
    random, whole = np.random.default_rng(0), report["models"][0]
    slim = copy.deepcopy(whole)
    slim |= {"name": "resnet20_slim50", "macs": whole["macs"] // 2}
    slim["slim"] = {
        "from": whole["name"],
        "macs": [whole["macs"], whole["macs"] // 2],
        "narrower": 7,
        "removed_blocks": ["stage1_block2_add"],
        "epochs": 8,
    }
    right = random.permutation(IMAGES) < 340
    for model, wrong_too in ((whole, 0), (slim, 12)):
        model |= dict.fromkeys(("epochs", "train_seconds", "peak_training_bytes", "accuracy"))
        model |= {"accuracy_by_seed": [], "history": []}
        for export in model["exports"]:
            answered = right.copy()
            answered[np.flatnonzero(right)[:wrong_too]] = False
            export |= {"accuracy": answered.mean(), "right": packed(answered), "instructions": 14_500_000 - wrong_too}
            export["accuracy_interval"] = [0.9, 0.99]
    report["models"] = [whole, slim]
    report["data"]["judged_sha256"] = "0" * 64
    return report


def test_the_interval_of_a_pair_rests_on_the_images_on_which_they_differ(slim_report):
    first, second = (model["exports"][0] for model in slim_report["models"])
    paired, separate = (noise.file_difference(first, second, same) for same in (True, False))
    assert paired.value == separate.value == pytest.approx(12 / IMAGES)
    assert paired.low > 0 and separate.low < paired.low < paired.high < separate.high
    assert not noise.is_paired(first, {**second, "right": None}, True)


def test_words_say_what_left_and_what_it_costs(slim_report):
    first, second, *_ = summary(slim_report).shows
    assert (
        first.startswith("resnet20_slim50 is resnet20 with 50.0")
        and "7\u00a0layers narrower and 1\u00a0block removed" in first
    )
    assert "8\u00a0epochs on the original's answers and labels" in first
    slim_report["models"][1]["slim"]["teacher"] = 0
    assert "8\u00a0epochs on labels only" in summary(slim_report).shows[0]
    slim_report["models"][1]["slim"]["teacher"] = 1
    assert "8\u00a0epochs on the original's answers." in summary(slim_report).shows[0]
    assert "on the same 360\u00a0test images" in second
    assert "as fp32 resnet20 is more accurate by 3.3 points (94.4\u00a0% against 91.1\u00a0%" in second


def test_the_page_sets_file_against_file(slim_report):
    page = html.page(validate(slim_report), {})
    assert "resnet20 → resnet20_slim50" in page and "94.4\u00a0% → 91.1\u00a0%" in page
    assert "−3.3 points" in page and ", paired" in page and "14.5\u00a0M → 14.5\u00a0M" in page


def test_two_nets_of_one_family_are_told_apart_by_colour(slim_report):
    looks = [view.look(model) for model in view.with_looks(slim_report)["models"]]
    assert looks[0] == "resnet" and looks[1] != "resnet"
    assert 'class="net resnet"' in (page := html.page(view.with_looks(validate(slim_report)), {}))
    assert f'class="net {looks[1]}"' in page


def test_nets_of_different_families_keep_their_colours(report):
    assert [view.look(model) for model in view.with_looks(report)["models"]] == ["resnet", "densenet", "plain"]


def test_bits_that_say_another_accuracy_are_no_report(slim_report):
    slim_report["models"][0]["exports"][0]["right"] = packed(np.ones(IMAGES, bool))
    with pytest.raises(RequestError, match=r"exports\[0\].right: 360 images are right there"):
        validate(slim_report)


def test_what_differs_between_reports_is_not_said_of_all(report):
    other = copy.deepcopy(report)
    other["data"] |= {"spec": "cifar10", "test": 10_000}
    other["versions"]["keras"], other["seed"] = "4.0", 1
    merged, _ = merging.merged([(Path("a"), report), (Path("b"), other)])
    assert merged["data"]["spec"] == "digits and cifar10" and merged["data"]["test"] is None
    assert merged["versions"]["keras"] == "3.15.1 and 4.0" and merged["seed"] is None
    assert "not known whether all nets were judged on the same images" in merged["data"]["note"]
    names = [model["name"] for model in merged["models"]]
    assert names == ["resnet20-a", "densenet_bc22_24-a", "plain20-a", "resnet20-b", "densenet_bc22_24-b", "plain20-b"]
    assert all(
        export["file"].startswith(model["name"] + "/") for model in merged["models"] for export in model["exports"]
    )
    validate(merged)


@pytest.fixture(scope="module")
def two(bundle, tmp_path_factory):
    """(a bundle, a copy of it), each in a folder of its own."""
    folder = tmp_path_factory.mktemp("two")
    return [shutil.copytree(bundle, folder / name) for name in ("one", "other")]


def test_bundles_side_by_side_are_timed_together_and_whole(two, resdense, tmp_path):
    counter = tmp_path / "count"
    counter.write_text("#!/bin/sh\necho 1.5\n")
    counter.chmod(0o755)
    code, said, errors = resdense("report", *two, "--out", "both", "--count", counter)
    assert code == 0 and said.strip().endswith("both/report.html"), errors
    found = read_report(tmp_path / "both")
    assert [model["name"] for model in found["models"]] == [
        f"{read_report(two[0])['models'][0]['name']}-{name}" for name in ("one", "other")
    ]
    for model in found["models"]:
        for export in model["exports"]:
            assert (tmp_path / "both" / export["file"]).is_file() and export["instructions"] == 1_500_000
            assert export["measurements"][0]["rounds"] == pipeline.ROUNDS
    assert resdense("check", "both")[0] == 0
    code, _, errors = resdense("report", *two, "--out", "both")
    assert code == 2 and "--overwrite" in errors


def test_a_changed_file_is_not_put_beside_another(two, tmp_path):
    broken = shutil.copytree(two[0], tmp_path / "broken")
    file = broken / read_report(broken)["models"][0]["exports"][0]["file"]
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(WorkError, match="export the net again|bytes"):
        pipeline.beside([broken, two[1]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one", "one"), "two or more different folders"),
        (("one", "nothing"), "cannot read"),
        (("one", "--count", "x"), "--count was given with one folder"),
        (("one", "other", "--count", "false"), "it must print a number"),
    ],
)
def test_a_wrong_request_for_two_is_refused_in_words(arguments, message, two, resdense, tmp_path):
    places = {folder.name: folder for folder in two}
    code, said, errors = resdense("report", *(places.get(word, word) for word in arguments))
    assert (code, said) == (1 if "false" in arguments else 2, "") and message in errors and "hint:" in errors
    assert not (tmp_path / "resdense-report").exists()
