"""report.html and the plots: whole, safe, the same twice, and readable on a phone."""

import ast
import contextlib
import copy
import inspect
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from resdense_export.report import html, palette, plots, read_report, rebuild, view, write_report
from resdense_export.report.schema import validate
from resdense_keras import files
from resdense_keras.errors import RequestError

HOSTILE = '<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"\'&$\\frac{x}$ --> ]]> id="x url(#y'


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Writes a report once a name."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name, report):
        path = folder / name / "report.html"
        return path if path.exists() else write_report(folder / name, report)

    return write


# The folder


def test_page_data_and_plots_lie_in_the_folder(report, tmp_path):
    page = write_report(tmp_path, report)
    names = {f"report.{plot}.{suffix}" for plot in plots.PLOTS for suffix in ("svg", "png")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"report.json", "report.html"}
    assert page == tmp_path / "report.html"
    assert read_report(tmp_path) == report


def test_the_same_report_gives_the_same_bytes(phone_report, tmp_path):
    for folder in ("one", "two"):
        write_report(tmp_path / folder, phone_report)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_wrong_report_leaves_nothing(report, tmp_path):
    report["models"][0]["accuracy"] = float("nan")
    with pytest.raises(RequestError, match=re.escape("models[0].accuracy")):
        write_report(tmp_path, report)
    assert list(tmp_path.iterdir()) == []


def test_only_files_that_may_grow_are_written_into_a_bundle(bundle_report, tmp_path):
    (tmp_path / "labels.txt").write_text("zero\n")
    files.write_manifest(tmp_path)
    write_report(tmp_path, bundle_report)
    assert files.verify_manifest(tmp_path) == []


def test_rebuild_shows_what_report_json_holds_now(report, phone_report, tmp_path):
    write_report(tmp_path, report)
    files.write_json(tmp_path / "report.json", phone_report)
    for model in phone_report["models"]:
        model["history"] = []
    files.write_json(tmp_path / "report.json", phone_report)
    before = (tmp_path / "report.json").read_bytes()
    assert rebuild(tmp_path) == [tmp_path / "report.html"]
    assert (tmp_path / "report.json").read_bytes() == before
    assert "Pixel 8" in (tmp_path / "report.html").read_text()
    assert "Pixel 8" in (tmp_path / "report.latency.svg").read_text()
    assert not (tmp_path / "report.training.svg").exists()  # nothing is left of plots without numbers


def test_rebuild_takes_a_folder_of_bundles(report, bundle_report, tmp_path):
    for name, content in (("one", report), ("two", bundle_report)):
        files.write_json(tmp_path / name / "report.json", content)
    assert rebuild(tmp_path) == [tmp_path / "one" / "report.html", tmp_path / "two" / "report.html"]


def test_rebuild_without_a_report_says_what_writes_one(tmp_path):
    with pytest.raises(RequestError, match=r"there is no report\.json in") as caught:
        rebuild(tmp_path)
    assert "resdense compare" in caught.value.hint


# The plots


def test_plots_are_whole_images(pages, phone_report):
    folder = pages("phone", phone_report).parent
    for path in folder.glob("*.svg"):
        assert ElementTree.fromstring(path.read_bytes()).tag.endswith("svg")
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert image.width == pytest.approx(plots.WIDTH * plots.DPI, abs=1)


def test_only_what_was_measured_is_drawn(bundle_report):
    assert set(plots.draw(bundle_report)) == {"latency"}
    bundle_report["models"][0]["exports"] = []
    assert plots.draw(bundle_report) == {}


def test_drawing_leaves_matplotlibs_settings_alone(report):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.draw(report)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_many_devices_and_names_of_any_script_are_drawn(phone_report):
    names = ["手机", "telefón ☎", "a name that is far too long for the width of a plot " * 4]
    for model in phone_report["models"]:
        model["name"] = f"{model['name']} 网络"
        for export in model["exports"]:
            phone = export["measurements"][1]
            places = [(f"{number}", names[number % 3]) for number in range(plots.MAX_PANELS + 3)]
            export["measurements"] = [
                phone | {"device": phone["device"] | {"id": key, "name": name}} for key, name in places
            ]
    drawn = plots.draw(phone_report)["latency"].svg
    assert "手机" in drawn
    assert "3 more are in the table" in drawn


def test_labels_that_would_meet_are_moved_apart():
    assert plots._apart([1.0, 1.1, 5.0], 0.5) == [1.0, 1.5, 5.0]


def _contrast(one, two):
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("name", ["ink", "muted", *palette.FAMILIES])
def test_every_colour_of_text_reads_on_the_page(name, theme):
    assert _contrast(palette.COLOURS[name][theme], palette.COLOURS["paper"][theme]) >= 4.5


# The page as text


def test_the_page_fetches_nothing_and_runs_nothing(pages, phone_report):
    page = pages("phone", phone_report).read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    for target in re.findall(r"(?:src|href|srcset|action|data)=\"([^\"]*)\"|url\(([^)]*)\)|@import", page):
        assert "".join(target).startswith(("#", "data:")), target


def test_ids_of_the_page_are_unique_and_all_that_is_referred_to_is_there(pages, phone_report):
    page = pages("phone", phone_report).read_text()
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    referred = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)
    labels = " ".join(re.findall(r'aria-labelledby="([^"]*)"', page)).split()
    assert {"".join(pair) for pair in referred} | set(labels) <= set(ids)


def test_modules_load_plotting_and_templates_only_when_used():
    heavy = {"matplotlib", "jinja2", "scipy", "tensorflow", "keras"}
    for path in Path(inspect.getfile(read_report)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found = {name.split(".")[0] for name in names} & heavy
            assert not found & {"tensorflow", "keras"}, path.name
            assert not found or node.col_offset > 0, f"{path.name} imports {found} at its top"


# The page in a browser


@contextlib.contextmanager
def opened(browser, path, width=360, scheme="light"):
    """The page at `path`; what it asked for and what it complained of are in `page.asked` and `page.complaints`."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_asks_for_nothing_and_complains_of_nothing(browser, pages, phone_report, width, scheme):
    path = pages("phone", phone_report)
    with opened(browser, path, width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.asked == [path.as_uri()]
        assert page.complaints == []
        paper = palette.COLOURS["paper"][scheme == "dark"]
        shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert shown == f"rgb({', '.join(str(int(paper[place : place + 2], 16)) for place in (1, 3, 5))})"


def test_the_text_of_plots_reads_on_a_phone(browser, pages, phone_report):
    with opened(browser, pages("phone", phone_report)) as page:
        sizes = page.evaluate(
            "[...document.querySelectorAll('figure text')]"
            ".map(text => [parseFloat(getComputedStyle(text).fontSize), text.getScreenCTM()])"
            ".map(([size, turned]) => size * Math.hypot(turned.a, turned.b))"
        )
    assert sizes and min(sizes) >= 9


def test_text_of_plots_stays_within_its_plot(browser, pages, phone_report):
    with opened(browser, pages("phone", phone_report)) as page:
        outside = page.evaluate(
            "[...document.querySelectorAll('figure text')].filter(text => {"
            "  const own = text.getBoundingClientRect(), plot = text.closest('svg').getBoundingClientRect();"
            "  return own.left < plot.left - 1 || own.right > plot.right + 1;"
            "}).map(text => text.textContent)"
        )
    assert outside == []


def test_wide_tables_scroll_by_keyboard_inside_their_box(browser, pages, phone_report):
    with opened(browser, pages("phone", phone_report)) as page:
        boxes = page.locator("[role=region]")
        for number in range(boxes.count()):
            page.keyboard.press("Tab")
            assert boxes.nth(number).evaluate("box => box === document.activeElement")
        page.keyboard.press("ArrowRight")
        for _ in range(50):  # scrolling is smooth, and the page's own policy forbids the driver's wait_for_function
            page.wait_for_timeout(100)
            moved = page.evaluate("document.activeElement.scrollLeft")
            if moved:
                break
        assert moved > 0


def test_pictures_have_names_and_tables_have_headers(browser, pages, phone_report):
    with opened(browser, pages("phone", phone_report)) as page:
        assert page.get_by_role("img", name="Latency").count() == 1
        assert page.get_by_role("img").count() == len(plots.PLOTS)
        assert page.get_by_role("columnheader", name="DenseNet densenet_bc22_24").count() == 1
        assert page.get_by_role("rowheader", name="parameters", exact=True).count() == 1
        assert page.get_by_role("heading", level=1).inner_text() == "ResNet and DenseNet on digits"


def test_hostile_names_are_text_in_the_page_and_in_the_plots(browser, pages, phone_report):
    hostile = copy.deepcopy(phone_report)
    model = hostile["models"][0]
    model["name"] = HOSTILE
    model["rejected"] = {HOSTILE: {HOSTILE: HOSTILE}}
    model["exports"][0] |= {"scheme": HOSTILE, "gates": {HOSTILE: {"passed": False, "detail": HOSTILE}}}
    for export in model["exports"]:
        export["measurements"][1]["device"] |= {"name": HOSTILE + "\x00\x1b[31m\ud800\ufffe", "os": HOSTILE}
        export["measurements"][1]["runtime"] = HOSTILE
    hostile["command"] = hostile["data"]["spec"] = hostile["machine"]["cpu"] = hostile["versions"]["keras"] = HOSTILE
    path = pages("hostile", hostile)
    with opened(browser, path) as page:
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.scripts.length + document.images.length") == 0
        assert HOSTILE in page.locator("h1").inner_text()
        assert HOSTILE[:20] in page.locator("figure").filter(has_text="Latency").inner_text()
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for svg in path.parent.glob("*.svg"):
        assert not re.search(r"<(script|img)", svg.read_text())
        ElementTree.fromstring(svg.read_bytes())


def test_a_bundle_without_data_has_a_page_of_its_own(browser, pages, bundle_report):
    with opened(browser, pages("bundle", bundle_report)) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.complaints == []
        assert page.get_by_role("heading", level=1).inner_text() == "resnet20"
        files = page.get_by_role("region", name="The files")
        assert files.get_by_text("stock converter", exact=True).count() == 3


def test_failed_gates_and_files_that_were_not_written_are_shown(browser, pages, report):
    model = report["models"][0]
    model["exports"][0]["gates"]["agreement"] = {"passed": False, "detail": "0.90, 0.98 needed"}
    model["rejected"] = {"int8": {"accuracy": "3.00 points lost"}}
    model["exports"].pop()
    with opened(browser, pages("failed", report), 1280) as page:
        assert page.get_by_text("agreement: 0.90, 0.98 needed").is_visible()
        assert page.get_by_text("not written: accuracy: 3.00 points lost").is_visible()


def test_a_gate_that_is_not_proved_is_not_counted_among_the_passed(report):
    open_question = {"passed": True, "proved": False, "interval": [-1.25, 2.5], "detail": "lost", "would_prove": 1011}
    report["models"][0]["exports"][0]["gates"]["accuracy"] = open_question
    text = html.page(view.printable(report), {})
    assert "1 passed, 1 not proved" in text and "about 1,100 test images would prove it" in text


def test_the_page_of_one_net_shows_its_classes_the_worst_first(report):
    report["models"] = report["models"][:1]
    report["models"][0]["by_class"] = [
        {"name": f"class {number}", "images": 40, "right": {"fp32": 40, "int8": 40 - number}} for number in range(25)
    ]
    text = html.page(view.printable(validate(report)), {})
    assert text.index(">class 24<") < text.index(">class 5<") and ">class 4<" not in text
    assert "The 20 worst of 25 classes" in text


def test_captions_speak_of_stock_files_and_of_several_nets_only_where_there_are_some(report):
    latency = plots.PLOTS["latency"]
    assert "order of the legend" in latency.caption_of(report) and "ollow dots" not in latency.caption_of(report)
    report["models"] = report["models"][:1]
    report["models"][0]["exports"][1]["converter"] = "stock"
    assert "Hollow dots" in latency.caption_of(report) and "order of the legend" not in latency.caption_of(report)


def test_one_unsteady_file_does_not_press_the_latencies_of_the_others_together(report):
    latency, medians = plots.PLOTS["latency"], []
    for model in report["models"]:
        medians += [export["measurements"][0]["median_ms"] for export in model["exports"]]
    assert "arrow" not in latency.caption_of(report)
    report["models"][0]["exports"][1]["measurements"][0]["p90_ms"] = 400.0
    with plots.styled() as figure:
        latency.draw(report, figure)
        assert figure.axes[0].get_xlim()[1] < 3 * max(medians)
    assert "A line that ends in an arrow goes on" in latency.caption_of(report)
