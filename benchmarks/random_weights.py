r"""Seeded weights with batch norms as a training leaves them, to export a net that nobody has trained.

    python benchmarks/random_weights.py densenet121 densenet121.weights.h5
    resdense export densenet121 --weights densenet121.weights.h5 --data SPEC \
        --out DIR --baseline --max-drop 100 --min-agreement 0

The answers mean nothing; sizes, operators and latencies are those of a trained net.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from convert import randomize_batch_norms

import resdense_keras


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("net", help="as `resdense models` lists it")
    parser.add_argument("path", help="ends in .weights.h5")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = resdense_keras.create(arguments.net)
    randomize_batch_norms(model)
    model.save_weights(arguments.path)


if __name__ == "__main__":
    main()
