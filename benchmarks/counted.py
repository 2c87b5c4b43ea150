"""Runs .tflite files one after the other, each between two marks, for who counts instructions on an emulated Arm core.

    COUNT=1 $ARM/python benchmarks/counted.py FILE.tflite ...

A mark is a getppid call: a plugin of the emulator prints the instructions between two of them, so every second number
is a file's. One thread, one inference after a first one. Needs ai-edge-litert and NumPy only.
"""

import os
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(path):
    runner = Interpreter(path, num_threads=1)
    runner.allocate_tensors()
    for detail in runner.get_input_details():
        values = np.random.default_rng(0).uniform(0, 100, detail["shape"])
        runner.set_tensor(detail["index"], values.astype(detail["dtype"]))
    runner.invoke()
    os.getppid()
    runner.invoke()
    os.getppid()


if __name__ == "__main__":
    for path in sys.argv[1:]:
        run(path)
