"""Counts every net of the catalogue and writes the table that `resdense models` shows: resdense_keras/sizes.json.

Run it after a change of the catalogue: `python benchmarks/sizes.py` (about ten minutes, DenseNets of 250 layers
included). The tests recount the rows.
"""

import argparse

import keras

from resdense_keras import catalog, files


def main():
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    table = {}
    for name in catalog.list_models():
        table[name] = catalog.count(name)
        keras.utils.clear_session()
        print(name, table[name], flush=True)
    files.write_json(catalog.SIZES, table)


if __name__ == "__main__":
    main()
