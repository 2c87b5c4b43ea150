"""Reports as `resdense compare` and `resdense export` leave them, made here: no stored file that grows old."""

import copy
import math

import pytest

IMAGES = 360
# family: name, parameters, macs, activation and peak bytes, seconds, right answers of each seed, fp32 ms, pace.
NETS = {
    "resnet": ("resnet20", 271_098, 2_546_000, 86_272, 8_192, 41.2, (353, 351, 354), 0.212, 5),
    "densenet": ("densenet_bc22_24", 264_394, 4_871_000, 268_544, 21_504, 58.9, (354, 352, 353), 0.391, 6),
    "plain": ("plain20", 271_098, 2_546_000, 80_128, 6_144, 38.4, (341, 337, 339), 0.198, 3.5),
}
# scheme: bytes of a parameter, speed against fp32, images fewer right.
SCHEMES = {"fp32": (4.2, 1.0, 0), "fp16": (2.15, 1.02, 0), "dynamic": (1.2, 0.81, 1), "int8": (1.3, 0.52, 1)}
COMPUTER = {"id": "c0ffee", "kind": "computer", "name": "Intel(R) Xeon(R) Processor @ 2.10GHz", "os": "Linux x86_64"}
PHONE = {"id": "decade", "kind": "phone", "name": "Pixel 8", "os": "Android 15"}


def measurement(median, device=COMPUTER, spread=0.06, **changes):
    """A record of latency, `spread` to both sides of the median."""
    return {
        "device": dict(device),
        "runtime": "ai-edge-litert 2.3.0",
        "accelerator": "xnnpack-cpu",
        "threads": 1,
        "rounds": 60,
        "median_ms": median,
        "p10_ms": median * (1 - spread),
        "p90_ms": median * (1 + spread),
        "drift": 1.01,
    } | changes


def export_record(name, scheme, parameters, right, fp32_ms):
    """An entry of a model's `exports`."""
    size, speed, lost = SCHEMES[scheme]
    share = (right - lost) / IMAGES
    half = 1.96 * math.sqrt(share * (1 - share) / IMAGES)
    return {
        "converter": "rewritten",
        "scheme": scheme,
        "file": f"{name}/{name}-{scheme}.tflite",
        "bytes": round(parameters * size),
        "sha256": "0" * 64,
        "images": IMAGES,
        "accuracy": share,
        "accuracy_interval": [share - half, min(1.0, share + half)],
        "agreement": 1 - lost / IMAGES,
        "max_difference": 2e-6 if scheme == "fp32" else 0.04,
        "weak": True,
        "gates": {
            "opens": {"passed": True, "detail": "LiteRT opens it and runs it"},
            "input_range": None,
            "accuracy": {"passed": True, "detail": f"{lost} images lost"},
        },
        "operators": {"CONV_2D": 21, "FULLY_CONNECTED": 1},
        "delegated": {"nodes": 22, "partitions": 1, "left": {}},
        "measurements": [measurement(fp32_ms * speed)],
    }


def history(epochs, pace, final):
    """Curves that fall and rise as training's do, those with a greater `pace` sooner."""
    shares = [1 - math.exp(-pace * epoch / epochs) for epoch in range(1, epochs + 1)]
    return [
        {
            "epoch": epoch,
            "loss": 2.2 * math.exp(-(pace + 0.5) * epoch / epochs),
            "accuracy": min(1.0, 0.1 + 0.91 * share),
            "val_accuracy": final * share * (1 - 0.03 * (epoch % 3)),
        }
        for epoch, share in enumerate(shares, start=1)
    ]


def model_record(family):
    """An entry of `models`."""
    name, parameters, macs, activation, peak, seconds, right, fp32_ms, pace = NETS[family]
    return {
        "name": name,
        "family": family,
        "parameters": parameters,
        "macs": macs,
        "activation_bytes": activation,
        "inference_peak_bytes": peak,
        "epochs": 20,
        "train_seconds": seconds,
        "peak_training_bytes": 8 * 64 * activation // 5,
        "accuracy": right[0] / IMAGES,
        "accuracy_by_seed": [hits / IMAGES for hits in right],
        "history": history(20, pace, right[0] / IMAGES),
        "exports": [export_record(name, scheme, parameters, right[0], fp32_ms) for scheme in SCHEMES],
    }


REPORT = {
    "schema": "resdense-report/1",
    "created": "2026-01-31T12:00:00+00:00",
    "command": "resdense compare --out report",
    "seed": 0,
    "versions": {"python": "3.11.9", "resdense-keras": "0.1.0", "keras": "3.15.1", "tensorflow": "2.21.0"},
    "machine": {"cpu": COMPUTER["name"], "flags": ["avx2", "fma", "avx512_vnni"], "cores": 2},
    "data": {
        "spec": "digits",
        "train": 1221,
        "validation": 216,
        "test": IMAGES,
        "classes": 10,
        "image_shape": [8, 8, 1],
    },
    "models": [model_record(family) for family in NETS],
}


@pytest.fixture
def report():
    """A report of three nets, four files each, on one computer; the test's own copy."""
    return copy.deepcopy(REPORT)


@pytest.fixture
def phone_report(report):
    """The same with a phone's measurements, where int8 counts for more and the ResNet is the slower one."""
    for number, model in enumerate(report["models"]):
        for place, export in enumerate(model["exports"]):
            median = (2.1, 1.4, 2.0)[number] * (1, 1.1, 0.7, 0.3)[place]
            export["measurements"].append(measurement(median, PHONE, runtime="litertjs 2.5", accelerator="wasm"))
    return report


@pytest.fixture
def bundle_report(report):
    """A report of one net exported without data: nothing trained, no accuracy, the stock converter's twins beside."""
    model = report["models"][0]
    model |= dict.fromkeys(("epochs", "train_seconds", "peak_training_bytes", "accuracy"))
    model |= {"accuracy_by_seed": [], "history": []}
    model["exports"] = [export for export in model["exports"] if export["scheme"] != "int8"]
    for export in model["exports"]:
        export |= dict.fromkeys(("images", "accuracy", "accuracy_interval", "agreement"))
        export["weak"] = False
    twins = copy.deepcopy(model["exports"])
    for twin in twins:
        twin |= {"converter": "stock", "file": twin["file"].replace(".tflite", "-stock.tflite")}
        twin["measurements"] = [measurement(twin["measurements"][0]["median_ms"] * 1.3)]
    model["exports"] += twins
    report["models"] = [model]
    report["data"] = dict.fromkeys(report["data"])
    return report
