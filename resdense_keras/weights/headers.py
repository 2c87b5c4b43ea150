"""The header of a tensor, read before its bytes, and the error for a file that is refused."""

from dataclasses import dataclass

from ..errors import RequestError


@dataclass(frozen=True)
class Header:
    """Shape and dtype (NumPy's name) of one tensor; `layer` is the name of its layer where the file has it."""

    shape: tuple[int, ...]
    dtype: str
    layer: str | None = None


def refusal(path, reason, tensor=None, hint="the file is damaged or not what its name says: get it again"):
    """The RequestError for a file that cannot be used: names the file, the tensor and the reason."""
    where = f"{path}: " if tensor is None else f"{path}: tensor {shortened(tensor)}: "
    return RequestError(f"cannot load {where}{reason}", hint)


def shortened(text, length=120):
    """`text` as a quoted literal without control characters, shortened so that it fits into a message."""
    text = str(text)
    return repr(text if len(text) <= length else f"{text[:length]}...")
