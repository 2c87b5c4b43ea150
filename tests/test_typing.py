"""Laws of the types: the stubs are what the signatures make, they type-check, and right and wrong uses are told."""

import subprocess
import sys
from pathlib import Path

import pytest

from .make_stubs import made

ROOT = Path(__file__).parents[1]
STUBS = sorted(ROOT.glob("resdense_keras/**/*.pyi")) + sorted(ROOT.glob("export/**/*.pyi"))
RIGHT = """
import resdense_keras
import resdense_export

model = resdense_keras.resnet50(classes=10, input_shape=(96, 96, 3), variant="v1.5", weights=None)
wide = resdense_keras.cifar_densenet(depth=40, growth_rate=24)
named: list[str] = resdense_keras.list_models("densenet*")
macs: int = resdense_keras.profile(resdense_keras.create(named[0], dropout=0.1)).macs
try:
    resdense_keras.load_weights(model, "weights.safetensors")
except resdense_keras.RequestError as error:
    print(error.hint)

from resdense_keras import data, training

digits = data.load("digits", seed=1)
print(digits.describe(), len(digits.test), digits.test.array().shape)
training.train("resnet20_digits", "digits", "run", "fast")
report = resdense_export.export(model, "bundle", ["fp32", "int8"], dataset=digits)
small: bytes = resdense_export.quantize(resdense_export.convert(resdense_export.rewrite(model)), "fp16")
print(resdense_export.check("bundle/net-int8.tflite").gates, resdense_export.measure(["net.tflite"])[0]["median_ms"])
"""
WRONG = {
    "resdense_keras.resnet50(clases=10)": 'Unexpected keyword argument "clases"',
    'resdense_keras.resnet50(classes="ten")': 'incompatible type "str"; expected "int"',
    "resdense_keras.resnet50(depth=50)": 'Unexpected keyword argument "depth"',
    "resdense_keras.resnet51()": 'no attribute "resnet51"',
    "resdense_keras.cifar_densenet(dept=40)": 'Unexpected keyword argument "dept"',
    "resdense_keras.list_models(3)": 'incompatible type "int"; expected "str"',
    "resdense_export.quantize(resdense_keras.densenet121(), 3)": 'expected "str"',
}


def mypy(*arguments, cache):
    """(exit status, what it says) of mypy in strict mode."""
    pytest.importorskip("mypy", reason="mypy is not installed: `pip install -e .[test]`")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def cache(request):
    """Kept between runs: the first one reads numpy's stubs for seconds."""
    return request.config.cache.mkdir("mypy")


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_the_stubs_are_what_the_signatures_make(path):
    assert path.read_text() == made()[path], "run `python tests/make_stubs.py`"


def test_the_public_stubs_type_check_strictly(cache):
    assert mypy(*STUBS, cache=cache) == (0, f"Success: no issues found in {len(STUBS)} source files\n")


def test_a_program_that_uses_the_names_rightly_type_checks(cache, tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    assert mypy(tmp_path / "right.py", cache=cache) == (0, "Success: no issues found in 1 source file\n")


def test_each_wrong_use_is_found(cache, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("\n".join(["import resdense_export, resdense_keras", *WRONG]) + "\n")
    status, said = mypy(path, cache=cache)
    assert status == 1 and f"Found {len(WRONG)} errors in 1 file" in said
    for line, (use, problem) in enumerate(WRONG.items(), start=2):
        assert any(f":{line}: error" in each and problem in each for each in said.splitlines()), use


def test_every_package_says_that_it_is_typed():
    for package in ("resdense_keras", "export/resdense_export", "cli/resdense_cli"):
        assert (ROOT / package / "py.typed").is_file()
