"""A .tflite file on the test images of a data spec: its figures, and what it is compared with."""

import json
from pathlib import Path
from types import SimpleNamespace

from resdense_keras.errors import RequestError, WorkError

from .. import sources
from ..tflite.child import Child, Fault


def evaluate_file(path, spec, image_size=None, on_bad_image="fail"):
    """Figures of a .tflite file on the test images, as training.evaluate gives them of a model.

    Raises:
        RequestError: no such file; images of another shape, or of more classes, than the file knows.
        WorkError: the file does not open or run, or answers with something that is not a number.
    """
    from resdense_keras.training.evaluation import as_probabilities, figures

    dataset, outputs = answered(path, spec, image_size, on_bad_image)
    dataset.check_outputs(max(2, outputs.shape[1]))
    return figures(as_probabilities(outputs, Path(path).name), dataset.test.labels, dataset.class_names)


def answered(path, spec, image_size=None, on_bad_image="fail"):
    """(the Dataset of `spec` in the file's size, the file's outputs (N, numbers) for its test images)."""
    if not Path(path).is_file():
        raise RequestError(f"there is no file {str(path)!r}", "give a .tflite file")
    with Child() as child:
        try:
            shape = child.open(path)["input"]
            if len(shape) != 4:
                raise RequestError(f"{Path(path).name} takes {shape}, not one image (1, height, width, channels)")
            net = SimpleNamespace(name=Path(path).name, image_shape=tuple(shape[1:]), resize=None)
            dataset = sources.dataset(spec, net, image_size, on_bad_image)
            return dataset, child.run(path, dataset.test.array())
        except Fault as fault:
            raise WorkError(f"{Path(path).name}: {fault}", f"`resdense check {path}` says more") from None


def float_twin(path):
    """The fp32 file of the bundle that a .tflite file lies in; None outside a bundle, and for that file itself."""
    path = Path(path)
    try:
        files = json.loads((path.parent / "model.json").read_bytes())["files"]
        names = [name for name, row in files.items() if (row["scheme"], row["converter"]) == ("fp32", "rewritten")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    found = [path.with_name(name) for name in names if name == Path(name).name and name != path.name]
    return found[0] if found and found[0].is_file() else None
