"""What a file says about a tensor before its bytes are read, and how a file is refused."""

from dataclasses import dataclass

from ..errors import RequestError


@dataclass(frozen=True)
class Header:
    """Shape and dtype (NumPy's name) of one tensor; `layer` is the layer's name where Keras noted it beside."""

    shape: tuple[int, ...]
    dtype: str
    layer: str | None = None


def refusal(path, reason, tensor=None, hint="the file is damaged or not what its name says: get it again"):
    """The RequestError for a file that cannot be used: names the file, the tensor and the reason."""
    where = f"{path}: " if tensor is None else f"{path}: tensor {shortened(tensor)}: "
    return RequestError(f"cannot load {where}{reason}", hint)


def shortened(text, length=120):
    """`text` as a quoted literal that no control character and no length can spoil a message with."""
    text = str(text)
    return repr(text if len(text) <= length else f"{text[:length]}...")
