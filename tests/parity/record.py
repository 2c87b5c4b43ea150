"""Records what torchvision's and timm's own nets answer, so that our tests can compare without PyTorch.

PyTorch is no dependency of this project; run by hand, in an environment of its own:

    python -m venv originals
    originals/bin/pip install torch==2.13.0 numpy pillow pyyaml safetensors huggingface_hub
    originals/bin/pip install --no-deps torchvision==0.28.0 timm
    originals/bin/python tests/parity/record.py            # writes record.json
    originals/bin/python tests/parity/record.py --check    # recomputes it and compares

One minute on 2 cores. `--check` exits 1 and names each net whose tensors or answers are not the recorded ones.
"""

import argparse
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

import draw
import numpy as np
import torch

RECORD = Path(__file__).with_name("record.json")
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
NETS = {
    "torchvision": (*RESNETS, *DENSENETS),
    "timm": (*RESNETS, "resnet50d", *DENSENETS),
}
TOLERANCE = 1e-5  # of the largest logit: threads and vector units sum in another order


def builders():
    """{package: function that builds one of its nets by name}."""
    # A torchvision whose compiled operators do not fit torch fails in this module; no net here needs those operators.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    import timm
    import torchvision

    return {"torchvision": torchvision.models.get_model, "timm": timm.create_model}


def answer(net):
    """(shapes, logits) of an original, filled with the drawn tensors: {name: shape} and 1000 floats."""
    net = net.eval()
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    net.load_state_dict({key: torch.from_numpy(value) for key, value in draw.state_dict(shapes).items()})
    with torch.inference_mode():
        return shapes, net(torch.from_numpy(draw.image()))[0].double().tolist()


def record():
    """The whole record as record.json holds it: nets with equal names and shapes share one list of them."""
    state_dicts, nets, build = {}, {}, builders()
    for package, names in NETS.items():
        for name in names:
            shapes, logits = answer(build[package](name))
            key = draw.fingerprint(shapes)
            state_dicts[key] = draw.compact(shapes)
            nets[f"{package}/{name}"] = {"state_dict": key, "logits": " ".join(f"{x:.6g}" for x in logits)}
            print(f"{package}/{name}: {len(shapes)} tensors, logits {np.std(logits):.3g} around {np.mean(logits):.3g}")
    versions = {package: version(package) for package in ("torch", "torchvision", "timm", "numpy")}
    return {"versions": versions, "image_shape": list(draw.IMAGE_SHAPE), "nets": nets, "state_dicts": state_dicts}


def differences(recorded, computed):
    """One line for every net that is not what the record says."""
    for net in sorted(recorded["nets"].keys() | computed["nets"].keys()):
        if net not in recorded["nets"] or net not in computed["nets"]:
            yield f"{net}: only {'recorded' if net in recorded['nets'] else 'computed'}"
            continue
        old, new = recorded["nets"][net], computed["nets"][net]
        names = [source["state_dicts"].get(row["state_dict"]) for source, row in ((recorded, old), (computed, new))]
        if old["state_dict"] != new["state_dict"] or names[0] != names[1]:
            yield f"{net}: other names or shapes"
        logits = [np.array(row["logits"].split(), float) for row in (old, new)]
        difference = np.abs(logits[1] - logits[0]).max() / np.abs(logits[0]).max()
        if not difference <= TOLERANCE:
            yield f"{net}: logits differ by {difference:.2g} of the largest"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with record.json instead of writing it")
    check = parser.parse_args().check
    computed = record()
    if not check:
        RECORD.write_text(json.dumps(computed, indent=1) + "\n")
        return 0
    recorded = json.loads(RECORD.read_text())
    if recorded["versions"] != computed["versions"]:
        print(f"recorded with {recorded['versions']}, recomputed with {computed['versions']}")
    found = list(differences(recorded, computed))
    print("\n".join(found) or f"all {len(computed['nets'])} nets answer as recorded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
