"""How an int8 file's ranges are best learnt: four ways, judged on training images that none of them saw.

    RESDENSE_CIFAR10=cifar10.npz RESDENSE_CHECKPOINTS=DIR python benchmarks/calibrations.py    # 10 minutes on 2 cores

The trained DenseNet-BC-100-12: the mean distance of the int8 file's probabilities from the float file's, and the share
of answers that change. No test image is looked at. Writes benchmarks/results/ and the table of docs/rewriting.md.
"""

import argparse
import copy
import datetime
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import rewriting_document
from checkpoints import load, training_images
from litert_quantizer.calibrator import CalibrationMode
from rewriting_document import answers, distance

from resdense_export import environment
from resdense_export.making import quantization
from resdense_export.making.float_files import float_files
from resdense_export.schemes import SCHEMES
from resdense_export.tflite import flatbuffer
from resdense_keras import files

NET = "densenet_bc100_12"
RESULTS = Path(__file__).parent / "results"
MARKS = ("<!-- table: python benchmarks/calibrations.py -->\n", "<!-- end of calibrations -->\n")
MSE = tuple(  # weights whose squared error is smallest, instead of those that reach the largest one
    rule | {"algorithm_key": "MSE"} if rule["operation"] == "*" else rule for rule in SCHEMES["int8"].recipe
)


def moving_average(floating, images):
    """Ranges by the quantizer's own default."""
    samples = [{quantization.INPUT: image[np.newaxis].astype(np.float32)} for image in images]
    with quantization._explained("int8"):
        tool = quantization._tool(floating, SCHEMES["int8"].recipe)
        mode = CalibrationMode.CALIBRATION_PROFILER_BASED
        return tool.calibrate({quantization.SIGNATURE: samples}, num_threads=1, mode=mode)


def narrowed(ranges, factor):
    return {
        name: found and found | {"min": found["min"] * factor, "max": found["max"] * factor}
        for name, found in ranges.items()
    }


def files_of(floating, images):
    """(way, bytes of the int8 file) of each, without the sharing of tables, which changes no answer."""
    graph = flatbuffer.read(floating)[0]
    extremes = quantization.calibrate(floating, images)
    ways = {
        "moving average, the tool's default": (
            quantization.share_ranges(moving_average(floating, images), graph),
            SCHEMES["int8"].recipe,
        ),
        "smallest and largest value": (extremes, SCHEMES["int8"].recipe),
        "the same times 0.9": (narrowed(extremes, 0.9), SCHEMES["int8"].recipe),
        "smallest and largest, weights by MSE": (extremes, MSE),
    }
    for way, (ranges, recipe) in ways.items():
        with quantization._explained("int8"):
            tool = quantization._tool(floating, recipe)
            made = tool.quantize(copy.deepcopy(ranges), enable_progress_report=False)
        yield way, bytes(made.quantized_model)  # out here, for what is printed in there goes nowhere


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    count = parser.parse_args().images
    calibration, images = training_images(count)
    floating, rows = float_files(load(NET))("int8"), {}
    expected = answers(floating, images)
    for way, content in files_of(floating, calibration):
        rows[way] = distance(answers(content, images), expected)
        print(way, rows[way], flush=True)
    today = datetime.date.today().isoformat()
    result = {"benchmark": "calibrations", "date": today, "versions": environment.versions(), "model": NET}
    files.write_json(RESULTS / f"calibrations-{today}.json", result | {"training_images": len(images), "ways": rows})
    lines = ["| ranges | distance | changed |\n", "|---|--:|--:|\n"]
    lines += [
        f"| {way} | {1e3 * row['distance']:.2f}e-3 | {100 * row['changed']:.2f} % |\n" for way, row in rows.items()
    ]
    rewriting_document.put(MARKS, lines)


if __name__ == "__main__":
    main()
