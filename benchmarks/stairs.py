r"""Width comes in stairs: Arm instructions of one layer by its number of channels, the table that slimming ranks by.

    python benchmarks/stairs.py --count "$ARM/python"     # 5 minutes; the argument as operators.py has it

Each file holds one layer on 32x32 positions, with integer ends where it is int8, so that nothing but the layer is
counted. `out`: outputs vary and the layer reads 32 channels; `in`: the other way; the other layers have as many outputs
as inputs. Instructions a position; nearly the same on every machine. Writes
export/resdense_export/making/slimming/stairs.json.
"""

import argparse
import datetime
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from operators import instructions

from resdense_export import environment
from resdense_export.schemes import SCHEMES
from resdense_keras import files

TABLE = Path(__file__).parents[1] / "export" / "resdense_export" / "making" / "slimming" / "stairs.json"
SIDE, FIXED = 32, 32
WIDTHS = (4, 8, 12, 16, 24, 32, 40, 48, 56, 64)  # beyond, the last 32 channels repeat
SHIPPED = ("fp32", "int8")


def layers(width):
    """{kind: (channels of the input, function of the input)} of the layers with `width` channels."""
    from keras import layers, ops

    same = {"padding": "same", "activation": "relu"}
    bounds = np.linspace(1, 2, width, dtype="float32")
    return {
        "conv3 out": (FIXED, layers.Conv2D(width, 3, **same)),
        "conv3 in": (width, layers.Conv2D(FIXED, 3, **same)),
        "conv1 out": (FIXED, layers.Conv2D(width, 1, **same)),
        "conv1 in": (width, layers.Conv2D(FIXED, 1, **same)),
        "depthwise3": (width, layers.DepthwiseConv2D(3, **same)),
        "depthwise1": (width, layers.DepthwiseConv2D(1, **same)),
        "depthwise5": (width, layers.DepthwiseConv2D(5, **same)),
        "add": (width, lambda x: layers.Add()([x, x])),
        "concatenate": (width, lambda x: layers.Concatenate()([x, x])),
        "maximum": (width, lambda x: ops.maximum(x, bounds)),
        **{name: (width, layers.Activation(name)) for name in ("sigmoid", "silu", "hard_silu")},
        "max pool": (width, layers.MaxPooling2D(3, strides=1, padding="same")),
        "average pool": (width, layers.AveragePooling2D(2, strides=1, padding="same")),
        "mean": (width, layers.GlobalAveragePooling2D(keepdims=True)),
    }


def files_of(kind, width):
    """The files of one layer, one for each scheme in SHIPPED."""
    import keras

    from resdense_export.making.conversion import convert

    keras.utils.set_random_seed(0)
    channels, layer = layers(width)[kind]
    image = keras.Input((SIDE, SIDE, channels), name="image")
    model = keras.Model(image, layer(image))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    content = convert(model)
    return {"fp32": content, "int8": integers(content, channels)}


def integers(content, channels):
    """The int8 file with integer ends."""
    from resdense_export.making import quantization

    recipe = [rule for rule in SCHEMES["int8"].recipe if rule["operation"] not in ("INPUT", "OUTPUT")]
    images = np.random.default_rng(0).uniform(0, 255, (20, SIDE, SIDE, channels))
    ranges = quantization._calibrate(content, recipe, images)
    return bytes(quantization._tool(content, recipe).quantize(ranges, enable_progress_report=False).quantized_model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", required=True, metavar="PYTHON", help="runs Python on the Arm core and counts")
    asked = parser.parse_args()
    found = {scheme: {} for scheme in SHIPPED}
    for kind in layers(4):
        made = [files_of(kind, width) for width in WIDTHS]
        for scheme in SHIPPED:
            counted = instructions(asked.count, [each[scheme] for each in made])
            found[scheme][kind] = [round(1e6 * each / SIDE**2, 1) for each in counted]
            print(scheme, kind, found[scheme][kind], flush=True)
    made = {"created": datetime.date.today().isoformat(), "command": "python benchmarks/stairs.py",
            "core": "Cortex-A76, emulated, one thread", "versions": environment.versions()}  # fmt: skip
    files.write_json(TABLE, {**made, "fixed": FIXED, "widths": list(WIDTHS), "instructions": found})


if __name__ == "__main__":
    main()
