"""Laws of `--budget`: the layer that int8 ruins stays float, no more than needed do, and the file says which."""

import itertools
import json

import keras
import pytest

from resdense_cli.commands.check import inspect
from resdense_export import pipeline
from resdense_export.judging.check import check
from resdense_export.judging.reference import predictions
from resdense_export.making import within_budget
from resdense_export.making.conversion import convert
from resdense_export.making.quantization import quantize
from resdense_export.tflite.child import Child, Fault
from resdense_keras.errors import WorkError

from ..conftest import toy_net


@pytest.fixture(scope="module")
def fragile(nets):
    """The dense net with one channel that is always 0 and huge weights behind it: int8 has no steps for the others."""
    net = keras.models.clone_model(nets["dense"])
    net.set_weights(nets["dense"].get_weights())
    norm = [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)][-2]
    (relu,) = [node.operation for node in norm._outbound_nodes]
    (convolution,) = [node.operation for node in relu._outbound_nodes]
    gamma, beta, mean, variance = norm.get_weights()
    gamma[0], beta[0] = 0, -1
    norm.set_weights([gamma, beta, mean, variance])
    (kernel,) = convolution.get_weights()
    kernel[:, :, 0] = 1e3
    convolution.set_weights([kernel])
    return net


@pytest.fixture(scope="module")
def floating(fragile):
    return convert(fragile)


@pytest.fixture(scope="module")
def chosen(floating, training_images):
    with Child() as child:
        return next(within_budget.choices(floating, training_images[0][:100], training_images[0][100:700], 0.5, child))


def test_the_one_layer_that_int8_ruins_stays_float(chosen, floating, training_images, test_images, fragile, tmp_path):
    assert len(chosen.float_layers) == 1 and chosen.changed <= 0.005
    paths = {name: tmp_path / f"{name}-int8.tflite" for name in ("without", "with")}
    paths["without"].write_bytes(quantize(floating, "int8", training_images[0][:100]))
    paths["with"].write_bytes(chosen.content)
    expected = predictions(fragile, test_images[0])
    ruined = check(paths["without"], expected, *test_images)
    good = check(paths["with"], expected, *test_images, float_layers=chosen.float_layers)
    assert "accuracy" in ruined.failures and ruined.agreement < 0.9
    assert good.passed and good.agreement > 0.98
    assert good.gates["int8"]["detail"] == "all 10 operators; 1 more are float on purpose"
    assert check(paths["with"]).failures["int8"] == "1 of 11 stayed float, such as CONV_2D"


def test_a_budget_that_int8_keeps_by_itself_leaves_no_layer_float(float_files, training_images):
    images = training_images[0]
    with Child() as child:
        found = next(within_budget.choices(float_files["dense"], images[:100], images[100:400], 50, child))
    assert found.float_layers == () and found.content == quantize(float_files["dense"], "int8", images[:100])


def test_where_the_test_images_lose_more_twice_as_many_layers_stay_float(float_files, training_images):
    images = training_images[0]
    with Child() as child:
        found = list(within_budget.choices(float_files["dense"], images[:100], images[100:200], 100, child))
    assert [len(choice.float_layers) for choice in found] == [0, 1, 2, 4, 5]
    assert all(set(few.float_layers) < set(more.float_layers) for few, more in itertools.pairwise(found))


def test_layers_are_named_in_full_so_that_only_they_are_left_out(float_files, training_images):
    names = within_budget.layers(float_files["residual"])
    assert len(names) == len(set(names)) == 5
    ranges = training_images[0][:100]
    sizes = [len(quantize(float_files["residual"], "int8", ranges, float_layers=names[:n])) for n in (0, 1, 5)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_bundle_tells_the_layers_and_four_disjoint_lists_of_images(fragile, dataset, tmp_path):
    folder = tmp_path / "out"
    pipeline.export(fragile, folder, ["int8"], dataset=dataset, budget=1.0, rounds=3)
    described = json.loads((folder / "model.json").read_text())
    names = ("calibration", "sensitivity", "choosing", "evaluation")
    lists = [set(described[f"{name}_indices"]) for name in names]
    assert [len(indices) for indices in lists] == [200, 1300, 300, 300]
    assert len(set.union(*lists)) == sum(map(len, lists))
    (file,) = described["files"].values()
    assert len(file["float_layers"]) == 1
    told, report = described["budget"], json.loads((folder / "report.json").read_text())
    gate = report["models"][0]["exports"][0]["gates"]["accuracy"]
    assert (told["kept"], told["proved"]) == (gate["passed"], gate["proved"])
    assert f"{told['lost_points']:.2f} points lost" in gate["detail"]
    card = (folder / "MODEL_CARD.md").read_text()
    assert ("more images would tell" in card) == ("not proved" in card) == (not gate["proved"])
    assert told["points"] == 1.0 and told["kept"] and told["rounds"][-1]["lost_points"] <= 1.0
    assert told["layers"] == 5 + 3  # its convolutions and head, and three norms that became depthwise convolutions
    assert told["rounds"][-1]["float_layers"] == 1 and told["rounds"][0]["changed"] <= 0.01
    assert "1 of its layers stay float" in described["recommended"]["npu"]["reason"]
    assert all(finding["problems"] == [] for finding in inspect([folder]))
    described["files"]["dense-int8.tflite"]["float_layers"] = []
    (folder / "model.json").write_text(json.dumps(described))
    problems = [problem for finding in inspect([folder]) for problem in finding["problems"]]
    assert any("stayed float" in problem for problem in problems)


def test_a_budget_that_cannot_be_kept_fails_the_file_whatever_the_other_limits(fragile, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(within_budget, "LAYERS", ("FULLY_CONNECTED",))  # the layer that int8 ruins may not stay float
    limits = {"max_drop": 100, "min_agreement": 0, "budget": 0.5}
    with pytest.raises(WorkError, match=r"dense-int8: .*accuracy: .*points lost .*, 0.5 allowed") as error:
        pipeline.export(fragile, tmp_path / "out", ["int8"], dataset=dataset, rounds=3, **limits)
    assert "--budget" not in error.value.hint
    with pytest.raises(WorkError, match=r"dense-int8: .*accuracy: ") as error:
        pipeline.export(fragile, tmp_path / "second", ["int8"], dataset=dataset, rounds=3)
    assert "--budget 0.1" in error.value.hint and "--schemes qat" in error.value.hint
    assert "Of the int8 file" not in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def no_model(*arguments, **options):
    return b"not a model"


def one_bad_file_and_a_fault(*arguments):
    yield within_budget.Choice(convert(toy_net("dense")), (), 0.0)  # untrained
    raise Fault("not a model")


@pytest.mark.parametrize(("name", "value"), [("quantize", no_model), ("choices", one_bad_file_and_a_fault)])
def test_an_int8_file_that_does_not_run_is_rejected_alone(name, value, nets, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(within_budget, name, value)
    folder = tmp_path / "out"
    with pytest.raises(WorkError, match=r"1 of the files failed a gate .*: dense-int8: opens: .*not a"):
        pipeline.export(nets["dense"], folder, ["fp32", "int8"], dataset=dataset, budget=1.0, rounds=3)
    assert [path.name for path in folder.glob("*.tflite")] == ["dense-fp32.tflite"]
    assert json.loads((folder / "model.json").read_text())["budget"]["kept"] is False
    assert "Of the int8 file" not in (folder / "MODEL_CARD.md").read_text()
