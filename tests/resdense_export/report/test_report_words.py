"""The paragraph follows the numbers: it turns round with them, and calls a tie a tie."""

import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from resdense_export.report import accuracy_sentence, html, noise, plots, summary, terminal_table, units, validate
from resdense_keras.intervals import wilson


def text(report):
    """All that is said, with plain spaces."""
    found = summary(validate(report))
    return "\n".join((*found.shows, *found.limits)).replace(units.SPACE, " ")


def shown(report):
    """The paragraphs alone."""
    return [paragraph.replace(units.SPACE, " ") for paragraph in summary(report).shows]


def net(report, family):
    return next(model for model in report["models"] if model["family"] == family)


def with_accuracies(report, **right):
    """The report with the given right answers of 360, a list a family: one training a number."""
    for family, hits in right.items():
        shares = [count / 360 for count in hits]
        net(report, family).update(accuracy=shares[0], accuracy_by_seed=shares)
    return report


def exchanged(report):
    """The report in which the first two models have taken each other's name and family."""
    report = copy.deepcopy(report)
    first, second = report["models"][:2]
    for key in ("name", "family"):
        first[key], second[key] = second[key], first[key]
    return report


def with_names_exchanged(words):
    """Words about ResNet and DenseNet, each put in the other's place."""
    pairs = {"ResNet": "DenseNet", "resnet20": "densenet_bc22_24"}
    pairs |= {new: old for old, new in pairs.items()}
    return re.sub("|".join(sorted(pairs, key=len, reverse=True)), lambda match: pairs[match[0]], words)


# Accuracy


def test_the_more_accurate_family_is_named_first_and_turns_round_with_the_numbers(report):
    with_accuracies(report, resnet=[320, 322, 321], densenet=[350, 352, 351])
    assert shown(report)[0].startswith(
        "The DenseNet (densenet_bc22_24) is more accurate than the ResNet (resnet20): "
        "it gets 97.5 % of 360 test images right against 89.2 %, 8.3 points more "
        "(means of 3 seeds each; 95 % interval 7.7 to 9.0 from their spread)."
    )
    with_accuracies(report, resnet=[350, 352, 351], densenet=[320, 322, 321])
    assert shown(report)[0].startswith("The ResNet (resnet20) is more accurate than the DenseNet (densenet_bc22_24): ")


def test_a_difference_within_the_spread_of_the_seeds_is_a_tie(report):
    with_accuracies(report, resnet=[352, 340, 356], densenet=[356, 350, 344])
    assert shown(report)[0].startswith(
        "The ResNet (resnet20) and the DenseNet (densenet_bc22_24) tie in accuracy within the noise: "
        "the DenseNet gets 97.2 % of 360 test images right and the ResNet 97.0 %, 0.2 points apart "
        "(means of 3 seeds each; 95 % interval"
    )
    assert "more accurate than the" not in shown(report)[0]


def test_with_fewer_than_three_seeds_the_test_images_decide_and_the_text_says_so(report):
    with_accuracies(report, resnet=[353], densenet=[350])
    assert "tie in accuracy within the noise" in shown(report)[0]
    assert "binomial, one training each)" in shown(report)[0]
    with_accuracies(report, resnet=[353, 352], densenet=[320, 321])
    assert shown(report)[0].startswith("The ResNet (resnet20) is more accurate than")
    assert "binomial, one training each)" in shown(report)[0]


def test_seeds_that_lie_apart_and_vary_too_much_are_a_tie_that_leans(report):
    with_accuracies(report, resnet=[351, 358, 355], densenet=[295, 327, 342], plain=[295, 327, 342])
    assert "tie in accuracy within the noise" in shown(report)[0]
    assert shown(report)[0].endswith(
        "Every seed of the ResNet lies above every seed of the DenseNet, but so few seeds may differ by chance."
    )
    assert shown(report)[1].endswith(
        "though every seed of it lies below every seed of the ResNet: more seeds would tell."
    )


def test_the_same_accuracy_in_every_seed_is_a_tie_and_so_is_one_image(report):
    assert "tie in accuracy" in text(with_accuracies(report, resnet=[350] * 3, densenet=[350] * 3))
    assert "tie in accuracy" in text(with_accuracies(report, resnet=[350] * 3, densenet=[351] * 3))
    assert "tie in accuracy" not in text(with_accuracies(report, resnet=[350] * 3, densenet=[340] * 3))


def test_images_of_which_nobody_knows_the_class_are_the_source_of_no_accuracy(bundle_report):
    bundle_report["data"] |= {"test": 360, "spec": "photos"}
    told = text(bundle_report)
    assert "The files were compared with the float net on 360 test images of one data set" in told
    assert "points" not in told


def test_accuracies_without_images_are_not_judged(report):
    report["data"]["test"] = None
    for model in report["models"]:
        for export in model["exports"]:
            export["images"] = None
    assert "are not compared in accuracy" in shown(report)[0]


def test_the_interval_of_the_seeds_is_welchs():
    models = [
        {"accuracy_by_seed": seeds, "accuracy": seeds[0]} for seeds in ([0.95, 0.97, 0.96], [0.91, 0.94, 0.9, 0.93])
    ]
    found = noise.accuracy_difference(*models, images=10_000)
    expected = ttest_ind(models[0]["accuracy_by_seed"], models[1]["accuracy_by_seed"], equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_the_interval_of_the_images_is_newcombes():
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80 has 0.0524 to 0.3339.
    one, two = noise.Estimate(56 / 70, *wilson(56, 70)), noise.Estimate(48 / 80, *wilson(48, 80))
    found = noise.difference(one, two)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


# The control, sizes, times, int8


def test_the_control_speaks_for_the_shortcuts_only_where_it_is_worse(report):
    control = "The plain net (plain20), the control, is a net of the size of the ResNet without shortcuts; it "
    with_accuracies(report, resnet=[350, 351, 352], plain=[300, 302, 304])
    assert shown(report)[1].startswith(control + "is 13.6 points less accurate (83.9 % against 97.5 %; ")
    assert shown(report)[1].endswith(": the shortcuts help here.")
    with_accuracies(report, resnet=[300, 302, 304], plain=[350, 351, 352])
    assert shown(report)[1].startswith(control + "is 13.6 points more accurate (97.5 % against 83.9 %; ")
    assert shown(report)[1].endswith(": the shortcuts do not help here.")
    with_accuracies(report, resnet=[350, 351, 352], plain=[350, 352, 351])
    assert shown(report)[1].startswith(control + "ties with the ResNet within the noise")


def test_a_control_of_another_size_proves_nothing_about_shortcuts(report):
    with_accuracies(report, resnet=[350, 351, 352], plain=[300, 302, 304])
    net(report, "plain")["parameters"] //= 2
    assert shown(report)[1].endswith(": size and shortcuts may both be the reason.")


def test_what_is_counted_is_compared_the_right_way_round(report):
    assert shown(report)[2] == (
        "The ResNet and the DenseNet are about equal in parameters (271 k and 264 k) and file size as int8 (352 kB and "
        "344 kB). Next to the ResNet, the DenseNet has 1.9 times the multiply-adds of an image (4.87 M against 2.55 M) "
        "and 3.1 times the activation memory of a training image (269 kB against 86.3 kB)."
    )
    net(report, "resnet")["parameters"] *= 10
    assert "Next to the DenseNet, the ResNet has 10 times the parameters (2.71 M against 264 k)." in shown(report)[2]


def test_times_that_overlap_are_a_tie_in_that_scheme_alone(report):
    first, second = (net(report, family)["exports"] for family in ("resnet", "densenet"))
    for key in ("median_ms", "p10_ms", "p90_ms"):
        second[2]["measurements"][0][key] = first[2]["measurements"][0][key] * 1.02
        second[3]["measurements"][0][key] = first[3]["measurements"][0][key] / 3
    assert (
        "the ResNet is faster as fp32 (0.212 ms against 0.391 ms) and fp16 (0.216 ms against 0.399 ms); "
        "the DenseNet is faster as int8 (0.0367 ms against 0.110 ms); "
        "the two tie as dynamic (0.172 ms and 0.175 ms), their times overlapping."
    ) in text(report)


def test_every_device_speaks_for_itself(phone_report):
    assert "On Intel(R) Xeon(R) Processor @ 2.10GHz (ai-edge-litert 2.3.0, cpu, 1 thread): the ResNet is" in text(
        phone_report
    )
    assert "On Pixel 8 (litertjs 2.5, wasm, 1 thread): the DenseNet is faster" in text(phone_report)


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (353, "leaves its accuracy as it was within the noise (98.1 % to 98.1 %)"),
        (352, "leaves its accuracy as it was within the noise (98.1 % to 97.8 %)"),
        (333, "costs 5.6 points of accuracy (98.1 % to 92.5 %)"),
        (360, "adds 1.9 points of accuracy (98.1 % to 100.0 %)"),
    ],
)
def test_int8_costs_what_it_loses_beyond_the_noise(report, right, expected):
    export = net(report, "resnet")["exports"][3]
    export |= {"accuracy": right / 360, "agreement": 1 - abs(right - 353) / 360}
    assert f"int8 makes the file of the ResNet 3.2 times smaller than fp32 (1.14 MB to 352 kB), {expected}" in text(
        report
    )


def test_a_slower_int8_is_called_slower(report):
    for measurement in net(report, "resnet")["exports"][3]["measurements"]:
        for key in ("median_ms", "p10_ms", "p90_ms"):
            measurement[key] *= 10
    assert "runs slower (1.10 ms against 0.212 ms)" in text(report)


def test_a_machine_that_changed_its_speed_is_told_of(phone_report):
    assert "changed by up to" not in text(phone_report)
    net(phone_report, "resnet")["exports"][0]["measurements"][1]["drift"] = 1.42
    assert "While the files were timed, the speed of Pixel 8 changed by up to 1.4 times" in text(phone_report)


# Reports of other shapes


def test_a_bundle_without_data_is_described_alone(bundle_report):
    words = text(bundle_report)
    assert "The accuracy of the ResNet (resnet20) was not measured." in words
    assert "an image takes 0.212 ms as fp32, 0.216 ms as fp16 and 0.172 ms as dynamic." in words
    assert "faster as fp32 (0.212 ms against 0.276 ms)" in words
    assert "No data were given: nothing here says how often a net is right." in words
    assert "DenseNet" not in words


def test_a_bundle_with_data_tells_the_accuracy_of_its_files(report):
    report["models"] = report["models"][:1]
    report["models"][0] |= {"accuracy": None, "accuracy_by_seed": []}
    assert "Of 360 test images, the ResNet (resnet20) gets 98.1 % as fp32, 98.1 % as fp16" in text(report)


def test_the_report_of_one_net_begins_with_what_a_phone_needs_and_names_its_worst_class(report):
    report["models"] = report["models"][:1]
    right = ((40, 39), (36, 9), (30, 29))
    report["models"][0]["by_class"] = [
        {"name": name, "images": 40, "right": {"fp32": fp32, "int8": int8}}
        for name, (fp32, int8) in zip(("tulip", "rose", "daisy"), right, strict=True)
    ]
    first, *_, last = shown(report)
    assert "Its file takes 1.14 MB as fp32, " in first and "352 kB as int8." in first
    assert first.endswith("As int8 it is right least often on rose: 9 of 40 images.")
    assert "training image" not in first and last.startswith("The net has 271 k parameters, ")


def test_only_of_several_nets_it_is_said_that_photographs_may_change_their_order(report):
    assert "the order of the nets may differ" in text(report)
    report["models"] = report["models"][:1]
    assert "the order of the nets" not in text(report)


def test_a_net_of_no_classes_is_not_said_to_lack_an_accuracy(report):
    report["models"] = report["models"][:1]
    report["models"][0] |= {"accuracy": None, "accuracy_by_seed": []}
    for export in report["models"][0]["exports"]:
        export |= dict.fromkeys(("accuracy", "accuracy_interval", "agreement"))
    assert "The ResNet (resnet20) tells no classes apart" in text(report) and "was not measured" not in text(report)


def test_a_net_that_only_guesses_is_named(report):
    assert "chance" not in text(report)
    for export in report["models"][0]["exports"]:
        export |= {"accuracy": 0.1, "accuracy_interval": [0.08, 0.14]}
    assert "resnet20 is no better than chance" in text(report)


def test_one_net_with_seeds_has_its_interval(report):
    report["models"] = report["models"][:1]
    assert shown(report)[0].startswith(
        "The ResNet (resnet20) gets 98.0 % of 360 test images right (95 % interval 96.9 to 99.0 %,"
    )


def test_of_many_nets_the_pair_that_is_nearest_in_size_is_compared(report):
    large = copy.deepcopy(report["models"][0]) | {"name": "resnet56", "parameters": 857_082}
    report["models"].insert(0, large)
    assert shown(report)[0].startswith("Of the 3 nets, resnet20 and densenet_bc22_24 are put into words;")


def test_two_nets_of_one_family_go_by_their_own_names(report):
    report["models"][1] |= {"family": "resnet", "name": "resnet32"}
    assert shown(report)[0].startswith("resnet20 and resnet32 tie in accuracy")


def test_a_rejected_file_is_named_with_its_gates(report):
    net(report, "plain")["rejected"] = {"int8": {"accuracy": "2 points lost", "agreement": ".9"}}
    assert "Of the plain net, int8 (accuracy, agreement) failed a gate and was not written." in text(report)


def test_one_is_singular(report):
    report["data"]["test"] = 1
    for model in report["models"]:
        model |= {"epochs": 1, "accuracy": 1.0, "accuracy_by_seed": [1.0]}
    words = text(report)
    assert "of 1 test image right" in words
    assert "trained for 1 epoch;" in words
    assert not re.search(r"\b1 (images|seeds|epochs|threads|cores)", words)


def test_nothing_is_praised(report, phone_report, bundle_report):
    for example in (report, phone_report, bundle_report):
        assert not re.search(r"(?i)\b(best|fastest|smallest|most|excellent|superior|significant\w*)\b", text(example))


# Whatever the numbers are


@st.composite
def pairs(draw):
    """Reports of a ResNet and a DenseNet with any numbers, many of them close to each other or missing."""
    images = draw(st.sampled_from([None, 7, 360, 10_000]))
    models = [draw(_models(name, family, images)) for name, family in NAMES]
    return {
        "schema": "resdense-report/1",
        "created": "2026-01-31T12:00:00+00:00",
        "command": "resdense compare",
        "seed": 0,
        "versions": {},
        "machine": {"cpu": None, "flags": [], "cores": None},
        "data": dict.fromkeys(("spec", "train", "validation", "classes", "image_shape")) | {"test": images},
        "models": models,
    }


NAMES = (("resnet20", "resnet"), ("densenet_bc22_24", "densenet"))
AMOUNTS = st.none() | st.integers(1, 20) | st.integers(1, 10**9)


@st.composite
def _models(draw, name, family, images):
    hits = draw(st.lists(st.integers(0, images or 1), max_size=5))
    shares = [count / (images or 1) for count in hits]
    schemes = draw(st.lists(st.sampled_from(["fp32", "fp16", "int8"]), unique=True))
    counts = ("parameters", "macs", "activation_bytes", "inference_peak_bytes", "epochs", "peak_training_bytes")
    return {
        "name": name,
        "family": family,
        **{key: draw(AMOUNTS) for key in counts},
        "train_seconds": None,
        "accuracy": shares[0] if shares else None,
        "accuracy_by_seed": shares,
        "history": [],
        "exports": [draw(_files(name, scheme, images)) for scheme in schemes],
    }


@st.composite
def _files(draw, name, scheme, images):
    right = draw(st.none() | st.integers(0, images)) if images else None
    p10, median, p90 = sorted(draw(st.tuples(*[st.integers(1, 50)] * 3)))
    device = {"id": "a", "kind": "computer", "name": "a machine", "os": None}
    time = {"device": device, "runtime": "litert", "accelerator": "cpu", "threads": 1, "rounds": 9, "drift": None}
    times = time | {"median_ms": median / 8, "p10_ms": p10 / 8, "p90_ms": p90 / 8}
    return {
        "converter": "rewritten",
        "scheme": scheme,
        "file": f"{name}-{scheme}.tflite",
        "bytes": draw(st.integers(1, 30) | st.integers(1, 10**8)),
        "sha256": "0" * 64,
        "images": images,
        "accuracy": None if right is None else right / images,
        "accuracy_interval": None,
        "agreement": draw(st.none() | st.floats(0, 1)),
        "max_difference": None,
        "gates": {},
        "operators": {},
        "delegated": None,
        "measurements": [times] if draw(st.booleans()) else [],
    }


def mean(values):
    return sum(values) / len(values)


@given(pairs())
def test_the_words_follow_the_names_when_two_nets_exchange_them(report):
    assert with_names_exchanged(text(report)) == text(exchanged(report))


def claims(report):
    """All comparisons that the text makes, as (winner, what, loser): the order in which they stand does not matter."""
    words, found = text(report), set()
    found |= {(a, "accurate", b) for a, b in re.findall(r"[Tt]he (\w+) \(\w+\) is more accurate than the (\w+)", words)}
    found |= {
        (a, "apart", b) for a, b in re.findall(r"Every seed of the (\w+) lies above every seed of the (\w+)", words)
    }
    for clause in re.findall(r"[Tt]he (\w+) is faster as ([^;]*?)[;.]\s", words + " "):
        found |= {(clause[0], scheme, "faster") for scheme in re.findall(r"(\w+) \([\d.]+ ms against", clause[1])}
    for loser, winner, amounts in re.findall(r"Next to the (\w+), the (\w+) has ([^:]*?)\.(?:\s|$)", words):
        found |= {(winner, what, loser) for what in re.findall(r"times the ([\w -]+) \(", amounts)}
    return found


@given(pairs())
def test_the_order_of_the_nets_changes_no_claim(report):
    turned = copy.deepcopy(report)
    turned["models"].reverse()
    assert claims(turned) == claims(report)


KEYS = {
    "parameters": "parameters",
    "multiply-adds of an image": "macs",
    "activation memory of a training image": "activation_bytes",
}


@given(pairs())
def test_every_claim_is_true_of_the_numbers(report):
    nets = {"ResNet": report["models"][0], "DenseNet": report["models"][1]}
    for winner, what, loser in claims(report):
        one = nets[winner]
        two = nets[loser] if loser in nets else next(model for model in nets.values() if model is not one)
        if what == "apart":
            assert min(one["accuracy_by_seed"]) > max(two["accuracy_by_seed"])
        elif what == "accurate":
            seeds = [model["accuracy_by_seed"] for model in (one, two)]
            enough = min(map(len, seeds)) >= 3
            assert mean(seeds[0]) > mean(seeds[1]) if enough else seeds[0][0] > seeds[1][0]
        elif loser == "faster":
            first, second = (
                next(row for row in model["exports"] if row["scheme"] == what)["measurements"][0]
                for model in (one, two)
            )
            assert first["p90_ms"] < second["p10_ms"]
        elif what in KEYS:
            assert one[KEYS[what]] > two[KEYS[what]]
        else:
            scheme = what.removeprefix("file size as ")
            first, second = (next(row for row in model["exports"] if row["scheme"] == scheme) for model in (one, two))
            assert first["bytes"] > second["bytes"]


@settings(max_examples=6)
@given(pairs())
def test_any_report_is_drawn_and_shown(report):
    report = validate(report)
    page = html.page(report, plots.draw(report))
    assert "resnet20" in page
    assert terminal_table(report).row_count == sum(len(model["exports"]) for model in report["models"])


@given(pairs())
def test_whatever_is_not_a_tie_is_claimed(report):
    one, two = report["models"]
    found, words = noise.accuracy_difference(one, two, report["data"]["test"]), claims(report)
    assert any(what == "accurate" for _, what, _ in words) == bool(found and not found.tie)
    for name, key in KEYS.items():
        small, large = sorted((one[key] or 0, two[key] or 0))
        assert any(what == name for _, what, _ in words) == (large > small * 1.1 and small > 0)


def test_the_sentence_on_two_nets_alone_is_the_reports(report):
    report = with_accuracies(report, resnet=[340, 341, 342], densenet=[350, 351, 352])
    pair = net(report, "resnet"), net(report, "densenet")
    sentence = accuracy_sentence(*pair, 360).replace(units.SPACE, " ")
    assert sentence.startswith("The DenseNet") and sentence in text(report)
