"""How well `resdense slim` ranks the channels of a layer, beside other rankings.

    python benchmarks/slim_ranking.py resnet20     # one net a call, some minutes
    python benchmarks/slim_ranking.py --table      # docs/slimming.md alone

A quarter of the channels leaves at every site of one kind: `joined`, whose channels several layers make (an addition
ties them together), or `inner`, whose channels one layer makes. Which of them leave is said by one of these rankings:

answers  the first-order change of the answers (Scores.single)
next     the share in the outputs of the next layers (Scores.local)
kernels  the sum of squares of all kernels that read the channel
random   ORDERS random orders

`resdense slim` ranks channels that an addition joins by `next` and others by `answers`. The net is repaired as it does,
not trained, and judged on the 10,000 test images. So only the ranking differs. Adds the rows to
benchmarks/results/slim_ranking.json and writes their table of docs/slimming.md.
"""

import argparse
import datetime
import json
import os
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from rewriting_document import markdown, put
from slim import DOCUMENT, save, spread

from resdense_export import environment
from resdense_export.tflite.timing import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results" / "slim_ranking.json"
MARKS = ("<!-- table: python benchmarks/slim_ranking.py --table -->\n", "<!-- end of slim_ranking -->\n")
NETS = ("resnet20", "resnet56", "densenet_bc22_16")
KINDS = {"joined": lambda site: len(site) > 1, "inner": lambda site: len(site) == 1}
RANKINGS = ("answers", "next", "kernels", "random")
ORDERS = 3
GONE = 0.25  # of each site's channels
SEED = 0


def measured(name, folder):
    """The rows of one net, one for each kind of site that it has."""
    import keras

    from resdense_export.making.slimming import process, repair, search
    from resdense_export.making.slimming.channels import net_of
    from resdense_export.making.slimming.plan import described
    from resdense_export.making.slimming.scores import Scores
    from resdense_keras import data

    save(name, folder / f"{name}.keras")
    model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    dataset, net = data.load(os.environ["RESDENSE_CIFAR10"]), net_of(model)
    images, test = process._scoring(dataset, SEED), dataset.test.array()
    scores, random = Scores(net, images, SEED), np.random.default_rng(SEED)
    worth = {
        "answers": [scores.single],
        "next": [scores.local],
        "kernels": [kernels(net)],
        "random": [random.random(net.count) for _ in range(ORDERS)],
    }
    right = lambda model: float(search.right(model, test, dataset.test.labels).mean())  # noqa: E731
    about = {"net": name, "gone": GONE, "seed": SEED, "images": len(images), "whole": right(model)}
    about |= {"created": datetime.date.today().isoformat(), "machine": machine(), "versions": environment.versions()}
    for kind in KINDS:
        found, keep = {}, without(net, kind, scores.single)
        if keep.all():
            continue
        shares = list(described(net, keep).macs)
        for ranking, orders in worth.items():
            for order in orders:
                keep = without(net, kind, order)
                slim = repair.repaired(net, keep, images[: repair.images_that_fit(net)])
                found.setdefault(ranking, []).append(right(slim))
                print(name, kind, ranking, found[ranking], flush=True)
        yield about | {"sites": kind, "macs": shares, "repaired": found}


def kernels(net):
    """(groups,) sum of squares of all kernels that read a group of a channels.Net."""
    from resdense_export.making.slimming.channels import PRODUCERS
    from resdense_export.making.slimming.scores import squares

    found = np.zeros(net.count)
    for node in net.nodes:
        if net.kinds[node.name] in PRODUCERS:
            np.add.at(found, net.groups[node.inputs[0]], squares(node))
    return found


def without(net, kind, worth):
    """(groups,) bool: the groups that stay where the least worthy leave every site of a kind."""
    from resdense_export.making.slimming import plan

    keep = net.everything
    for site, own in plan._sites(net, SimpleNamespace(worth=worth)).items():
        if KINDS[kind](site):
            keep[own[: round(GONE * len(own))]] = False
    return keep


def table(rows):
    lines = []
    for row in sorted(rows, key=lambda row: NETS.index(row["net"])):
        accuracies = ([row["whole"]], *(row["repaired"][ranking] for ranking in RANKINGS))
        lines.append([row["net"], row["sites"], f"{row['macs'][1] / row['macs'][0]:.3f}",
                      *(spread([100 * one for one in seeds], 2) for seeds in accuracies)])  # fmt: skip
    return markdown(["net", "channels"], ["MACs", "original", *RANKINGS], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", nargs="?", choices=NETS)
    parser.add_argument("--folder", type=Path, default=Path("slim-ranking"))
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    asked = parser.parse_args()
    if not (asked.table or asked.net):
        parser.error("name a net, or --table")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if asked.net and not asked.table:
        rows = [row for row in rows if row["net"] != asked.net] + list(measured(asked.net, asked.folder))
        files.write_json(RESULTS, rows)
    put(MARKS, table(rows), DOCUMENT)


if __name__ == "__main__":
    main()
