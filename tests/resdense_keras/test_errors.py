"""Laws of the errors' helpers."""

import pytest

from resdense_keras.errors import first_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), "ValueError"),
        (ValueError(" \n "), "ValueError"),
        (ValueError("\n first \nsecond"), "first"),
        (RuntimeError("x" * 300), "x" * 200),
    ],
)
def test_an_error_without_a_message_is_named_by_its_class(error, expected):
    assert first_line(error).strip() == expected
