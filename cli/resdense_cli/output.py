"""Shared by the commands: starting TensorFlow, lines of progress, tables and JSON on stdout."""

import contextlib
import json
import os
import sys

from resdense_keras.errors import WorkError

PIPE_COLUMNS = 500


def start_tensorflow():
    """Imports Keras on its TensorFlow backend, without TensorFlow's start-up messages."""
    import logging

    from resdense_export.native_stderr import native_stderr

    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with native_stderr():  # some messages come before that variable is read
        import keras
        import tensorflow  # noqa: F401
    # A keras.json may say otherwise, but phones and these nets have the channels last, and 32 bits.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)


def tell(line):
    """Prints a line of progress on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def say_data(dataset):
    """Prints how the data were understood, before the work begins."""
    print(f"data: {dataset.describe()}", file=sys.stderr, flush=True)


def columns(*columns):
    """A table with columns of these names; a ">" in front aligns a column to the right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def print_table(table):
    from rich.console import Console

    # Lines that go into a pipe or a file are not wrapped, so that names stay whole.
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def print_json(value):
    print(json.dumps(value, indent=2, allow_nan=False))


def print_result(result, table, as_json):
    """Prints a command's result on stdout: as JSON, or as the table that `table(result)` makes."""
    if as_json:
        print_json(result)
    else:
        print_table(table(result))


@contextlib.contextmanager
def report_of_failure(out, as_json):
    """Where the body raises an error with a report (a gate failed), shows the report before the error."""
    try:
        yield
    except WorkError as error:
        if error.report is not None:
            show_report(error.report, out, as_json)
        raise


def show_report(report, out, as_json):
    from resdense_export.report import terminal_table

    if as_json:
        print_json(report)
        return
    print_table(terminal_table(report))
    print(out / "report.html")
