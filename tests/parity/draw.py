"""Tensors that anyone can draw again: each from its own name and shape, by NumPy alone.

`record.py` fills the originals with them, in PyTorch; test_parity.py writes the same ones to a file, without PyTorch.
"""

import hashlib

import numpy as np

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
IMAGE_SHAPE = (1, 3, 72, 88)  # (N, C, H, W): not square, and stride 16 meets odd sides, where paddings differ


def tensor(name, shape):
    """The tensor of that name: float32, or the int64 batch counter of a PyTorch batch norm.

    The scales keep the logits near 1 however deep the net: He's for kernels, so that a ReLU net neither grows nor dies;
    variances around 1 for DenseNets, whose norms are called "norm", and around 3 for ResNets, so that each residual
    branch adds a fraction of what it reads (with 1 the signal of a ResNet-101 would grow by the factor 1e5).
    """
    part = name.rpartition(".")[2]
    if part == "num_batches_tracked":
        return np.asarray(1000, "int64")
    # RandomState and not default_rng: NumPy promises never to change its numbers (NEP 19).
    random = np.random.RandomState(np.frombuffer(hashlib.sha256(f"{name} {shape}".encode()).digest(), "<u4"))
    if part == "running_var":
        low, high = (0.5, 1.5) if "norm" in name else (2, 4)
        return random.uniform(low, high, shape).astype("float32")
    values = random.standard_normal(shape)
    if len(shape) > 1:
        values *= np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:]))  # OIHW kernel, or (out, in) of the head
    elif part == "weight":
        values = 1 + 0.1 * values
    else:
        values *= 0.1
    return values.astype("float32")


def state_dict(shapes):
    """All tensors of a net: {name: array} for {name: shape}."""
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def image():
    """The fixed input, (N, C, H, W) float32, around 0 as normalized pixels are."""
    return np.random.RandomState(0).standard_normal(IMAGE_SHAPE).astype("float32")


def fingerprint(shapes):
    """sha256 of the sorted names and shapes of a state dict."""
    return hashlib.sha256("\n".join(f"{name} {shapes[name]}" for name in sorted(shapes)).encode()).hexdigest()


def compact(shapes):
    """`shapes` as sorted lines, "conv1.weight 64x3x7x7"; the five tensors of a batch norm are one, "bn1.* 64"."""
    norms = {name.removesuffix(".running_var") for name in shapes if name.endswith(".running_var")}
    lines = [f"{norm}.* {shapes[f'{norm}.weight'][0]}" for norm in norms]
    lines += [
        f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items() if name.rpartition(".")[0] not in norms
    ]
    return sorted(lines)


def expand(lines):
    """{name: shape} from the lines of `compact`."""
    shapes = {}
    for name, _, text in (line.partition(" ") for line in lines):
        shape = tuple(map(int, text.split("x")))
        if name.endswith(".*"):
            norm = name.removesuffix("*")
            shapes |= {norm + part: () if part == "num_batches_tracked" else shape for part in NORM}
        else:
            shapes[name] = shape
    return shapes
