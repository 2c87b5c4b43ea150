"""What 0.1.0 wrote is read by every later version: run, stopped run, bundle and report, see old/README.md."""

import json
import shutil
from pathlib import Path

import pytest

OLD = Path(__file__).parent / "old"


@pytest.fixture
def old(tmp_path):
    """A copy of the folders that 0.1.0 wrote."""
    return shutil.copytree(OLD, tmp_path / "old")


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_it_began(old, resdense):
    run = old / "stopped"
    net = ("--set", "width=4", "--set", "dropout=0.1")
    command = ("train", "resnet20_digits", "--data", "digits", "--epochs", "4", *net, "--jit", "off", "--out", run)
    command += ("--save-seconds", "0")
    before = (run / "metrics.jsonl").read_text().splitlines()
    code, _, said = resdense(*command, "--resume")
    assert code == 0 and "going on in epoch 3" in said, said
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert (rows[:2], len(rows)) == (before, 4)
    assert resdense(*command, "--resume")[0] == 0  # finished


@pytest.mark.slow
def test_a_config_repeats_the_run(old, resdense, tmp_path):
    again = tmp_path / "again"
    assert resdense("train", old / "run" / "config.yaml", "--out", again)[0] == 0
    first, second = (json.loads((run / "metrics.jsonl").read_text()) for run in (old / "run", again))
    assert second["loss"] == pytest.approx(first["loss"], rel=0.05)  # other processors round otherwise


def test_a_model_is_judged_as_it_was(old, resdense):
    code, found, said = resdense("eval", old / "run" / "model.keras", "--data", "digits", "--json")
    assert code == 0, said
    bundle = json.loads((old / "bundle" / "report.json").read_text())
    (fp32,) = (row for row in bundle["models"][0]["exports"] if row["scheme"] == "fp32")
    assert json.loads(found)["accuracy"] == pytest.approx(fp32["accuracy"], abs=1 / 364)


@pytest.mark.parametrize("name", ["bundle", "report"])
def test_bundles_pass_their_checks_and_their_reports_are_drawn(old, resdense, name):
    code, found, said = resdense("check", old / name, "--json")
    assert code == 0 and all(row["problems"] == [] for row in json.loads(found)), said
    assert resdense("report", old / name)[0] == 0
    assert (old / name / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["bundle", "report"])
def test_the_phone_page_serves_them(old, name):
    from resdense_export.phone import site

    models = site.read(old / name).catalog()["models"]
    assert models and all(model["files"] and model["golden"] for model in models)
