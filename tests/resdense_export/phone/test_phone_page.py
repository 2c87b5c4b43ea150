"""The measuring page in a real browser, on LiteRT's own runtime, with files that this package exported.

Slow, as a browser measures for seconds; test_phone_server.py and test_phone_results.py are quick.
"""

import base64
import contextlib
import io
import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from resdense_export.phone import reach, site
from resdense_export.report import read_report
from resdense_export.tflite import running
from resdense_keras import files
from resdense_keras.errors import RequestError

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
FLOAT = 1e-3  # between LiteRT here and in the browser, of one probability
SCHEMES = ["fp32", "dynamic", "int8"]
NETS = RESNET, DENSENET = "resnet20_digits", "densenet_bc28_6_digits"


@pytest.fixture(scope="module")
def litertjs():
    """The folder in which `npm ci` put the runtime; .ci/run makes one."""
    folder = os.environ.get("RESDENSE_LITERTJS")
    if not folder or not (Path(folder) / "node_modules/@litertjs/core").is_dir():
        pytest.skip("RESDENSE_LITERTJS does not name a folder in which `npm ci` has put @litertjs/core")
    return Path(folder)


@pytest.fixture(scope="module")
def browser(playwright):
    """Chromium with a camera that needs no permission and WebGPU in software."""
    opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *SOFTWARE_GPU, *FAKE_CAMERA])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of two bundles: the ResNet and the DenseNet for digits that ship trained."""
    import resdense_keras
    from resdense_export import pipeline
    from resdense_keras import data

    folder, dataset = tmp_path_factory.mktemp("exported"), data.load("digits")
    for name in NETS:
        net = resdense_keras.create(name, weights="digits", include_preprocessing=True)
        limits = {"max_drop": 5, "min_agreement": 0.9}
        pipeline.export(net, folder / name, SCHEMES, name=name, dataset=dataset, rounds=20, **limits)
    return folder


@pytest.fixture(scope="module")
def server(exported, litertjs, make):
    with make.serving(exported, "--runtime", litertjs) as running:
        yield running


@contextlib.contextmanager
def opened(browser, url, width=360, **options):
    """The page at `url`, ready; what it complained of is in `page.complaints`."""
    context = browser.new_context(viewport={"width": width, "height": 800}, ignore_https_errors=True, **options)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(url)
    page.wait_for_selector("#place option", state="attached")
    yield page
    context.close()


@pytest.fixture(scope="module")
def page(browser, server):
    """The page as it opens, for tests that only compute with its modules."""
    with opened(browser, server.url) as page:
        yield page


def choose(page, *names):
    """Ticks the files whose `net scheme` is named, and no other."""
    for fieldset in page.locator("fieldset").all():
        net = fieldset.locator("legend").inner_text()
        for row in fieldset.locator(".file").all():
            box = row.locator("input")
            box.set_checked(f"{net} {row.locator('label').inner_text()}" in names)


def measure(page, name, rounds=20, place="wasm/1"):
    """Measures what is chosen, waits until it is sent."""
    page.fill("#device-name", name)
    page.fill("#rounds", str(rounds))
    page.select_option("#place", place)
    page.click("#start")
    page.wait_for_selector("#after:not([hidden])", timeout=120_000)
    assert page.inner_text("#sent") == "These numbers are now in the report on the computer.", page.inner_text(
        "#warnings"
    )


def found(folder, name):
    """{file: measurement} of a device in the reports of a folder of bundles."""
    return {
        export["file"]: row
        for place in sorted(folder.iterdir())
        if (place / "report.json").is_file()
        for model in read_report(place)["models"]
        for export in model["exports"]
        for row in export["measurements"]
        if row["device"]["name"] == name
    }


# The whole way


def test_both_families_in_every_scheme_are_measured_and_reach_the_report(browser, server, exported):
    everything = [f"{net} {scheme}" for net in NETS for scheme in SCHEMES]
    with opened(browser, server.url) as page:
        assert page.evaluate("[isSecureContext, crossOriginIsolated]") == [True, True]
        choose(page, *everything)
        measure(page, "Test phone")
        shown = page.inner_text("#results")
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    rows = found(exported, "Test phone")
    assert set(rows) == {f"{net}-{scheme}.tflite" for net in NETS for scheme in SCHEMES}
    for file, row in rows.items():
        assert row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] and row["rounds"] == 20, file
        assert row["requested"] == row["accelerator"] == "wasm" and row["threads"] == 1
        assert row["secure_context"] and row["cross_origin_isolated"] and not row["hidden"]
        assert row["load_ms"] > 0 and row["first_ms"] > 0 and row["clock_ms"] > 0
        golden = row["golden"]
        assert golden["images"] == golden["same_top1"] == 20, file
        assert golden["max_difference"] <= (FLOAT if "fp32" in file else 0.1), file
    assert all(name in shown for name in everything)
    for place in exported.iterdir():
        assert files.verify_manifest(place) == []
    page = exported / RESNET / "report.html"
    until = time.monotonic() + 60
    while "Test phone" not in page.read_text():
        assert time.monotonic() < until
        time.sleep(0.2)


ANSWERS = """async () => {
  const api = await import("/api.js"), runtime = await import("/runtime.js"), known = await import("/golden.js");
  const catalog = await api.catalog(), found = {};
  await runtime.load("wasm", 1);
  for (const model of catalog.models) {
    const { images } = await known.golden(model);
    for (const file of model.files) {
      const net = await runtime.Net.compile(await api.bytes(file.url), "wasm", 1);
      found[file.file] = [];
      for (const pixels of images) found[file.file].push([...await net.run(net.tensor(pixels))]);
      net.delete();
    }
  }
  return found;
}"""


def test_the_browsers_answers_are_litertS_on_the_computer(browser, server, exported):
    with opened(browser, server.url) as page:
        answers = page.evaluate(ANSWERS)
    assert len(answers) == 6
    for file, given in answers.items():
        bundle = exported / file.partition("-")[0]
        images = np.stack([np.asarray(Image.open(path)) for path in sorted((bundle / "golden").glob("*.png"))])[
            ..., None
        ]
        expected = running.run(bundle / file, images)
        np.testing.assert_array_equal(np.argmax(given, 1), np.argmax(expected, 1), err_msg=file)
        np.testing.assert_allclose(given, expected, atol=FLOAT if "fp32" in file else 0.1, err_msg=file)


def patched(page, code):
    """Adds code to the end of the runtime's module, on its way to the page."""

    def change(route):
        response = route.fetch()
        route.fulfill(response=response, body=response.text() + code)

    page.route("**/runtime/core.js", change)


# By the page's own clock, which goes on by itself too: no wait that a busy machine could make longer.
SLOWER = """
const now = performance.now.bind(performance);
let late = 0;
performance.now = () => now() + late;
const run = CompiledModel.prototype.run;
CompiledModel.prototype.run = function (...inputs) {
  late += 50;
  return run.apply(this, inputs);
};
"""


def test_50_milliseconds_more_a_run_are_50_milliseconds_more_in_the_report(browser, server, exported):
    for name, code in (("As it is", ""), ("Slowed", SLOWER)):
        with opened(browser, server.url) as page:
            patched(page, code)
            choose(page, f"{RESNET} fp32")
            measure(page, name)
    before, after = (found(exported, name)[f"{RESNET}-fp32.tflite"]["median_ms"] for name in ("As it is", "Slowed"))
    assert 45 <= after - before <= 60


WHOLE_MILLISECONDS = """
window.late = 0;
performance.now = () => Math.floor(late += 0.01);
"""  # a clock of its own, which this machine's load does not reach
BUSY_AT_FIRST = """
let runs = 0;
const run = CompiledModel.prototype.run;
CompiledModel.prototype.run = function (...inputs) {
  late += runs++ < 4 ? 60 : 2;
  return run.apply(this, inputs);
};
"""


def test_rounds_are_long_enough_for_the_clock_whatever_else_the_device_did(browser, server, exported):
    with opened(browser, server.url) as page:
        page.evaluate(WHOLE_MILLISECONDS)
        patched(page, BUSY_AT_FIRST)
        choose(page, f"{RESNET} fp32")
        measure(page, "Coarse")
    row = found(exported, "Coarse")[f"{RESNET}-fp32.tflite"]
    assert row["clock_ms"] == 1 and row["images_per_round"] >= 15
    assert row["p10_ms"] == pytest.approx(2, rel=0.1)


HOTTER = SLOWER.replace("late += 50", "late += this.runs = (this.runs ?? 0) + 1")


def test_a_device_that_slows_down_and_a_tab_out_of_sight_are_told(browser, server, exported):
    with opened(browser, server.url) as page:
        patched(page, HOTTER)
        page.evaluate(
            "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden'});"
            "setTimeout(() => document.dispatchEvent(new Event('visibilitychange')), 50)"
        )
        choose(page, f"{RESNET} fp32")
        measure(page, "Hot")
        said = page.inner_text("#warnings")
    row = found(exported, "Hot")[f"{RESNET}-fp32.tflite"]
    assert "The speed changed by a factor of" in said and row["drift"] > 1.2
    assert "The tab was hidden" in said and row["hidden"] is True


WRONG = """
const data = Tensor.prototype.data;
Tensor.prototype.data = async function () { return (await data.apply(this)).reverse(); };
"""


def test_wrong_answers_are_seen(browser, server, exported):
    with opened(browser, server.url) as page:
        patched(page, WRONG)
        choose(page, f"{RESNET} fp32")
        measure(page, "Wrong")
        assert "Other answers than on the computer" in page.inner_text("#results")
    golden = found(exported, "Wrong")[f"{RESNET}-fp32.tflite"]["golden"]
    assert golden["same_top1"] < golden["images"] == 20 and golden["max_difference"] > 0.1


RIGHT_ONCE = """
let answers = 0;
const data = Tensor.prototype.data;
Tensor.prototype.data = async function () {
  const answer = await data.apply(this);
  return answers++ ? answer.reverse() : answer;
};
"""


def test_a_device_that_is_right_on_its_first_run_only_is_seen(browser, server, exported):
    with opened(browser, server.url) as page:
        patched(page, RIGHT_ONCE)
        choose(page, f"{RESNET} fp32")
        measure(page, "Right once")
        assert "The first answer was right, the last one is wrong." in page.inner_text("#results")
    golden = found(exported, "Right once")[f"{RESNET}-fp32.tflite"]["golden"]
    assert (golden["first"], golden["last"]) == (True, False)


LIMITS = """async ([tolerance, kind, accelerator, difference]) => {
  const { Account } = await import("/golden.js");
  const images = { expected: () => [[0.6, 0.4]], labels: [0], tolerance };
  const account = new Account(images, { name: "a", tolerance: kind }, accelerator);
  account.take(0, [0.6 - difference, 0.4]);
  return account.wrong;
}"""


@pytest.mark.parametrize(
    ("kind", "accelerator", "limit"),
    [
        ("float", "wasm", 1e-3),
        ("half", "wasm", 0.03),
        ("int8", "wasm", 0.1),
        ("float", "webgpu", 0.03),
        ("float", "webgpu-partial", 0.03),
        ("half", "webgpu", 0.03),
        ("int8", "webgpu", 0.1),
    ],
)
def test_a_gpu_and_a_float16_file_may_be_off_by_what_half_precision_costs(browser, server, kind, accelerator, limit):
    with opened(browser, server.url) as page:
        for tolerance, wide in (({"float": 1e-3, "half": 0.03, "int8": 0.1}, limit),
                                ({"float": 1e-3, "int8": 0.1}, limit if kind == "int8" else 1e-3)):  # fmt: skip
            for share, wrong in ((0.9, False), (1.1, True)):
                assert page.evaluate(LIMITS, [tolerance, kind, accelerator, share * wide]) is wrong


HALF_GPU = """
const features = new Set(["shader-f16"]);
Object.defineProperty(navigator, "gpu", { get: () => ({ requestAdapter: async () => ({ features }) }) });
"""
ASKED = """
window.asked = [];
const compile = LiteRt.prototype.loadAndCompile;
LiteRt.prototype.loadAndCompile = function (bytes, options) {
  window.asked.push(options);
  return compile.call(this, bytes, { accelerator: "wasm" });
};
"""


def test_a_gpu_is_measured_in_the_precision_that_the_page_names(browser, server, exported):
    with browser.new_context(viewport={"width": 360, "height": 800}) as context:
        context.add_init_script(HALF_GPU)
        page = context.new_page()
        patched(page, ASKED)
        page.goto(server.url)
        page.wait_for_selector("#place option", state="attached")
        for name, words in (("fp32", "GPU (WebGPU), float32"), ("fp16", "GPU (WebGPU), float16")):
            choose(page, f"{RESNET} fp32")
            measure(page, f"GPU {name}", place=page.get_by_text(words, exact=True).get_attribute("value"))
            assert page.evaluate("asked.at(-1)") == {"accelerator": "webgpu", "gpuOptions": {"precision": name}}
            assert found(exported, f"GPU {name}")[f"{RESNET}-fp32.tflite"]["precision"] == name
            page.click("#again")


NEVER = """
CompiledModel.prototype.run = () => new Promise(() => {});
"""
QUICK_TICKS = "const tick = setInterval; self.setInterval = (work) => tick(work, 20); null"  # two minutes in seconds
DEAD_WORKER = """
CompiledModel.prototype.run = () => new Promise(() => {
  const code = "setTimeout(() => { throw new Error('out of memory'); })";
  const worker = new Worker(URL.createObjectURL(new Blob([code])));
  worker.onerror = ({ message }) => { throw new Error(message); };
});
"""


@pytest.mark.parametrize(("code", "why"), [(NEVER, "no answer for"), (DEAD_WORKER, "out of memory")])
def test_a_runtime_that_dies_says_so_and_the_page_stops_waiting(browser, server, exported, code, why):
    with opened(browser, server.url) as page:
        patched(page, code)
        if code == NEVER:
            page.evaluate(QUICK_TICKS)
        choose(page, f"{RESNET} fp32")
        page.fill("#device-name", "Dead")
        page.click("#start")
        page.wait_for_selector("#after:not([hidden])", timeout=30_000)
        said = page.inner_text("#warnings")
    assert "the runtime has died here" in said and why in said
    assert found(exported, "Dead") == {}


# What LiteRT.js does where a browser without JSPI cannot put a whole net on the GPU.
FALLEN_BACK = """
const compile = LiteRt.prototype.loadAndCompile;
LiteRt.prototype.loadAndCompile = function (bytes) { return compile.call(this, bytes, { accelerator: "wasm" }); };
"""


def test_a_fall_back_to_wasm_is_recorded_and_told(browser, server, exported):
    with opened(browser, server.url) as page:
        patched(page, FALLEN_BACK)
        choose(page, f"{RESNET} fp32")
        measure(page, "Fallen back", place="webgpu/1")
        assert "did not run entirely on the GPU" in page.inner_text("#warnings")
    row = found(exported, "Fallen back")[f"{RESNET}-fp32.tflite"]
    assert (row["requested"], row["accelerator"]) == ("webgpu", "wasm")


@pytest.mark.slow
def test_webgpu_runs_where_the_browser_has_it(browser, server, exported):
    with opened(browser, server.url) as page:
        choose(page, f"{RESNET} fp32", f"{DENSENET} fp32")
        measure(page, "GPU", place="webgpu/1")
    for row in found(exported, "GPU").values():
        assert (row["requested"], row["accelerator"]) == ("webgpu", "webgpu")
        assert row["golden"]["same_top1"] == 20


@pytest.mark.slow
def test_two_pages_that_measure_at_once_lose_nothing(browser, server, exported):
    with opened(browser, server.url) as one, opened(browser, server.url) as two:
        for page, name in ((one, "One of two"), (two, "Two of two")):
            page.fill("#device-name", name)
            page.fill("#rounds", "20")
            page.click("#start")
        for page in (one, two):
            page.wait_for_selector("#after:not([hidden])", timeout=120_000)
    assert len(found(exported, "One of two")) == len(found(exported, "Two of two")) == 6


@pytest.mark.slow
def test_with_https_the_page_is_isolated_and_threads_run(browser, exported, litertjs, make):
    with make.serving(exported, "--https", "--runtime", litertjs) as server:
        assert server.url.startswith("https://localhost:")
        with opened(browser, server.url) as page:
            assert page.evaluate("[isSecureContext, crossOriginIsolated]") == [True, True]
            if page.evaluate("navigator.hardwareConcurrency") < 2:
                pytest.skip("one core: no second thread")
            choose(page, f"{RESNET} fp32")
            measure(page, "Threads", place="wasm/2")
            threads = len(page.workers)
        server.process.terminate()
        _, said = server.process.communicate(timeout=15)
    assert "fingerprint is\n" in said and len(said.partition("fingerprint is\n")[2].split()[0].split(":")) == 32
    row = found(exported, "Threads")[f"{RESNET}-fp32.tflite"]
    assert row["threads"] == 2 and row["golden"]["same_top1"] == 20
    assert threads >= 1


def test_a_script_as_a_device_name_is_text_everywhere(browser, server, exported):
    name = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
    with opened(browser, server.url) as page:
        choose(page, f"{RESNET} fp32")
        measure(page, name)
        page.click("#tab-compare")
        page.wait_for_selector(".device.here")
        assert name in page.inner_text("#devices")
        assert page.evaluate("[window.hacked, document.images.length]") == [None, 0]


def test_two_phones_of_one_name_have_a_column_each_and_keep_it_at_another_port(browser, exported, litertjs, make):
    ids = []
    with contextlib.ExitStack() as stack:
        contexts = [browser.new_context(viewport={"width": 360, "height": 800}) for _ in range(2)]
        servers = [stack.enter_context(make.serving(exported, "--runtime", litertjs)) for _ in range(2)]
        for number, context in enumerate(contexts):
            for server in servers:
                page = context.new_page()
                page.goto(server.url)
                page.wait_for_selector("#place option", state="attached")
                name = page.input_value("#device-name")
                assert name == ("this computer's browser" if server is servers[0] else f"Phone {number}")
                ids.append(page.evaluate("import('/device.js').then(({ describe }) => describe())")["id"])
                page.evaluate(
                    "(name) => import('/device.js').then((device) => device.keepName(name))", f"Phone {number}"
                )
            context.close()
    assert ids[0] == ids[1] != ids[2] == ids[3]


MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
PAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("agent", "touches", "expected"),
    [
        (MAC + "Version/17.4 Safari/605.1.15", 5, ("tablet", "iPadOS 17.4", "Safari 17")),
        (MAC + "CriOS/120.0.0.0 Safari/604.1", 5, ("tablet", "iPadOS", "Chrome 120")),
        (MAC + "Version/17.4 Safari/605.1.15", 0, ("computer", "macOS 10.15.7", "Safari 17")),
        (PAD + "Version/16.6 Mobile/15E148 Safari/604.1", 5, ("tablet", "iPadOS 16.6", "Safari 16")),
        (PAD.replace("iPad; CPU", "iPhone; CPU iPhone") + "Version/16.6 Mobile/15E148 Safari/604.1", 5,
         ("phone", "iOS 16.6", "Safari 16")),
    ],
    ids=["iPad as a Mac", "Chrome on one", "Mac", "iPad", "iPhone"],
)  # fmt: skip
def test_an_ipad_is_an_ipad(browser, server, agent, touches, expected):
    with browser.new_context(user_agent=agent) as context:
        for name, value in (("maxTouchPoints", touches), ("userAgentData", "undefined")):
            context.add_init_script(f"Object.defineProperty(navigator, '{name}', {{get: () => {value}}})")
        page = context.new_page()
        page.goto(server.url)
        device = page.evaluate("import('/device.js').then(({ describe }) => describe())")
    assert (device["kind"], device["os"], device["browser"]) == expected


def open_camera(page):
    page.click("#tab-try")
    page.click("#camera")
    for part in ("#video", "#shoot"):
        page.wait_for_selector(f"{part}:not([hidden])")


def test_a_picture_of_the_camera_is_classified_by_two_files(browser, server):
    with opened(browser, server.url) as page:
        open_camera(page)
        page.click("#shoot")
        page.wait_for_selector(".guess >> nth=9")
        assert page.is_hidden("#video") and page.is_visible("#camera")
        assert page.locator("#pair strong").count() == 2  # the milliseconds of each
        assert page.complaints == []


STARTS = """(nets) => import('/try.js').then(({ starts }) => starts(nets.flatMap(([family, files]) => {
  const model = { family };
  return Array.from({ length: files }, () => ({ model }));
})))"""


def test_two_different_files_are_tried_where_there_are_two(browser, server):
    with opened(browser, server.url) as page:
        page.wait_for_selector("#side-1 option", state="attached")
        assert page.input_value("#side-0") != page.input_value("#side-1")
        for nets, expected in (
            ([("resnet", 3)], [0, 1]),
            ([("densenet", 2)], [0, 1]),
            ([("densenet", 2), ("plain", 2)], [0, 2]),
            ([("plain", 1), ("densenet", 1), ("resnet", 1)], [2, 1]),
            ([("other", 1)], [0, 0]),
        ):
            assert page.evaluate(STARTS, nets) == expected


def test_the_camera_goes_out_with_the_tab(browser, server):
    with opened(browser, server.url) as page:
        open_camera(page)
        page.click("#tab-measure")
        assert page.evaluate("document.querySelector('#video').srcObject.active") is False
        page.click("#tab-try")
        assert page.is_visible("#camera") and not page.is_visible("#video")


def test_a_file_that_is_no_picture_is_said_to_be_none(browser, server):
    with opened(browser, server.url) as page:
        page.click("#tab-try")
        page.set_input_files("#photo", {"name": "photo.png", "mimeType": "image/png", "buffer": b"no picture"})
        page.get_by_text("This browser cannot read this file as an image.").wait_for()


def test_a_stopped_measurement_sends_nothing(browser, server, exported):
    with opened(browser, server.url) as page:
        page.fill("#device-name", "Stopped")
        page.fill("#rounds", "1000")
        page.click("#start")
        page.click("#stop")
        page.wait_for_selector("#after:not([hidden])")
        assert page.inner_text("#warnings") == "Stopped; nothing was sent."
        page.click("#again")
        assert page.is_visible("#start")
    assert found(exported, "Stopped") == {}


# Parts of the page, against their counterparts in Python


def test_medians_and_drift_are_those_of_the_computer(page):
    from resdense_export.tflite.timing import summary

    random = np.random.default_rng(0)
    series = [random.lognormal(0, 0.5, count).tolist() for count in (3, 4, 20, 61, 200)]
    given = page.evaluate(
        "async (series) => { const { summary } = await import('/statistics.js'); return series.map(summary); }", series
    )
    for times, row in zip(series, given, strict=True):
        assert row == pytest.approx(summary(1e6 * np.array(times)))


PIXELS = """async ([encoded, shape, steps = [{ step: "crop" }]]) => {
  const { decode, pixelsFor } = await import("/images.js");
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  return [...pixelsFor(await decode(new Blob([bytes])), shape, steps)];
}"""


def photo(width, height, mode="RGB"):
    """A picture with edges and slopes."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, len(mode)), np.uint8), mode)
    return coarse.resize((width, height), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("image", "format", "shape"),
    [
        (photo(97, 61), "PNG", (16, 16, 3)),
        (photo(61, 97), "PNG", (16, 24, 3)),
        (photo(9, 7), "PNG", (16, 16, 3)),
        (photo(97, 61), "PNG", (8, 8, 1)),
        (photo(64, 64), "PNG", (64, 64, 3)),
        (photo(97, 61, "RGBA"), "PNG", (16, 16, 3)),
    ],
    ids=["wide", "tall", "enlarged", "grey", "exact", "alpha"],
)
def test_a_photo_becomes_the_pixels_that_training_saw(page, image, format, shape):
    from resdense_keras.data.images import decode

    stream = io.BytesIO()
    image.save(stream, format)
    expected = decode(stream.getvalue(), channels=shape[2], size=shape[:2])
    given = page.evaluate(PIXELS, [base64.b64encode(stream.getvalue()).decode(), [1, *shape]])
    difference = np.abs(np.array(given) - expected.ravel())
    assert difference.max() <= (0 if shape == (64, 64, 3) else 2)  # roundings, alpha's among them


CANVASES = """
const get = OffscreenCanvas.prototype.getContext;
OffscreenCanvas.prototype.getContext = function (...given) {
  window.largest = Math.max(window.largest, this.width * this.height);
  return get.apply(this, given);
};
null
"""


def test_no_canvas_is_larger_than_the_input(browser, server):
    stream = io.BytesIO()
    photo(1031, 773).save(stream, "PNG")
    encoded = base64.b64encode(stream.getvalue()).decode()
    with opened(browser, server.url) as page:
        page.evaluate(CANVASES)
        for shape, how in itertools.product([(8, 8, 1), (64, 48, 3)], ["crop", "pad", "stretch"]):
            page.evaluate("largest = 0")
            page.evaluate(PIXELS, [encoded, [1, *shape], [{"step": how}]])
            assert 0 < page.evaluate("largest") <= shape[0] * shape[1], (shape, how)


def test_a_photo_on_its_side_is_turned(page):
    from resdense_keras.data.images import decode

    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    photo(96, 64).save(stream, "JPEG", quality=95, exif=exif)
    assert ImageOps.exif_transpose(Image.open(stream)).size == (64, 96)
    expected = decode(stream.getvalue(), size=(16, 16))
    given = page.evaluate(PIXELS, [base64.b64encode(stream.getvalue()).decode(), [1, 16, 16, 3]])
    assert np.abs(np.array(given) - expected.ravel()).mean() < 4  # two JPEG decoders


# How it looks and works by hand


def visit_states(page):
    """Every state of the page that a person meets, one after the other."""
    yield "choice"
    choose(page, f"{RESNET} fp32", f"{DENSENET} int8")
    page.fill("#rounds", "1000")
    page.click("#start")
    page.wait_for_selector(".strip .middle", state="attached")
    yield "measuring"
    page.dispatch_event("#stop", "click")  # not a touch: a quick computer may have measured all by now, and hides it
    page.wait_for_selector("#after:not([hidden])")
    yield "stopped"
    page.click("#again")
    measure(page, "A phone with a long name, for names are as long as people like them to be")
    yield "measured"
    page.click("#tab-try")
    yield "try"
    stream = io.BytesIO()
    photo(640, 480).save(stream, "PNG")
    page.set_input_files("#photo", {"name": "photo.png", "mimeType": "image/png", "buffer": stream.getvalue()})
    page.wait_for_selector(".guess >> nth=9")
    yield "tried"
    page.click("#tab-compare")
    page.wait_for_selector(".device.here")
    yield "compared"


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), pytest.param(1280, "dark", marks=pytest.mark.slow)])
def test_every_state_fits_and_axe_finds_nothing_serious(browser, server, width, scheme):
    axe = Path(os.environ.get("RESDENSE_AXE", ""))
    if not axe.is_file():
        pytest.skip("RESDENSE_AXE does not name axe-core's axe.min.js")
    pictures = os.environ.get("RESDENSE_PICTURES")  # a folder, to look at them
    with opened(browser, server.url, width, color_scheme=scheme, bypass_csp=True) as page:
        page.evaluate(axe.read_text())
        for state in visit_states(page):
            assert page.evaluate("document.documentElement.scrollWidth") <= width, state
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            serious = [
                (rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")
            ]
            assert serious == [], state
            if pictures:
                page.screenshot(path=f"{pictures}/{state}-{width}-{scheme}.png", full_page=True)


def test_tabs_and_choices_work_by_keyboard(browser, server):
    with opened(browser, server.url) as page:
        page.focus("#tab-measure")
        for name in ("try", "compare", "measure"):
            page.keyboard.press("ArrowRight")
            assert page.evaluate("document.activeElement.id") == f"tab-{name}"
            assert page.is_visible(f"#{name}")
        page.focus("#file-0-0")
        before = page.is_checked("#file-0-0")
        page.keyboard.press("Space")
        assert page.is_checked("#file-0-0") != before


def test_touched_things_are_as_large_as_a_finger(browser, server):
    with opened(browser, server.url) as page:
        heights = page.evaluate(
            "[...document.querySelectorAll('button, select, input:not(.unseen):not([type=checkbox]), .file, summary')]"
            ".filter(element => element.offsetHeight).map(element => element.offsetHeight)"
        )
    assert len(heights) > 8 and min(heights) >= 40


def test_plain_http_on_the_network_is_labelled(browser, server):
    """Also where this machine is on no network: the page is told that it stands on an insecure address."""
    with browser.new_context(viewport={"width": 360, "height": 800}) as context:
        context.add_init_script(
            "Object.defineProperty(self, 'isSecureContext', {get: () => false});"
            "Object.defineProperty(self, 'crossOriginIsolated', {get: () => false});"
            "Object.defineProperty(navigator, 'gpu', {get: () => undefined});"
        )
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#place option", state="attached")
        assert page.locator("#place option").all_inner_texts() == ["Processor, 1 thread"]
        assert "Plain http: the browser allows no threads, no WebGPU and no camera" in page.inner_text("#abilities")
        if pictures := os.environ.get("RESDENSE_PICTURES"):
            page.screenshot(path=f"{pictures}/plain-http.png", full_page=True)


@pytest.mark.slow
def test_over_the_network_without_https_one_thread_is_measured_and_reported(browser, exported, litertjs, make):
    try:
        address = reach.lan_address()
    except RequestError:
        pytest.skip("this machine is on no network")
    with make.serving(exported, "--runtime", litertjs, "--lan", address) as server, opened(browser, server.url) as page:
        assert page.evaluate("[isSecureContext, crossOriginIsolated]") == [False, False]
        assert page.locator("#place option").all_inner_texts() == ["Processor, 1 thread"]
        page.click("#tab-try")
        assert not page.is_visible("#camera")
        page.click("#tab-measure")
        choose(page, f"{RESNET} fp32")
        measure(page, "Insecure")
    row = found(exported, "Insecure")[f"{RESNET}-fp32.tflite"]
    assert (row["secure_context"], row["cross_origin_isolated"], row["threads"]) == (False, False, 1)


def test_without_token_or_runtime_the_page_says_what_to_do(browser, exported, make, monkeypatch, tmp_path):
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    pictures = os.environ.get("RESDENSE_PICTURES")
    with make.serving(exported) as server, browser.new_context(viewport={"width": 360, "height": 800}) as context:
        page = context.new_page()
        for state, url, words in (
            ("no-token", server.url.partition("#")[0], "the part behind # is missing"),
            ("no-runtime", server.url, "npm ci --omit=dev"),
        ):
            page.goto("about:blank")
            page.goto(url)
            page.wait_for_selector("#problem:not([hidden])")
            assert words in page.inner_text("#problem")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            if pictures:
                page.screenshot(path=f"{pictures}/{state}.png", full_page=True)


def test_no_line_of_the_page_is_over_120_characters():
    for path in [*site.PAGE.glob("*.js"), *site.SNIPPETS.glob("*.mjs")]:
        assert [line for line in path.read_text().splitlines() if len(line) > 120] == [], path.name
