"""The packages that others install: both are whole without the source tree, and so is each lesson."""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Folder of the sdist, made of the source tree, and of the wheel, made of the sdist alone."""
    dist, unpacked = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("unpacked")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", dist, cwd=ROOT)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (tree,) = unpacked.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist, cwd=tree)
    return dist


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """Folder in which the wheel is installed; what it needs comes from this environment."""
    target = tmp_path_factory.mktemp("installed")
    (wheel,) = packages.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_wheel_and_sdist_pass_twine(packages):
    said = run(sys.executable, "-m", "twine", "check", "--strict", *packages.iterdir())
    assert said.count("PASSED") == 2


def test_the_sdist_holds_what_the_tests_and_the_site_need(packages):
    with tarfile.open(next(packages.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("FAQ.md", "docs/build.py", "docs/site/index.md", "tutorials/08_to_the_phone.ipynb", "tests/conftest.py")
    assert [name for name in wanted if name not in held] == []


def bytes_by_package(name, found):
    """{package: bytes of its files}, of `name` and all that it needs without extras."""
    package = distribution(name)
    key = package.metadata["Name"].lower()
    if key not in found:
        paths = [Path(file.locate()) for file in package.files or ()]
        found[key] = sum(path.stat().st_size for path in paths if path.is_file())
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                bytes_by_package(needed.name, found)
    return found


def test_an_install_takes_the_gigabytes_that_the_readme_says():
    found = bytes_by_package("resdense-keras", {})
    said = re.search(r"installs ([\d.]+) GB, mostly TensorFlow", (ROOT / "README.md").read_text())
    assert sum(found.values()) / 1e9 == pytest.approx(float(said[1]), rel=0.25)  # its parts are released without us
    assert found["tensorflow"] > sum(found.values()) / 2


def test_the_wheel_alone_runs_the_first_lesson(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    where = run(
        sys.executable, "-c", "import resdense_cli; print(resdense_cli.__file__)", cwd=tmp_path, env=environment
    )
    assert Path(where.strip()).is_relative_to(installed)
    said = run(sys.executable, "-m", "resdense_cli", "learn", "1", cwd=tmp_path, env=environment)
    assert "Add or concatenate?" in said and "This run:" in said  # its text, and what its code printed
    assert [path.name for path in tmp_path.iterdir()] == ["lesson-plots"]
    assert (installed / "bin" / "resdense").exists()


def test_a_notebook_runs_in_an_empty_folder_with_the_wheel_alone(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    notebook = nbformat.read(ROOT / "tutorials" / "01_add_or_concatenate.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("import resdense_keras; print(resdense_keras.__file__)"))
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}, timeout=300).execute()
    assert Path(notebook.cells[-1].outputs[0].text.strip()).is_relative_to(installed)
    assert list(tmp_path.iterdir()) == []
