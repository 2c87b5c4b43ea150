"""What a .tflite file answers to images, on whatever machine this Python runs: an Arm board, or an emulated core.

    $ARM/python benchmarks/answers.py FILE.tflite IMAGES.npy OUT.npy interpreter|compiled

IMAGES holds (N, H, W, C) pixels, OUT gets (N, outputs) float32. Needs ai-edge-litert and NumPy only. An emulated core
computes half precision at a second an image and more, so OUT is written as it grows and a second call goes on from it.
"""

import argparse
from pathlib import Path

import numpy as np

SAVED = 10  # images between two writes of OUT


def interpreter(path):
    """A function image -> outputs, by the interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=path, num_threads=1)
    runner.allocate_tensors()
    given, gives = runner.get_input_details()[0], runner.get_output_details()[0]

    def answer(image):
        runner.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
        runner.invoke()
        return runner.get_tensor(gives["index"]).ravel()

    return answer


def compiled(path):
    """A function image -> outputs, by CompiledModel on the processor, as LiteRT's newer interface has it."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.interpreter import Interpreter

    gives = Interpreter(model_path=path).get_output_details()[0]
    model = CompiledModel.from_file(path, HardwareAccelerator.CPU)
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)

    def answer(image):
        inputs[0].write(np.ascontiguousarray(image[np.newaxis].astype(np.float32)))
        model.run_by_index(0, inputs, outputs)
        return np.array(outputs[0].read(int(np.prod(gives["shape"])), np.float32)).ravel()

    return answer


RUNTIMES = {"interpreter": interpreter, "compiled": compiled}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("path", "images", "out"):
        parser.add_argument(name)
    parser.add_argument("runtime", choices=RUNTIMES)
    given = parser.parse_args()
    images, out = np.load(given.images), Path(given.out)
    rows = list(np.load(out)) if out.exists() else []
    answer = RUNTIMES[given.runtime](given.path)
    for image in images[len(rows) :]:
        rows.append(answer(image))
        if len(rows) % SAVED == 0 or len(rows) == len(images):
            np.save(out, np.stack(rows).astype(np.float32))


if __name__ == "__main__":
    main()
