"""Measures the memory of one training step: the peak resident memory of a separate process.

It needs neither a GPU nor a profiler, but Linux: it writes 5 to /proc/self/clear_refs and reads VmHWM in
/proc/self/status, see proc(5).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ..errors import WorkError

# After these batch sizes TensorFlow has traced a step for batches of any size: nothing is compiled while we measure.
_WARM_UP = (1, 2, 3)


def is_measured():
    """Whether this system tells the peak memory of a process, as Linux does."""
    return sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)


def peak_training_bytes(model, batch_size):
    """Bytes of tensors that one training step holds at its peak, beyond the weights and the optimizer's state.

    The step (SGD with momentum, random images) runs in a separate process that builds the net from its configuration,
    so `model` stays as it is. It takes 10 s or more, most of it to start TensorFlow.

    Args:
        model: Functional model with one input of known shape and one output.
        batch_size: Images of the step.
    Raises:
        WorkError: not Linux, or the step failed (out of memory among others).
    """
    return step_peaks(model, (batch_size,))[0]


def step_peaks(model, batch_sizes):
    """`peak_training_bytes` of each of the ascending `batch_sizes`, all measured in one process."""
    if not is_measured():
        raise WorkError("peak memory is measured on Linux only", "`profile(model).activation_bytes` estimates it")
    net = json.loads(model.to_json())
    net.pop("compile_config", None)  # its schedule may be a class that the child does not know, and is not measured
    order = json.dumps({"model": json.dumps(net), "batch_sizes": sorted(batch_sizes)})
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=order, capture_output=True, text=True, env=environment
    )
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise WorkError(
            f"a training step of {model.name} failed (exit {child.returncode}): {reason}", "try a smaller batch"
        )
    return json.loads(child.stdout.splitlines()[-1])


def _measure(order):
    """The child's work: peaks as a list of bytes.

    TensorFlow's CPU allocator keeps the memory that a step has freed, so a peak is visible only where it exceeds all
    earlier ones. So the sizes ascend, and all are measured from one starting point.
    """
    import keras
    import numpy as np

    from .. import recompute  # noqa: F401  registers the one layer that Keras does not know

    model = keras.models.model_from_json(order["model"])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")

    def step(batch_size):
        images = np.random.default_rng(0).random((batch_size, *model.input_shape[1:]), "float32")
        model.train_on_batch(images, np.zeros((batch_size, *model.output_shape[1:]), "float32"))

    for batch_size in _WARM_UP:
        step(batch_size)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
    start = _status("VmRSS")
    peaks = []
    for batch_size in order["batch_sizes"]:
        step(batch_size)
        peaks.append(_status("VmHWM") - start)
    return peaks


def _status(field):
    """One field of /proc/self/status, which is in kB, as bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
