r"""The fp16 scheme: what half-precision arithmetic costs in accuracy, what each constant costs in time, and a browser.

    python benchmarks/half.py --answers --folder FOLDER --python "$ARM/python"     # hours on an emulated core
    python benchmarks/half.py --causes --count "$ARM/instructions"                 # 3 minutes
    python benchmarks/half.py --browser --runtime FOLDER                           # 7 minutes

`--answers` runs the trained CIFAR-10 nets (checkpoints.py) on an Arm core by `Interpreter` and by `CompiledModel`, and
compares with Keras on the first test images. FOLDER keeps what was answered, and another call goes on from it. Goal: at
most 2 images of 1,000 (1 of 400) answered otherwise. `--causes` counts instructions of files in which only some
constants are float16. `--browser` times fp16 and fp32 in Chromium on one thread, by turns. Each writes to
benchmarks/results/ and a table of docs/rewriting.md.
"""

import argparse
import contextlib
import datetime
import hashlib
import http.server
import json
import os
import shlex
import statistics
import subprocess
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import rewriting_document
from checkpoints import load
from rewriting_document import millions, on_disk

from export import NETS, TRAINED, build
from resdense_export import environment
from resdense_export.making.float_files import float_files
from resdense_export.making.quantization import quantize
from resdense_export.phone import litertjs
from resdense_export.phone.site import Served
from resdense_export.tflite import flatbuffer, half
from resdense_export.tflite.timing import machine
from resdense_keras import data, files

RESULTS, HERE = Path(__file__).parent / "results", Path(__file__).parent
IMAGES = {"resnet20": 1000, "resnet56": 1000, "densenet_bc100_12": 400}
RUNTIMES = ("interpreter", "compiled")
ANSWERS = ("<!-- table: python benchmarks/half.py --answers -->\n", "<!-- end of answers -->\n")
CAUSES = ("<!-- table: python benchmarks/half.py --causes -->\n", "<!-- end of causes -->\n")
BROWSER = ("<!-- table: python benchmarks/half.py --browser -->\n", "<!-- end of browser -->\n")
CHROMIUM = "/usr/bin/chromium"
FEWEST = 8  # rounds of a net in Chromium, however long they take
IN_CHROMIUM = (*(name for name in NETS if name != "resnet20"), f"resnet20{TRAINED}", f"densenet_bc100_12{TRAINED}")
KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def answers(folder, python):
    """{net: {"images", "keras", runtime: {...}}} of what FOLDER has answers to, after it was filled where `python`."""
    dataset, found = data.load(os.environ["RESDENSE_CIFAR10"]), {}
    for name, count in IMAGES.items():
        images, labels = dataset.test.array()[:count], np.asarray(dataset.test.labels)[:count]
        model = load(name)
        expected = model.predict(images, batch_size=100, verbose=0)
        content = quantize(float_files(model)("float"), "fp16")
        own = folder / f"{name}-{identity(content)}"
        row = {"keras": float((expected.argmax(axis=1) == labels).mean())}
        for runtime in RUNTIMES:
            out = own.with_name(f"{own.name}-{runtime}.npy")
            if python:
                answer(python, content, images, own, out, runtime)
            if out.exists():
                row[runtime] = judged(np.load(out), expected, labels)
        found[name] = row
        print(name, row, flush=True)
    return found


def identity(content):
    """Twelve hex digits of what a file computes: names of tensors count the models that the process made before."""
    tree = flatbuffer.unpack(content)
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            tensor.name = None
    return hashlib.sha256(flatbuffer.pack(tree)).hexdigest()[:12]


def answer(python, content, images, own, out, runtime):
    path, pixels = own.with_suffix(".tflite"), own.with_suffix(".npy")
    path.write_bytes(content)
    np.save(pixels, images)
    command = [*shlex.split(python), HERE / "answers.py", path, pixels, out, runtime]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def judged(given, expected, labels):
    """Accuracy, and differences from Keras, over the images that were answered."""
    count = len(given)
    differences = np.abs(given - expected[:count]).max(axis=1)
    return {
        "images": count,
        "accuracy": float((given.argmax(axis=1) == labels[:count]).mean()),
        "keras": float((expected[:count].argmax(axis=1) == labels[:count]).mean()),
        "other_answers": int((given.argmax(axis=1) != expected[:count].argmax(axis=1)).sum()),
        "largest_difference": round(float(differences.max()), 4),
        "95th_percentile": round(float(np.quantile(differences, 0.95)), 5),
        "above_golden_tolerance": int((differences > 0.03).sum()),
        "finite": bool(np.isfinite(given).all()),
    }


def answers_table(found):
    names = {"interpreter": "Interpreter", "compiled": "CompiledModel"}
    heads = ("checkpoint", "run by", "images", "Keras", "in half precision", "other answers", "largest difference",
             "95 of 100 below")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for name, row in found.items():
        for runtime in RUNTIMES:
            if runtime in row:
                own = row[runtime]
                lines.append(
                    f"| {name} | {names[runtime]} | {own['images']:,} | {100 * own['keras']:.2f} % | "
                    f"{100 * own['accuracy']:.2f} % | {own['other_answers']} | {own['largest_difference']:.3f} | "
                    f"{own['95th_percentile']:.4f} |"
                )
    return [line + "\n" for line in lines]


def causes(count):
    """{net: {what is float16: {"millions", "bytes"}}}."""
    found = {}
    for name in ("resnet20", "densenet_bc100_12"):
        content = float_files(load(name))("float")
        found[name] = {}
        for what, made in variants(content).items():
            with on_disk(made) as path:
                found[name][what] = {"millions": millions(count, path), "bytes": len(made)}
            print(name, what, found[name][what], flush=True)
    return found


def variants(content):
    """{what is float16: bytes of the file}."""
    graph = flatbuffer.read(content)[0]
    kernels, biases, others = set(), set(), set()
    for operator in graph.operators:
        for place, number in enumerate(operator.inputs):
            if graph.tensors[number].constant and graph.tensors[number].type == "FLOAT32":
                own = {1: kernels, 2: biases}.get(place, others) if operator.name in KERNELS else others
                own.add(number)
    one = {min(biases)}
    chosen = {
        "nothing": set(),
        "kernels (ai-edge-quantizer)": kernels,
        "kernels and biases": kernels | biases,
        "constants of ADD and MAXIMUM": others,
        "all but one bias": (kernels | biases | others) - one,
        "all (TensorFlow's converter)": kernels | biases | others,
    }
    made = {what: half.in_half(content, marked=False, chosen=numbers) for what, numbers in chosen.items()}
    return made | {
        "nothing, marked for float16 arithmetic": half.in_half(content, chosen=set()),
        "all, marked for float16 arithmetic (fp16)": half.in_half(content),
    }


def causes_table(found):
    lines = ["| constants in float16 | " + " | ".join(found) + " |", "|---|" + "--:|" * len(found)]
    for what in next(iter(found.values())):
        cells = [f"{row[what]['millions']:.2f} M, {row[what]['bytes'] / 1e6:.2f} MB" for row in found.values()]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return [line + "\n" for line in lines]


LOADED = """async ([contents, shape]) => {
  const litert = await import("/runtime/core.js");
  await litert.loadLiteRt("/runtime/wasm/", { threads: false });
  const pixels = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (i * 37) % 256);
  const nets = [];
  for (const content of contents) {
    const bytes = new Uint8Array(await (await fetch(content)).arrayBuffer());
    nets.push(await litert.loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: 1 } }));
  }
  const once = async (net) => {
    const input = new litert.Tensor(pixels, shape);
    const [output] = await net.run([input]);
    await output.data();
    for (const tensor of [input, output]) tensor.delete();
  };
  for (const net of nets) await once(net);
  const begin = performance.now();
  for (let i = 0; i < 3; i++) await once(nets[0]);
  const runs = Math.max(1, Math.ceil(20 / ((performance.now() - begin) / 3)));  // 20 ms a round
  window.round = async (first) => {
    const times = nets.map(() => 0);
    for (let turn = 0; turn < nets.length; turn++) {
      const number = (first + turn) % nets.length;
      const start = performance.now();
      for (let i = 0; i < runs; i++) await once(nets[number]);
      times[number] = (performance.now() - start) / runs;
    }
    return times;
  };
}"""


def browser(runtime, rounds, seconds, names):
    """Yields (net, {"fp32_ms", "fp16_ms", "rounds", "ratio", ...}, version of Chromium): one thread, files by turns.

    The ratio is the median one of a pair, with its 95 % interval as in export.py; times are medians.
    A net takes `rounds` rounds, or as many as fit into `seconds`.
    """
    from playwright.sync_api import sync_playwright

    from export import ratio

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in names:
            model = build(name)
            floating = float_files(model)("float")
            own = {f"/{scheme}.tflite": quantize(floating, scheme) for scheme in ("fp16", "fp32")}
            with served(runtime, own) as address:
                page = chromium.new_page()
                page.goto(address)
                page.evaluate(LOADED, [[*own], [1, *model.input_shape[1:]]])
                end, times = time.monotonic() + seconds, []
                while len(times) < min(rounds, FEWEST) or (len(times) < rounds and time.monotonic() < end):
                    times.append(page.evaluate("number => round(number)", len(times) % 2))
                page.close()
            half_ms, float_ms = zip(*times, strict=True)
            share = ratio(half_ms, float_ms, np.random.default_rng(0))
            row = {
                "fp32_ms": round(statistics.median(float_ms), 4),
                "fp16_ms": round(statistics.median(half_ms), 4),
                "rounds": len(times),
                "ratio": share["median"],
                "low": share["low"],
                "high": share["high"],
            }
            print(name, row, flush=True)
            yield name, row, chromium.version
        chromium.close()


@contextlib.contextmanager
def served(runtime, own):
    """Address of a page that finds LiteRT.js and `own` bytes: by a server, for Playwright's pipe is slow for 100 MB."""
    table = litertjs.read(runtime).table | {"/": Served(b"<!doctype html>", "text/html", False)}
    table |= {path: Served(content, "application/octet-stream", False) for path, content in own.items()}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = table.get(self.path)
            if found is None:
                self.send_error(404)
                return
            size, pieces = found.opened()
            self.send_response(200)
            self.send_header("Content-Type", found.kind)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

        def log_message(self, *given):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def browser_table(found):
    lines = ["| net | fp16 / fp32 in Chromium, one thread |", "|---|--:|"]
    for name, row in found["nets"].items():
        both = f"{row['low']:.3f}–{row['high']:.3f}; {row['fp16_ms']:.3g} / {row['fp32_ms']:.3g} ms"
        lines.append(f"| {name} | {row['ratio']:.3f} ({both}) |")
    return [line + "\n" for line in lines]


def write(what, found):
    """Stores a result with its date and machine."""
    today = datetime.date.today().isoformat()
    common = {"benchmark": f"half-{what}", "date": today, "machine": machine(), "versions": environment.versions()}
    name = "half" if what == "answers" else f"half-{what}"
    files.write_json(RESULTS / f"{name}-{today}.json", common | found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--folder", type=Path, help="keeps the answers")
    parser.add_argument("--python", help="runs Python on the Arm core; without it FOLDER's answers are judged alone")
    parser.add_argument("--causes", action="store_true")
    parser.add_argument("--count", help="program that prints `FILE MILLIONS`")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--runtime", default=os.environ.get("RESDENSE_LITERTJS"))
    parser.add_argument("--rounds", type=int, default=200, help="of each net in Chromium, at most")
    parser.add_argument("--seconds", type=float, default=60, help="that the rounds of one net may take")
    parser.add_argument("--net", choices=IN_CHROMIUM, action="append", help="of --browser; default: all")
    given = parser.parse_args()
    if given.answers:
        found = answers(given.folder, given.python)
        write("answers", {"core": "emulated Cortex-A76, LiteRT 2.1.6", "nets": found})
        rewriting_document.put(ANSWERS, answers_table(found))
    if given.causes:
        found = causes(given.count)
        write("causes", {"nets": found})
        rewriting_document.put(CAUSES, causes_table(found))
    if given.browser:
        for name, row, version in browser(given.runtime, given.rounds, given.seconds, given.net or IN_CHROMIUM):
            found = {"nets": {}}
            for path in sorted(RESULTS.glob("half-browser-*.json"))[-1:]:  # nets that were not measured again stay
                found = json.loads(path.read_text())
            found["nets"][name] = row
            write(
                "browser",
                {"chromium": version, "litertjs": litertjs.read(given.runtime).version, "nets": found["nets"]},
            )
            rewriting_document.put(BROWSER, browser_table(found))


if __name__ == "__main__":
    main()
