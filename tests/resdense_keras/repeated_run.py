"""Not a test: trains a net at full width for a few steps with `deterministic` and prints what it ended in.

    python repeated_run.py NET BATCH STEPS [TIMES]    # a line each: a sha256 of weights and optimizer, and the loss

On Keras' backend; on JAX as one host of one. A process of its own, as people's are.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np


def main(net, batch, steps, times=1):
    if os.environ.get("KERAS_BACKEND") == "jax":
        from resdense_keras.training import hosts

        hosts.connect(f"127.0.0.1:{free_port()}", 0, 1)
    from resdense_keras.training import devices, recipe, state, train

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        write_images(data, batch * steps, size=64 if net == "resnet18" else 32)
        chosen = devices.choose(coordinator=os.environ.get("KERAS_BACKEND") == "jax")
        asked = recipe("fast", epochs=1, batch_size=batch)
        for time in range(times):
            run = Path(folder) / str(time)
            history = train(net, data, run, asked, deterministic=True, jit="off", devices=chosen, held_out=0.1)
            arrays, _ = state.load(run / "checkpoints" / "state.safetensors")
            digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
            print(digest, history[0]["loss"])


def write_images(path, count, size):
    """`count` training images besides the tenth that is held out; noise, brighter for a higher class."""
    random = np.random.default_rng(0)
    labels = np.arange(round(count / 0.9)) % 10
    pixels = random.integers(0, 200, (len(labels), size, size, 3)) + 5 * labels[:, None, None, None]
    images = pixels.astype(np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
