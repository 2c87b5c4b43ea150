"""Laws of what stands around the files: model.json tells all that a port needs, and the card is what a hub renders."""

import hashlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from resdense_export import pipeline
from resdense_export.bundle.description import recommended
from resdense_export.schemes import SCHEMES
from resdense_keras.data.images import resize_steps

from ..conftest import NAMES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def described(bundle):
    return json.loads((bundle / "model.json").read_text())


def test_the_input_says_what_its_pixels_mean(described):
    assert (described["input"]["range"], described["input"]["dtype"]) == ([0, 255], "float32")


def test_names_and_sizes_are_those_of_the_finished_files(bundle, described):
    assert set(described["files"]) == {path.name for path in bundle.glob("*.tflite")}
    for name, row in described["files"].items():
        content = (bundle / name).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    report = json.loads((bundle / "report.json").read_text())["models"][0]["exports"]
    assert [(row["file"], row["bytes"], row["sha256"]) for row in report] == [
        (name, row["bytes"], row["sha256"]) for name, row in described["files"].items()
    ]


def test_ends_are_told_as_the_files_have_them(bundle, described):
    from resdense_export.tflite.running import Net

    for name in described["files"]:
        net = Net(bundle / name)
        assert net.input["shape"].tolist() == described["input"]["shape"]
        assert net.output["shape"].tolist() == described["output"]["shape"]
        assert net.input["dtype"] == np.dtype(described["input"]["dtype"]) and net.output["dtype"] is np.float32
        assert net.interpreter.get_signature_list() == {
            described["signature"]: {
                "inputs": [described["input"]["name"]],
                "outputs": [described["output"]["name"]],
            }
        }
    assert described["output"]["meaning"] == "probabilities"
    assert (bundle / described["output"]["labels"]).read_text().splitlines() == list(NAMES)


# The resize rule


def test_bundle_carries_the_steps_of_its_own_decoder(described):
    assert described["input"]["resize_steps"] == resize_steps(3)


# Which file to take


def export(scheme, median=None, converter="rewritten"):
    measured = [] if median is None else [{"median_ms": median, "device": {"name": "a machine"}}]
    return {"converter": converter, "scheme": scheme, "file": f"net-{scheme}.tflite", "measurements": measured}


def test_each_target_gets_a_file_and_a_reason():
    found = recommended([export(scheme, 1.5) for scheme in ("fp32", "fp16", "dynamic", "int8")])
    assert {target: row["file"] for target, row in found.items()} == {
        "cpu": "net-int8.tflite",
        "gpu": "net-fp16.tflite",
        "browser": "net-fp16.tflite",
        "npu": "net-int8.tflite",
    }
    assert "1.5 ms (a machine)" in found["cpu"]["reason"] and all(row["reason"] for row in found.values())


@pytest.mark.parametrize(("int8", "best"), [(3.0, "dynamic"), (1.0, "int8")])
def test_of_a_file_that_goes_back_to_float_on_its_way_the_measured_time_decides(int8, best):
    made = [export("fp32", 4.0), export("dynamic", 2.0), export("int8", int8)]
    made[-1]["gates"] = {"int8": {"passed": True, "islands": {"ELU": 3}}}
    found = recommended(made)
    assert found["cpu"]["file"] == f"net-{best}.tflite"
    assert ("3 ELU in float" in found["cpu"]["reason"]) == (best != "int8")
    assert "3 ELU compute in float" in found["npu"]["reason"]


def test_only_files_that_are_there_are_recommended_and_never_the_stock_twins():
    found = recommended([export("fp32"), export("int8", converter="stock")])
    assert {target: row["file"] for target, row in found.items()} == dict.fromkeys(
        ("cpu", "gpu", "browser"), "net-fp32.tflite"
    )


def some_of(schemes):
    return [some for count in range(1, len(schemes) + 1) for some in itertools.combinations(schemes, count)]


@pytest.mark.parametrize("schemes", some_of(tuple(SCHEMES)), ids="-".join)
def test_whatever_was_made_each_target_that_can_run_some_of_it_gets_a_file_that_is_there(schemes):
    found = recommended([export(scheme) for scheme in schemes])
    made = set(schemes)
    expected = {"cpu", "browser"}
    expected |= {"gpu"} if made & {"fp16", "fp32", "pruned"} else set()
    expected |= {"npu"} if made & {"int8", "qat"} else set()
    assert set(found) == expected
    assert {row["file"] for row in found.values()} <= {f"net-{scheme}.tflite" for scheme in schemes}
    integer = next((f"net-{scheme}.tflite" for scheme in ("int8", "qat") if scheme in made), None)
    if integer:
        assert found["cpu"]["file"] == found["npu"]["file"] == integer
    assert (found["cpu"]["file"] == "net-fp16.tflite") == ("fp16" in made and not made & {"int8", "qat", "dynamic"})
    assert (found["browser"]["file"] == "net-fp16.tflite") == ("fp16" in made)


def test_the_reason_for_a_second_choice_names_what_would_be_better():
    found = recommended([export("qat"), export("fp32")])
    assert (
        found["npu"]["reason"]
        == "nearly every NPU takes statically quantized int8; better, but not in this bundle: int8"
    )
    assert found["browser"]["reason"].endswith("; better, but not in this bundle: fp16")
    assert "better" not in recommended([export("fp16")])["gpu"]["reason"]


def test_layers_that_stay_float_are_named_to_the_npu_where_it_gets_their_file():
    assert "2 of its layers stay float" in recommended([export("int8")], ("a", "b"))["npu"]["reason"]
    assert "stay float" not in recommended([export("qat")], ("a", "b"))["npu"]["reason"]


NETS = ("densenet121", "densenet_bc100_12", "resnet50_v2", "resnet50")
RESULTS = ROOT / "benchmarks/results"


def test_the_order_for_a_cpu_is_that_of_the_arm_instructions():
    """By the geometric mean over the nets of a scheme's share of float32's instructions."""
    shares = {}
    for name in NETS:
        record = json.loads((RESULTS / f"export-{name}.json").read_text())
        counted = {scheme: row["ours"] for scheme, row in record["files"]["millions_of_instructions"].items()}
        counted["fp16"] = record["half"]["millions_of_instructions"]["ours-fp16"]
        for scheme, millions in counted.items():
            shares.setdefault(scheme, []).append(millions / counted["fp32"])
    means = {scheme: np.exp(np.mean(np.log(found))) for scheme, found in shares.items()}
    ranks = {scheme: SCHEMES[scheme].recommended["cpu"].rank for scheme in means}
    assert set(means) == {"fp32", "fp16", "dynamic", "int8"}
    assert sorted(means, key=means.get) == sorted(ranks, key=ranks.get)


def test_float16_is_recommended_to_a_browser_because_it_is_as_fast_there():
    (*_, newest) = sorted(RESULTS.glob("half-browser-*.json"))
    rows = json.loads(newest.read_text())["nets"]
    assert {*NETS, "resnet20-trained"} <= set(rows) and all(row["ratio"] <= 1.08 for row in rows.values())
    assert recommended([export("fp32"), export("fp16")])["browser"]["file"] == "net-fp16.tflite"


# The card


def front_matter(bundle):
    text = (bundle / "MODEL_CARD.md").read_text()
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1]), text


def test_card_has_the_front_matter_that_a_hub_reads(bundle, described):
    facts, text = front_matter(bundle)
    assert facts["library_name"] == "litert" and facts["pipeline_tag"] == "image-classification"
    assert "tflite" in facts["tags"] and facts["metrics"] == ["accuracy"]
    (entry,) = facts["model-index"]
    values = {row["metrics"][0]["name"]: row["metrics"][0]["value"] for row in entry["results"]}
    assert values == {name: round(row["accuracy"], 6) for name, row in described["files"].items()}
    assert {row["dataset"]["name"] for row in entry["results"]} == {"colours"}
    for row in described["recommended"].values():
        assert f"`{row['file']}` ({row['reason']})" in text


def test_card_claims_no_accuracy_that_was_not_measured(nets, tmp_path):
    from resdense_export import pipeline

    pipeline.export(nets["dense"], tmp_path / "out", ["fp32"], rounds=3)
    facts, text = front_matter(tmp_path / "out")
    assert not {"metrics", "model-index"} & set(facts) and "Exported without data" in text
    assert not (tmp_path / "out" / "labels.txt").exists()


def test_card_names_the_classes_in_the_order_of_the_outputs_and_agrees_with_the_report(bundle):
    (model,) = json.loads((bundle / "report.json").read_text())["models"]
    names = (bundle / "labels.txt").read_text().splitlines()
    _, text = front_matter(bundle)
    said = re.search(r"Classes in the order of the outputs.*: (.*)\.\n", text)[1]
    assert re.findall(r"`(.+?)`", said) == names == [row["name"] for row in model["by_class"]]
    for export in model["exports"]:
        right = sum(row["right"][export["scheme"]] for row in model["by_class"])
        assert right == round(export["accuracy"] * export["images"])


def test_outputs_that_the_data_do_not_name_have_their_numbers_as_names(capsys):
    assert pipeline._one_for_each(("cat", "dog"), 4) == ("cat", "dog", "2", "3")
    assert "the model has 4: 2, 3 go by their numbers" in capsys.readouterr().err
    assert pipeline._one_for_each(None, 4) is None and pipeline._one_for_each(("cat", "dog"), 2) == ("cat", "dog")
