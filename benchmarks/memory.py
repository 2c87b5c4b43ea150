"""Peak memory of the commands on folders of 5,000 and of 20,000 photos that stay on disk.

    python benchmarks/memory.py                     # about 45 minutes on 2 busy cores, 1 GB of photos in between
    python benchmarks/memory.py --images 500 2000   # the same, shorter

The photos are generated JPEGs of 500 x 375 in two classes, in a temporary folder that is removed afterwards.
RESDENSE_FREE_BYTES is set so low that neither folder is held in memory. Each command runs in a process of its own; its
peak is what the kernel counted (ru_maxrss of wait4), of the largest process where a command starts others. Goals: the
larger folder at most 3 GiB, and at most 1.1 times the smaller one.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from resdense_export import machine
from resdense_keras import files

RESULTS = Path(__file__).parent / "results"
IMAGES = (5_000, 20_000)
HEIGHT, WIDTH = 375, 500
STEPS, BATCH, SIDE = 20, 32, 224
MOST_BYTES, MOST_RATIO = 3 * 2**30, 1.1
FREE_BYTES = 100_000_000  # a fifth of it holds neither folder


def photo(path, number, light):
    """A JPEG of `number`'s own content: blocks of colours, lighter in one class than in the other."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(number)
    blocks = random.integers(60 * light, 160 + 60 * light, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path, quality=85)


def generate(folder, count):
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        for number in range(count):
            light = number % 2
            pool.submit(photo, folder / ("dark", "light")[light] / f"{number:06}.jpg", number, light)


def train(folder, out):
    """STEPS steps of ResNet-18 on the folder, and its weights as a .keras file; the child's side."""
    from resdense_keras import training

    request = training.TrainingRequest(model="resnet18", data=folder, image_size=SIDE)
    dataset = training.load_data(request)
    recipe = training.recipe("fast", epochs=1, batch_size=BATCH)
    net, done = training.build("resnet18", dataset), []
    training.Training(net, dataset, recipe).run(
        on_step=lambda *place: done.append(place), stopping=lambda: len(done) == STEPS
    )
    net.save(out)


def peak(*command):
    """(seconds, the largest resident set of a process in bytes) of a command."""
    begun = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # Nets of 20 steps guess: that a file of theirs fails a gate is no matter here.
    if process.returncode and "failed a gate" not in errors:
        sys.exit(f"{' '.join(map(str, command))}\n{errors}")
    return time.perf_counter() - begun, used.ru_maxrss * 1024


def commands(folder, out):
    """{name: command} over the photos in `folder`, in an order in which each finds what it needs in `out`."""
    resdense = Path(sys.executable).with_name("resdense")
    net, data = out / "net.keras", ("--data", folder)
    loose = ("--max-drop", 100, "--min-agreement", 0)
    return {
        "train": (sys.executable, __file__, "--child", folder, net),
        "eval": (resdense, "eval", net, *data),
        "export": (resdense, "export", net, *data, "--schemes", "fp32,int8", *loose, "--out", out / "bundle"),
        "compare": (
            *(resdense, "compare", "resnet20", *data, "--image-size", 32, "--epochs", 1, "--seeds", 1),
            *("--out", out / "report"),
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=IMAGES, help="photos of the smaller and larger folder")
    parser.add_argument("--only", nargs="+", help="of train, eval, export, compare")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train(*options.child)
        return
    os.environ |= {"RESDENSE_FREE_BYTES": str(FREE_BYTES), "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    rows = {}
    for count in options.images:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "photos")
            generate(folder, count)
            for name, command in commands(folder, Path(temporary)).items():
                if name == "train" or not options.only or name in options.only:
                    seconds, used = peak(*command)
                    rows.setdefault(name, {})[count] = {"peak_bytes": used, "seconds": round(seconds)}
                    print(f"{name:8} {count:6,} photos {used / 2**30:.2f} GiB {seconds:.0f} s", flush=True)
    small, large = options.images
    for row in rows.values():
        row["ratio"] = round(row[large]["peak_bytes"] / row[small]["peak_bytes"], 3)
    result = {
        "benchmark": "memory",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "photos": {"counts": list(options.images), "height": HEIGHT, "width": WIDTH},
        "free_bytes": FREE_BYTES,
        "commands": rows,
    }
    if not options.only:
        files.write_json(RESULTS / f"memory-{result['created'][:10]}.json", result)
    wrong = [name for name, row in rows.items() if row[large]["peak_bytes"] > MOST_BYTES or row["ratio"] > MOST_RATIO]
    sys.exit(f"beyond the goals: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
