"""The table at the end of a command."""

from io import StringIO

from rich.console import Console

from resdense_export.report import terminal_table

HEADER = 2  # lines


def printed(report, width=120):
    stream = StringIO()
    Console(file=stream, width=width, force_terminal=False).print(terminal_table(report))
    return stream.getvalue().replace("\u00a0", " ")


def test_every_file_has_a_row_with_its_figures(report):
    lines = printed(report, width=80).splitlines()
    assert len(lines) == HEADER + 12
    assert lines[HEADER].split() == [
        *("resnet20", "fp32", "1.14", "MB", "98.1", "%", "100.0", "%", "0.212", "0.199–0.225", "passed")
    ]
    assert "densenet_bc22_24" in lines[HEADER + 4]


def test_what_was_not_measured_is_a_dash(bundle_report):
    for export in bundle_report["models"][0]["exports"]:
        export["measurements"] = []
    lines = printed(bundle_report).splitlines()
    assert lines[HEADER].split() == ["resnet20", "fp32", "1.14", "MB", "–", "–", "–", "–", "passed"]
    assert "fp32 (stock)" in lines[HEADER + 1]


def test_a_failed_gate_is_named(report):
    report["models"][0]["exports"][3]["gates"]["agreement"] = {"passed": False, "detail": "0.9"}
    assert "failed: agreement" in printed(report)


def test_what_so_few_images_do_not_prove_is_told_with_its_interval_once_for_all_files_of_the_same(report):
    open_question = {"passed": True, "proved": False, "interval": [-1.25, 2.5], "detail": "lost", "would_prove": 1011}
    for scheme in (0, 3):
        report["models"][0]["exports"][scheme]["gates"]["accuracy"] = open_question
    report["models"][1]["exports"][0]["gates"]["accuracy"] = {**open_question, "strict": True}
    text = " ".join(printed(report, width=80).split())
    assert text.count("not proved") == 2 + 1  # a cell each, and the line below
    line = (
        "resnet20 fp32 and int8: not proved by 360 images: -1.25 to 2.50 points of accuracy lost; "
        "about 1,100 test images would prove it; written, and may be used"
    )
    assert line in " ".join(printed(report, width=200).split())


def test_names_are_neither_markup_nor_terminal_codes(report):
    report["models"][0]["name"] = "[red]net[/red]\x1b[31m"
    assert "[red]net[/red]\ufffd[31m" in printed(report)


def test_the_table_fits_a_narrow_terminal_and_the_figures_stay_on_one_line(report):
    assert max(map(len, printed(report, width=80).splitlines())) <= 80
