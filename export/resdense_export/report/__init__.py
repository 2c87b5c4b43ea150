"""report.json, report.html and the plots, and the words that are computed from the numbers.

Knows only the report's JSON: neither Keras nor TensorFlow, and a plotting library only while it draws.
"""

from .folder import rebuild, write_report
from .schema import read_report, validate
from .terminal import terminal_table
from .words import Summary, accuracy_sentence, summary

__all__ = [
    "Summary",
    "accuracy_sentence",
    "read_report",
    "rebuild",
    "summary",
    "terminal_table",
    "validate",
    "write_report",
]
