"""Laws of the snippets: what a bundle hands to a developer gives the answers of its own golden images."""

import functools
import http.server
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resdense_export import pipeline
from resdense_export.bundle import contents
from resdense_export.schemes import SCHEMES
from resdense_keras.data import resizing
from resdense_keras.data.images import decode

LITERT_JS = "@litertjs/core@2.5.3"


@pytest.fixture(scope="module", params=["float32", "uint8"])
def bundle_of(request, nets, dataset, tmp_path_factory):
    """(folder of a bundle, its model.json, its golden.json) with each type of input."""
    folder = tmp_path_factory.mktemp("snippets") / "a bundle"
    inside = {"scale": [1 / 64], "offset": [-2]}
    pipeline.export(nets["residual"], folder, dataset=dataset, preprocessing=inside, input_type=request.param, rounds=3)
    return folder, *(json.loads((folder / name).read_text()) for name in ("model.json", "golden/golden.json"))


def expected(golden, file):
    return np.array([row["probabilities"][file] for row in golden["images"]])


def python(folder, *arguments):
    """A run with what the snippet may import, in a folder of its own: neither this package nor its tests."""
    command = [sys.executable, "-P", folder / "snippets" / "classify.py", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder / "golden", env=kept, capture_output=True, text=True, check=True).stdout


def loaded(path):
    """The snippet as a module of this process."""
    spec = spec_from_file_location("classify", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_python_snippet_gives_the_golden_answers_of_every_file(bundle_of):
    folder, described, golden = bundle_of
    names = (folder / "labels.txt").read_text().splitlines()
    for file in described["files"]:
        lines = python(folder, "--file", file, "--top", "1", *(row["image"] for row in golden["images"])).splitlines()
        best = expected(golden, file)
        for line, row, probabilities in zip(lines, golden["images"], best, strict=True):
            path, name, probability = line.split("\t")
            assert (path, name) == (row["image"], names[probabilities.argmax()])
            assert float(probability) == pytest.approx(probabilities.max(), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.jpg"], "absent.jpg cannot be read as an image: "),
        (["golden.json"], "golden.json cannot be read as an image: "),
        (
            ["--file", "mine/x.tflite", "absent.jpg"],
            "--file mine/x.tflite is not in this bundle; give a name, ",
        ),
    ],
)
def test_python_snippet_says_in_one_line_what_is_missing(arguments, said, bundle_of, monkeypatch):
    folder, described, _ = bundle_of
    snippet = loaded(folder / "snippets" / "classify.py")
    monkeypatch.setattr(sys, "argv", ["classify.py", *arguments])
    monkeypatch.chdir(folder / "golden")
    with pytest.raises(SystemExit) as stop:
        snippet.main()
    assert stop.value.code.startswith(f"error: {said}") and "\n" not in stop.value.code
    assert "--file" not in said or all(name in stop.value.code for name in described["files"])


def test_python_snippet_brings_a_photo_to_the_input_as_the_decoder_does(bundle_of, tmp_path):
    folder, described, _ = bundle_of
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((90, 61), Image.Resampling.BICUBIC)
    photo.getexif()[0x0112] = 6  # on its side
    photo.save(tmp_path / "photo.jpg", exif=photo.getexif())
    Image.fromarray(decode(tmp_path / "photo.jpg", size=(16, 16))).save(tmp_path / "small.png")
    file = described["recommended"]["cpu"]["file"]
    rows = [python(folder, tmp_path / name).splitlines() for name in ("photo.jpg", "small.png")]
    answers = [[line.split("\t")[1:] for line in lines] for lines in rows]
    assert answers[0] == answers[1] and file in described["files"]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """node_modules with LiteRT.js, as `npm install` makes it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so there is no LiteRT.js")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), LITERT_JS]
    made = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if made.returncode:
        pytest.skip(f"npm cannot fetch LiteRT.js: {made.stderr.splitlines()[-1:]}")
    return folder / "node_modules"


@pytest.fixture
def page(bundle_of, runtime, browser, tmp_path):
    """An empty page beside the bundle and the runtime, from a server on this computer."""
    (tmp_path / "node_modules").symlink_to(runtime)
    (tmp_path / "a bundle").symlink_to(bundle_of[0])
    packages = {name: f"/node_modules/@litertjs/{name.split('/')[1]}/dist/index.js"
                for name in ("@litertjs/core", "@litertjs/wasm-utils")}  # fmt: skip
    imports = json.dumps({"imports": packages})
    (tmp_path / "index.html").write_text(f"<!doctype html><script type=importmap>{imports}</script>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        yield opened
        opened.close()
        server.shutdown()


GOLDEN = """async ([file, images]) => {
  const litert = await import('@litertjs/core');
  const {Classifier} = await import('/a bundle/snippets/classify.mjs');
  await (window.loaded ??= litert.loadLiteRt('/node_modules/@litertjs/core/wasm/'));
  const classifier = await Classifier.open(litert, '/a bundle/', file);
  const answers = [];
  for (const image of images) {
    const bitmap = await createImageBitmap(await (await fetch(`/a bundle/golden/${image}`)).blob());
    answers.push([...await classifier.classify(bitmap)]);
  }
  const {names} = classifier;
  classifier.close();
  return {answers, names};
}"""


@pytest.mark.slow
def test_javascript_snippet_gives_the_golden_answers_in_a_browser(page, bundle_of):
    folder, described, golden = bundle_of
    images = [row["image"] for row in golden["images"]]
    for file, row in described["files"].items():
        found = page.evaluate(GOLDEN, [file, images])
        answers, right = np.array(found["answers"]), expected(golden, file)
        tolerance = golden["tolerance"][SCHEMES[row["scheme"]].tolerance]
        np.testing.assert_allclose(answers, right, atol=tolerance, err_msg=file)
        np.testing.assert_array_equal(answers.argmax(axis=1), right.argmax(axis=1))
        assert found["names"] == (folder / "labels.txt").read_text().splitlines()


def test_javascript_snippet_resizes_as_the_decoder_does(page, tmp_path):
    coarse = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    for size, channels, rule in itertools.product(((90, 61), (61, 90), (11, 13)), (3, 1), resizing.RULES):
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
        pixels = page.evaluate(
            """async ([shape, steps]) => {
              const {toPixels} = await import('/a bundle/snippets/classify.mjs');
              const blob = await (await fetch('/photo.png', {cache: 'no-store'})).blob();
              return [...toPixels(await createImageBitmap(blob), shape, steps)];
            }""",
            [[1, 16, 16, channels], resizing.steps(channels, rule)],
        )
        decoded = decode(tmp_path / "photo.png", channels=channels, size=(16, 16), resize=rule)
        ours = decoded.astype(int).ravel()
        assert np.abs(ours - pixels).max() <= 1 and (ours == pixels).mean() > 0.9


@pytest.mark.parametrize("rule", resizing.RULES)
@pytest.mark.parametrize("size", [(90, 61), (61, 90), (11, 13), (16, 16)])
def test_python_snippet_resizes_as_the_decoder_does(tmp_path, rule, size):
    snippet = loaded(contents.SNIPPETS / "classify.py")
    coarse = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    for channels in (3, 1):
        steps = [step["step"] for step in resizing.steps(channels, rule)]
        ours = decode(tmp_path / "photo.png", channels=channels, size=(16, 16), resize=rule)
        np.testing.assert_array_equal(snippet.to_pixels(photo, (16, 16, channels), steps), ours)


@pytest.mark.parametrize(("name", "version"), [("Classifier.kt", "litert:2.1"), ("Classifier.swift", "Swift 2.17")])
def test_what_was_not_compiled_says_so_and_for_which_version_it_is(name, version, bundle):
    head = (bundle / "snippets" / name).read_text().split("\n\n")[0].replace("\n//", "")
    assert version in head and "not compiled or run" in re.sub(r"\s+", " ", head)


def test_snippets_are_the_same_in_every_bundle_and_know_the_keys_of_model_json(bundle):
    described = json.loads((bundle / "model.json").read_text())
    texts = {path.name: path.read_text() for path in (bundle / "snippets").iterdir()}
    assert set(texts) == {"classify.py", "classify.mjs", "Classifier.kt", "Classifier.swift"}
    for key in ("input", "output", "recommended"):
        assert key in described and all(key in text for text in texts.values())
    source = Path(pipeline.__file__).with_name("bundle") / "snippets"
    assert all((source / name).read_text() == text for name, text in texts.items())
