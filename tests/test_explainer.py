"""The explainer in a real browser: its numbers are Keras', its nets those in the wheel, and everyone can use it."""

import contextlib
import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

import resdense_keras
from resdense_keras import catalog, data
from resdense_keras.experiments import lesions
from resdense_keras.experiments.add_or_concatenate.connections import CONNECTIONS, by_block, chain

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explainer" / "index.html"
OURS = dict(zip(CONNECTIONS, ("plain", "add", "concat"), strict=True))  # the library's word -> the page's
TOLERANCE = 1e-4  # between the page's float32 sums and Keras', of any map and of a probability
FLIPPED = 2.5 / 364  # accuracies on another machine: two of the test digits may stand on the edge
# A state in which all that can be open is open.
OUT = "plain:stage2_block2,add:stage1_block1,concat:stage3_block4"
BUSY = f"#connection=add&depth=12&growth=32&block=9&digit=3&out={OUT}"
DEFAULT = "connection=concat&depth=5&growth=12&block=3&digit=4"


@pytest.fixture(scope="module")
def embed():
    spec = importlib.util.spec_from_file_location("embed_nets", ROOT / "docs" / "embed_nets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def nets(embed):
    """{name: Keras model} of the three nets."""
    return {name: embed.build(name) for name in embed.NETS}


@pytest.fixture(scope="module")
def embedded():
    """What nets.js holds."""
    return json.loads(re.search(r"const NETS = (.*);\n", PAGE.with_name("nets.js").read_text())[1])


@contextlib.contextmanager
def opened(browser, address="", width=1280, scheme="light", **options):
    """The page; what it asked for and what it complained of are in `page.asked` and `page.complaints`."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page = context.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(PAGE.as_uri() + address)
    yield page
    assert page.complaints == []
    context.close()


@pytest.fixture(scope="module")
def page(browser):
    """The page on a desk, for tests that only look or compute."""
    with opened(browser) as page:
        yield page


def address(page):
    """The state in the address, once the page has written it there."""
    page.wait_for_function("saving === null")
    return page.evaluate("location.hash.slice(1)")


# What it is made of


@pytest.mark.slow
def test_the_nets_are_those_in_the_wheel(embed, embedded):
    """The lesion curves too, computed anew: they lie within two test digits of the stored ones."""
    made = embed.page_data()
    stored = {**embedded, "nets": [dict(net) for net in embedded["nets"]]}
    for mine, theirs in zip(made["nets"], stored["nets"], strict=True):
        curve, shown = mine.pop("lesions"), theirs.pop("lesions")
        assert list(curve["blocks"]) == list(shown["blocks"])
        assert shown["whole"] == pytest.approx(curve["whole"], abs=FLIPPED)
        assert list(shown["blocks"].values()) == pytest.approx(list(curve["blocks"].values()), abs=FLIPPED)
    assert stored == json.loads(json.dumps(made)), "run: python docs/embed_nets.py"


def test_the_curves_show_what_the_page_says_of_them(embedded):
    """Veit et al. 2016, figure 3: without one block a plain net guesses, the others have a way around each."""
    curves = {net["connection"]: list(net["lesions"]["blocks"].values()) for net in embedded["nets"]}
    assert max(curves["plain"]) < 0.5
    for connection in ("add", "concat"):
        third = len(curves[connection]) // 3
        assert sorted(curves[connection])[len(curves[connection]) // 2] > 0.85
        assert np.mean(curves[connection][:third]) < np.mean(curves[connection][-third:])


def test_the_page_is_small_and_asks_for_nothing_but_its_own_files(browser):
    files = [path for path in PAGE.parent.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1e6
    with opened(browser) as page:
        assert set(page.asked) - {"data:,"} == {path.as_uri() for path in files}


def test_links_lead_to_files_that_are_there():
    local = re.findall(r'href="(\.\.[^"]+)"', PAGE.read_text())
    assert local and [link for link in local if not (PAGE.parent / link).exists()] == []
    assert "docs/explainer/index.html" in (ROOT / "README.md").read_text()


def test_colours_are_those_of_the_report_and_of_the_lessons():
    from resdense_export.report.palette import COLOURS
    from resdense_keras.experiments.lesson import SOURCE_COLORS

    style = PAGE.with_name("style.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media", 2)[:2])
    names = {"paper": "paper", "ink": "ink", "muted": "muted", "rule": "rule"}
    names |= {"plain": "plain", "add": "resnet", "concat": "densenet", "minus": "other"}
    assert {name: (light[name], dark[name]) for name in names} == {name: COLOURS[row] for name, row in names.items()}
    assert tuple(light[f"source-{source}"] for source in range(len(SOURCE_COLORS))) == SOURCE_COLORS


# Its numbers


@pytest.mark.parametrize(
    "connection, depth, growth_rate",
    [(connection, depth, 12) for connection in CONNECTIONS for depth in (1, 2, 5, 12)]
    + [("dense", depth, growth_rate) for depth, growth_rate in ((1, 32), (3, 4), (7, 32), (12, 20))],
)
def test_costs_equal_what_is_counted_in_keras(page, connection, depth, growth_rate):
    model = chain(connection, depth, growth_rate=growth_rate)
    found, blocks = resdense_keras.profile(model), by_block(model)
    shown = page.evaluate("([c, d, k]) => cost(c, d, k)", [OURS[connection], depth, growth_rate])
    assert [shown[key] for key in ("channels", "parameters", "macs", "activationBytes", "inferencePeakBytes")] == [
        model.output_shape[-1], found.trainable, found.macs, found.activation_bytes, found.inference_peak_bytes
    ]  # fmt: skip
    rows = shown["blocks"][1:]
    assert [(row["reads"], row["channels"], row["parameters"]) for row in rows] == [tuple(block) for block in blocks]
    for index, row in enumerate(rows, start=1):
        own = [layer for layer in found.layers if layer.name.startswith(f"stage1_block{index}_")]
        assert (row["macs"], row["keptBytes"], row["aliveBytes"]) == (
            sum(layer.macs for layer in own),
            sum(layer.kept_bytes for layer in own),
            max(layer.alive_bytes for layer in own),
        )


@pytest.mark.parametrize("connection", OURS.values())
def test_what_is_shown_is_what_was_counted_and_its_arithmetic_is_right(browser, connection):
    with opened(browser, f"#connection={connection}&depth=6&growth=8&block=1") as page:
        for block in (1, 4):
            page.locator(f"#chain [data-block='{block}']").click()
            lines = page.locator("#sums dd")
            terms = lines.evaluate_all("all => all.map(dd => [dd.firstChild.textContent, Number(dd.dataset.value)])")
            row = page.evaluate("([c, b]) => cost(c, 6, 8).blocks[b]", [connection, block])
            assert [value for _, value in terms] == [row[k] for k in ("channels", "parameters", "macs", "keptBytes")]
            assert [eval(text.replace("·", "*"), {}) for text, _ in terms] == [value for _, value in terms]
        cells = page.locator("#costs td").evaluate_all("all => all.map(td => Number(td.dataset.value))")
        costs = page.evaluate("CONNECTIONS.map(c => cost(c, 6, 8))")
        keys = ("channels", "parameters", "macs", "activationBytes", "inferencePeakBytes")
        assert cells == [found[key] for key in keys for found in costs]
        assert page.locator("#costs tbody tr").nth(1).inner_text().split("\t")[1] == f"{costs[0]['parameters']:,}"


def test_every_tensor_of_every_net_equals_keras(page, nets):
    """Each operation's output for test digits and for noise, and the answers with each block taken out."""
    import keras

    images = data.load("digits").test.array()[:2].astype("float32")
    images = np.concatenate([images, np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 1)).astype("float32")])
    for number, model in enumerate(nets.values()):
        everything = keras.Model(model.input, [operation.output for operation in model.operations])
        expected = [output.numpy() for output in everything(images, training=False)]
        call = "([net, images]) => images.map(pixels => run(NETS.nets[net], pixels).map(t => [...t.data]))"
        shown = page.evaluate(call, [number, images.reshape(3, 64).tolist()])
        for place, operation in enumerate(model.operations):
            for image in range(3):
                np.testing.assert_allclose(
                    shown[image][place], expected[place][image].ravel(), atol=TOLERANCE, err_msg=operation.name
                )


def test_answers_without_a_block_equal_keras(page, nets):
    images = data.load("digits").test.array()[:8].astype("float32")
    call = (
        "([net, images, block]) => images.map(pixels => [...run(NETS.nets[net], pixels, new Set([block])).at(-1).data])"
    )
    for number, model in enumerate(nets.values()):
        weights = model.get_weights()
        for block in lesions.block_names(model):
            lesions.remove(model, block)
            expected = model(images, training=False).numpy()
            model.set_weights(weights)
            shown = page.evaluate(call, [number, images.reshape(-1, 64).tolist(), block])
            np.testing.assert_allclose(shown, expected, atol=TOLERANCE, err_msg=f"{model.name} {block}")


def test_every_net_says_of_itself_what_the_catalogue_says(page, nets):
    for number, name in enumerate(nets):
        text = page.locator(f"[data-net='{number}'] .meta").inner_text()
        assert text.startswith(f"{catalog.sizes()[name]['trainable']:,} parameters · ")


# Whom it serves


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme, address", [("light", ""), ("dark", BUSY)])
def test_the_page_fits_the_screen(browser, width, scheme, address):
    with opened(browser, address, width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = page.evaluate(
            "[...document.querySelectorAll('figure text')]"
            ".map(text => [parseFloat(getComputedStyle(text).fontSize), text.getScreenCTM()])"
            ".map(([size, turned]) => size * Math.hypot(turned.a, turned.b))"
        )
        assert min(sizes) >= 9
        outside = page.evaluate(
            "[...document.querySelectorAll('figure text')].filter(text => {"
            "  const own = text.getBoundingClientRect(), plot = text.closest('svg').getBoundingClientRect();"
            "  return own.left < plot.left - 1 || own.right > plot.right + 1;"
            "}).map(text => text.textContent)"
        )
        assert outside == []


@pytest.mark.parametrize("width, scheme, address", [(360, "dark", BUSY), (1280, "light", ""), (1280, "light", BUSY)])
def test_axe_finds_nothing_serious(browser, width, scheme, address):
    axe = os.environ.get("RESDENSE_AXE")
    if not axe or not Path(axe).is_file():
        pytest.skip("RESDENSE_AXE does not name axe.min.js of npm's axe-core; .ci/run fetches it")
    with opened(browser, address, width, scheme) as page:
        page.add_script_tag(path=axe)
        found = page.evaluate("axe.run({preload: false}).then(result => result.violations)")
        assert [(row["id"], [node["target"] for node in row["nodes"]]) for row in found] == []


def test_it_can_be_used_by_keyboard_alone(browser):
    with opened(browser) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the switch"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowLeft")  # concat -> add
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.dataset.block") == "1"  # the focus stays where it was
        assert address(page) == "connection=add&depth=6&growth=16&block=1&digit=4"
        page.locator("[data-net='0'] [data-block='stage2_block1']").focus()
        page.keyboard.press("Space")
        assert address(page).endswith("&out=plain:stage2_block1")
        assert "plain without stage 2, block 1 says" in page.locator("#status").inner_text()
        page.keyboard.press("Space")
        assert "out=" not in address(page)


def test_the_focus_can_be_seen(browser):
    with opened(browser) as page:
        for _ in range(12):
            page.keyboard.press("Tab")
            seen = "e => [e, e.nextElementSibling].some(x => x && getComputedStyle(x).outlineStyle !== 'none')"
            assert page.evaluate_handle("document.activeElement").evaluate(seen)


def test_a_block_is_pulled_out_by_touch_and_put_back(browser):
    with opened(browser, width=360, has_touch=True) as page:
        before = page.locator(".says").all_inner_texts()
        block = page.locator("[data-net='0'] [data-block='stage1_block2']")
        block.tap()
        assert block.get_attribute("aria-pressed") == "true"
        after = page.locator(".says").all_inner_texts()
        assert after[0] != before[0] and after[1:] == before[1:]
        page.locator("[data-net='0'] .restore").tap()
        assert page.locator(".says").all_inner_texts() == before


STROKES = {  # a digit as a person draws it, in shares of the field
    0: [[(0.5, 0.15), (0.33, 0.3), (0.3, 0.55), (0.4, 0.8), (0.55, 0.83), (0.68, 0.6), (0.68, 0.35), (0.5, 0.15)]],
    1: [[(0.38, 0.3), (0.52, 0.15), (0.52, 0.85)]],
    4: [[(0.55, 0.15), (0.3, 0.55), (0.7, 0.55)], [(0.6, 0.35), (0.56, 0.88)]],
    7: [[(0.3, 0.18), (0.7, 0.18), (0.45, 0.85)], [(0.35, 0.5), (0.66, 0.5)]],
}


@pytest.mark.parametrize("digit", [4, *(pytest.param(digit, marks=pytest.mark.slow) for digit in (0, 1, 7))])
def test_a_digit_drawn_by_mouse_is_read_by_the_nets(browser, digit):
    with opened(browser) as page:
        page.locator("#field").scroll_into_view_if_needed()
        box = page.locator("#field").bounding_box()
        for stroke in STROKES[digit]:
            places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            page.mouse.move(*places[0])
            page.mouse.down()
            for place in places[1:]:
                page.mouse.move(*place, steps=2)
            page.mouse.up()
        page.wait_for_function("choice.drawn !== null && !waiting")
        said = page.locator(".says b").all_inner_texts()
        assert said[1:] == [str(digit)] * 2, said
        shared = address(page)
        pixels = page.evaluate("pixels()")
    with opened(browser, "#" + shared) as again:
        assert np.abs(np.subtract(again.evaluate("pixels()"), pixels)).max() == 0
        assert again.locator(".says b").all_inner_texts() == said


def test_a_digit_is_drawn_by_finger(browser):
    """The browser's own touch events, so that a page which scrolled instead would not get the stroke."""
    with opened(browser, width=360, has_touch=True) as page:
        page.locator("#field").scroll_into_view_if_needed()
        box = page.locator("#field").bounding_box()
        touch = page.context.new_cdp_session(page)
        for event, y in [("touchStart", 0.15), *(("touchMove", 0.15 + 0.07 * step) for step in range(1, 11))]:
            points = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}]
            touch.send("Input.dispatchTouchEvent", {"type": event, "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_function("choice.drawn !== null && !waiting")
        assert page.evaluate("strokes[0].length") > 5
        assert page.locator(".says b").all_inner_texts()[1:] == ["1", "1"]


def test_a_digit_is_drawn_by_keyboard_and_cleared(browser):
    with opened(browser) as page:
        page.locator("#field").focus()
        for key in ["ArrowUp"] * 6 + [" "] + ["ArrowDown"] * 12 + [" "]:
            page.keyboard.press(key)
        assert page.locator(".says b").all_inner_texts()[1:] == ["1", "1"]
        assert "drawn=" in address(page)
        page.keyboard.press("Delete")
        assert address(page) == DEFAULT


def test_the_address_holds_the_state(browser):
    with opened(browser, BUSY) as page:
        assert page.locator("input[value=add]").is_checked()
        assert page.locator("#chain button").count() == 12
        assert page.locator("#block-card h3").inner_text().endswith("Inside block 9")
        assert page.locator(".samples button").nth(3).get_attribute("aria-pressed") == "true"
        assert page.locator("#nets [aria-pressed=true]").count() == 3
        page.locator("[data-net='2'] .restore").click()
        assert "#" + address(page) == BUSY.replace(",concat:stage3_block4", "")


@pytest.mark.parametrize(
    "wrong",
    [
        "#connection=<img src=x onerror=window.hacked=1>&depth=-3&growth=1e9&block=NaN&digit=99&out=plain:nothing,x",
        "#depth=&growth=null&drawn=<script>&out=%",
        "#" + "a" * 5000,
    ],
)
def test_a_wrong_address_is_read_as_far_as_it_goes(browser, wrong):
    with opened(browser, wrong) as page:
        assert page.evaluate("window.hacked") is None
        assert page.locator("input[value=concat]").is_checked()
        state = page.evaluate("[choice.depth, choice.growth, choice.block, choice.sample, choice.out.size]")
        assert 1 <= state[0] <= 12 and 4 <= state[1] <= 32 and 1 <= state[2] <= state[0] and 0 <= state[3] <= 9
        assert state[4] == 0
