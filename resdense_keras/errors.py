"""The two errors that this project raises on purpose, and the message for an unknown name.

A message says what was given and what is allowed; `hint` says what to do. The command line prints both and exits with 2
for a `RequestError` and with 1 for a `WorkError`. In Python they are a ValueError and a RuntimeError.
"""

import difflib


class ResdenseError(Exception):
    """Base of both; `hint` is one line that says what to do, or None.

    Example:
        >>> str(resdense_keras.ResdenseError("the disk is full", "free some space"))
        'the disk is full (hint: free some space)'
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class RequestError(ResdenseError, ValueError):
    """The request is wrong: an unknown name, a value out of range, data that do not fit.

    Example:
        >>> try:
        ...     resdense_keras.create("resnet51")
        ... except resdense_keras.RequestError as error:
        ...     print(error.hint)
        did you mean `resnet56` or `resnet50` or `resnet18`?
        >>> isinstance(resdense_keras.RequestError("no such net"), ValueError)
        True
    """


class WorkError(ResdenseError, RuntimeError):
    """The request is right and the work failed: a full disk, a gate, a loss that is not a number.

    `report` is the content of report.json where an export or a comparison was finished but a file failed a gate.
    Example:
        >>> isinstance(resdense_keras.WorkError("the disk is full"), RuntimeError)
        True
    """

    report = None


def nearest(given, known, count=3):
    """The names in `known` that are most like `given`, best first; often empty."""
    return difflib.get_close_matches(str(given).lower(), [str(name) for name in known], n=count, cutoff=0.6)


def unknown(kind, given, known):
    """A RequestError for a name that is not in `known`: the nearest ones as the hint, else all of them."""
    known = [str(name) for name in known]
    if kind == "model" and str(given).lower().endswith((".keras", ".h5", ".hdf5")):
        message = f"{given} is a file; a net is built here by its name, and takes weights from a file"
        return RequestError(message, f"for example resnet50 with `--weights {given}`; `resdense models` lists names")
    close = nearest(given, known)
    hint = "did you mean " + " or ".join(f"`{name}`" for name in close) + "?" if close else None
    listed = ", ".join(known)
    counted = f"{len(known)} names" + (", `resdense models` lists them" if kind == "model" else "")
    short = listed if len(known) <= 12 else counted
    return RequestError(f"unknown {kind} {str(given)!r}; known: {short}", hint or f"choose one of: {listed}")


def first_line(error):
    """First line of another library's error, at most 200 characters; its class where it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
