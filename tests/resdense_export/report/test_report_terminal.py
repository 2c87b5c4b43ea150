"""The table at the end of a command."""

from io import StringIO

from rich.console import Console

from resdense_export.report import terminal_table


def printed(report, width=120):
    stream = StringIO()
    Console(file=stream, width=width, force_terminal=False).print(terminal_table(report))
    return stream.getvalue().replace("\u00a0", " ")


def test_every_file_has_a_row_with_its_figures(report):
    lines = printed(report).splitlines()
    assert len(lines) == 1 + 12
    assert lines[1].split() == [
        *("resnet20", "fp32", "1.14", "MB", "98.1", "%", "100.0", "%", "0.212", "ms", "0.199", "to", "0.225", "passed")
    ]
    assert "densenet_bc22_24" in lines[5]


def test_what_was_not_measured_is_a_dash(bundle_report):
    for export in bundle_report["models"][0]["exports"]:
        export["measurements"] = []
    lines = printed(bundle_report).splitlines()
    assert lines[1].split() == ["resnet20", "fp32", "1.14", "MB", "–", "–", "–", "–", "passed"]
    assert "fp32 (stock)" in lines[2]


def test_a_failed_gate_is_named(report):
    report["models"][0]["exports"][3]["gates"]["agreement"] = {"passed": False, "detail": "0.9"}
    assert "failed: agreement" in printed(report)


def test_names_are_neither_markup_nor_terminal_codes(report):
    report["models"][0]["name"] = "[red]net[/red]\x1b[31m"
    assert "[red]net[/red]\ufffd[31m" in printed(report)


def test_the_table_fits_a_narrow_terminal(report):
    assert max(map(len, printed(report, width=80).splitlines())) <= 80
