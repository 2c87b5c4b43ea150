"""A bundle of bytes that no runtime reads, for tests of the server; and a server in a process of its own."""

import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from resdense_keras import files

COMPUTER = {"id": "c0ffee", "kind": "computer", "name": "Some CPU", "os": "Linux x86_64"}


def write_bundle(folder, name="resnet20", schemes=("fp32", "int8")):
    """A bundle as `resdense export` leaves one, with made-up model files; gives its entry in a report's models."""
    random = np.random.default_rng(0)
    exports = []
    for scheme in schemes:
        content = random.bytes(20_000)
        files.write_bytes(folder / f"{name}-{scheme}.tflite", content)
        exports.append(
            {
                "converter": "rewritten",
                "scheme": scheme,
                "file": f"{name}-{scheme}.tflite",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "images": 360,
                "accuracy": 0.97,
                "accuracy_interval": [0.94, 0.98],
                "agreement": 1.0,
                "max_difference": 1e-6,
                "gates": {},
                "operators": {"CONV_2D": 21},
                "delegated": {"nodes": 21, "partitions": 1, "left": {}},
                "measurements": [
                    {
                        "device": COMPUTER,
                        "runtime": "ai-edge-litert 2.3.0",
                        "accelerator": "xnnpack-cpu",
                        "threads": 1,
                        "rounds": 60,
                        "median_ms": 0.2,
                        "p10_ms": 0.19,
                        "p90_ms": 0.25,
                        "drift": 1.0,
                    }
                ],
            }
        )
    files.write_text(folder / "labels.txt", "a\nb\n")
    files.write_json(
        folder / "model.json",
        {
            "name": name,
            "input": {"shape": [1, 4, 4, 3]},
            "output": {"shape": [1, 2]},
        },
    )
    with files.writing(folder / "golden" / "00.png") as path:
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    answers = {f"{name}-{scheme}.tflite": [0.5, 0.5] for scheme in schemes}
    rows = [{"image": "00.png", "label": 1, "probabilities": answers}]
    files.write_json(folder / "golden" / "golden.json", {"tolerance": {"float": 1e-3, "int8": 0.1}, "images": rows})
    files.write_manifest(folder)
    counts = dict.fromkeys(("epochs", "train_seconds", "peak_training_bytes", "accuracy"))
    sizes = {"parameters": 271_098, "macs": 2_546_000, "activation_bytes": 86_272, "inference_peak_bytes": 8_192}
    return {
        "name": name,
        "family": "resnet",
        **sizes,
        **counts,
        "accuracy_by_seed": [],
        "history": [],
        "exports": exports,
    }


def write_report(folder, models):
    """report.json of some models."""
    files.write_json(
        folder / "report.json",
        {
            "schema": "resdense-report/1",
            "created": "2026-01-31T12:00:00+00:00",
            "command": "resdense export",
            "seed": 0,
            "versions": {},
            "machine": {"cpu": "Some CPU", "flags": [], "cores": 2},
            "data": dict.fromkeys(("spec", "train", "validation", "test", "classes", "image_shape")),
            "models": models,
        },
    )


@pytest.fixture
def bundle(tmp_path):
    """A folder with one bundle and its report."""
    folder = tmp_path / "bundle"
    write_report(folder, [write_bundle(folder)])
    return folder


def make_result(folder, **changes):
    """What the page sends after it has measured every file of the bundle in `folder`."""
    (model,) = json.loads((folder / "report.json").read_text())["models"]
    rows = [
        {
            "file": export["file"],
            "sha256": export["sha256"],
            "accelerator": "wasm",
            "load_ms": 12.5,
            "first_ms": 3.5,
            "rounds": 60,
            "images_per_round": 1,
            "median_ms": 1.5,
            "p10_ms": 1.4,
            "p90_ms": 1.7,
            "drift": 1.01,
            "golden": {"images": 1, "same_top1": 1, "right": 1, "max_difference": 1e-6},
        }
        for export in model["exports"]
    ]
    return {
        "schema": "resdense-phone/1",
        "id": uuid.uuid4().hex,
        "device": {"name": "Pixel 8", "kind": "phone", "os": "Android 15", "browser": "Chrome 150", "cores": 8},
        "runtime": "LiteRT.js 2.5.3",
        "requested": "wasm",
        "threads": 1,
        "secure_context": True,
        "cross_origin_isolated": True,
        "hidden": False,
        "clock_ms": 0.005,
        "files": rows,
    } | changes


@dataclass
class Server:
    """A running `resdense phone`."""

    process: subprocess.Popen
    url: str
    folder: Path

    @property
    def port(self):
        return urlsplit(self.url).port

    @property
    def host(self):
        return f"localhost:{self.port}"

    @property
    def token(self):
        return urlsplit(self.url).fragment

    def connect(self, timeout=15):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, request):
        """The whole answer to the bytes of a request: (status, {header: value}, body); status None: just closed."""
        with self.connect() as connection:
            connection.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return (int(first.split()[1]) if first else None), headers, body

    def ask(self, path="/", method="GET", host=None, headers=(), body=b"", token=False):
        """The answer to a request with these parts; the connection is closed after it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host if host is None else host}", "Connection: close"]
        lines += [f"X-Resdense-Token: {self.token}"] if token else []
        lines += [f"Content-Length: {len(body)}"] if body else []
        return self.raw("\r\n".join([*lines, *headers, "", ""]).encode() + body)

    def post(self, result, headers=("Content-Type: application/json",), token=True):
        body = result if isinstance(result, bytes) else json.dumps(result).encode()
        return self.ask("/results", "POST", headers=headers, body=body, token=token)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.communicate(timeout=15)
        return self.process.returncode


@contextlib.contextmanager
def serving(folder, *options):
    """A Server on `folder`, ended with the body."""
    command = [sys.executable, "-m", "resdense_cli", "phone", str(folder), *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(process.stderr.read())
        try:
            yield Server(process, url, Path(folder))
        finally:
            process.terminate()
            process.communicate(timeout=15)


@pytest.fixture(scope="session")
def make():
    """The makers above, for tests in other files."""
    from types import SimpleNamespace

    return SimpleNamespace(bundle=write_bundle, report=write_report, result=make_result, serving=serving)
