"""Counts every net of the catalogue and writes the table that `resdense models` shows: resdense_keras/sizes.json.

Run it after a change of the catalogue: `python benchmarks/sizes.py` (about ten minutes, DenseNets of 250 layers
included), or with the names of the nets that are new or changed. The tests recount the rows.
"""

import argparse

import keras

from resdense_keras import catalog, files


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="nets to count; the others keep their row")
    chosen = parser.parse_args().names
    if not set(chosen) <= set(catalog.list_models()):
        parser.error(f"{chosen} are not all names of the catalogue")
    known = catalog.sizes() if chosen else {}
    table = {}
    for name in catalog.list_models():
        if name in known and name not in chosen:
            table[name] = known[name]
            continue
        table[name] = catalog.count(name)
        keras.utils.clear_session()
        print(name, table[name], flush=True)
    files.write_json(catalog.SIZES, table)


if __name__ == "__main__":
    main()
