"""`resdense phone`, its page in Chromium on this machine: start, idle cost, first measurement, browser beside native.

    resdense compare --out report && python benchmarks/phone.py report --runtime FOLDER     # 2 minutes on 2 cores

FOLDER is where `npm ci` has put LiteRT.js. Goals: a page under 150 kB without the runtime, the first measurement within
3 s of the runtime's loading, an idle server under 1 % of a core and 150 MB. The latencies of browser and LiteRT are of
one machine, minutes apart: read them as ratios. Works on a copy of the report; writes to benchmarks/results/.

    git show 69b446b~1:export/resdense_export/bundle/snippets/classify.mjs > before.mjs
    python benchmarks/phone.py --crop before.mjs            # a minute

times how a photo becomes a net's input, by that file and by today's in turns, and the largest canvas of each: the older
one drew the whole photo, today's draws what the net sees, in pieces as large as the input.
"""

import argparse
import datetime
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from resdense_export.phone import site
from resdense_export.report import read_report
from resdense_export.tflite import timing
from resdense_keras import files

CHROMIUM = "/usr/bin/chromium"
GOALS = {"page_bytes": 150_000, "first_measurement_s": 3.0, "idle_share_of_a_core": 0.01, "idle_resident_bytes": 150e6}
IDLE_SECONDS = 30
NAME = "benchmark"
RESULTS = Path(__file__).parent / "results"


def page_bytes():
    """Bytes of the page with its modules, without the runtime."""
    return sum(served.source.stat().st_size for served in site.page().values())


def used(process):
    """(seconds of processor time, bytes in memory) of a process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def idle(process):
    """(share of a core, bytes in memory) of a server that nobody asks for anything."""
    before, _ = used(process)
    time.sleep(IDLE_SECONDS)
    after, resident = used(process)
    return (after - before) / IDLE_SECONDS, resident


def measure_page(url, rounds):
    """Measures all files on the page, one thread; gives the seconds from the loaded runtime to the first time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#place option", state="attached")
        for box in page.locator("#files input").all():
            box.check()
        page.fill("#device-name", NAME)
        page.fill("#rounds", str(rounds))
        page.click("#start")
        page.get_by_text("These numbers are now in the report on the computer.").wait_for(timeout=600_000)
        first, loaded = (
            page.evaluate(f"performance.getEntriesByName('resdense-{mark}')[0].startTime")
            for mark in ("first", "runtime")
        )
        browser.close()
    return (first - loaded) / 1000


CROP = """async ([width, height, shape, rounds]) => {
  const modules = [await import("/before.mjs"), await import("/after.mjs")];
  const Own = self.OffscreenCanvas, canvas = new Own(width, height), context = canvas.getContext("2d");
  for (let i = 0; i < 500; i++) {
    context.fillStyle = `hsl(${i * 37} 80% 50%)`;
    context.fillRect((i * 7919) % width, (i * 104729) % height, 90, 70);
  }
  const photo = await createImageBitmap(canvas), times = [[], []], largest = [0, 0];
  let turn = 0;
  self.OffscreenCanvas = class extends Own {
    constructor(w, h) { super(w, h); largest[turn] = Math.max(largest[turn], w * h); }
  };
  const pixels = [];
  for (let round = 0; round < rounds; round++) {
    for (turn of round % 2 ? [1, 0] : [0, 1]) {
      const start = performance.now();
      pixels[turn] = modules[turn].toPixels(photo, shape, [{ step: "crop" }]);
      times[turn].push(performance.now() - start);
    }
  }
  return { times, largest, equal: pixels[0].every((value, i) => value === pixels[1][i]) };
}"""
PHOTOS = ((4000, 3000), (640, 480))
INPUTS = ((1, 224, 224, 3), (1, 32, 32, 3))
CROP_ROUNDS = 9


def crops(before):
    """A row for each photo and input: milliseconds before and now, their ratio, the largest canvases."""
    from playwright.sync_api import sync_playwright

    modules = {"before.mjs": before, "after.mjs": site.SNIPPETS / "classify.mjs"}

    def serve(route):
        path = modules.get(route.request.url.rpartition("/")[2])
        kind = "text/javascript" if path else "text/html"
        route.fulfill(body=path.read_text() if path else "<!doctype html>", content_type=kind)

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.route("**/*", serve)
        page.goto("http://localhost/")
        for photo in PHOTOS:
            for shape in INPUTS:
                found = page.evaluate(CROP, [*photo, shape, CROP_ROUNDS])
                old, new = found["times"]
                row = {"photo": photo, "input": shape[1:3], "same_pixels": found["equal"]}
                row |= {"before_ms": round(statistics.median(old), 2), "now_ms": round(statistics.median(new), 2)}
                row["ratio"] = round(statistics.median(b / a for a, b in zip(old, new, strict=True)), 3)
                row |= dict(zip(("before_canvas_pixels", "now_canvas_pixels"), found["largest"], strict=True))
                rows.append(row)
                print(row, flush=True)
        browser.close()
    return rows


def side_by_side(folder):
    """One row per file: LiteRT's median on this machine as the report has it, the page's, and the ratio."""
    rows = []
    for model in read_report(folder)["models"]:
        for export in model["exports"]:
            native = next(row for row in export["measurements"] if "secure_context" not in row)
            browser = next(row for row in export["measurements"][::-1] if row["device"]["name"] == NAME)
            row = {"net": model["name"], "scheme": export["scheme"], "converter": export["converter"]}
            row |= {"native_ms": round(native["median_ms"], 4), "browser_ms": round(browser["median_ms"], 4)}
            rows.append(row | {"ratio": round(browser["median_ms"] / native["median_ms"], 2)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="a report")
    parser.add_argument("--runtime", default=os.environ.get("RESDENSE_LITERTJS"))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--crop", type=Path, metavar="BEFORE.mjs", help="an older classify.mjs")
    given = parser.parse_args()
    today = datetime.date.today().isoformat()
    if given.crop:
        found = {"benchmark": "phone-crop", "date": today, "machine": timing.machine(), "rounds": CROP_ROUNDS}
        files.write_json(RESULTS / f"phone-crop-{today}.json", found | {"crops": crops(given.crop)})
    if given.folder:
        measure(given, today)


def measure(given, today):
    """What stands at the top: on a copy of the report, stored."""
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copytree(given.folder, Path(place) / "report")
        command = [sys.executable, "-m", "resdense_cli", "phone", str(copy), "--runtime", str(given.runtime)]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            url = process.stdout.readline().strip()
            started = time.perf_counter() - start
            share, resident = idle(process)
            first = measure_page(url, given.rounds)
            _, resident_after = used(process)
            process.terminate()
        rows = side_by_side(copy)
    result = {
        "benchmark": "phone",
        "date": today,
        "machine": timing.machine(),
        "versions": {name: version(name) for name in ("starlette", "uvicorn", "ai-edge-litert")},
        "scheme": urlsplit(url).scheme,
        "start_s": round(started, 2),
        "page_bytes": page_bytes(),
        "idle_share_of_a_core": round(share, 4),
        "idle_resident_bytes": resident,
        "resident_bytes_after_a_measurement": resident_after,
        "first_measurement_s": round(first, 2),
        "files": rows,
        "goals": GOALS,
    }
    for name, goal in GOALS.items():
        print(f"{name}: {result[name]:g} (< {goal:g})")
    print(f"start_s: {started:.2f}")
    for row in rows:
        times = f"LiteRT {row['native_ms']} ms, browser {row['browser_ms']} ms, ×{row['ratio']}"
        print(f"{row['net']} {row['scheme']}: {times}")
    files.write_json(RESULTS / f"phone-{result['date']}.json", result)


if __name__ == "__main__":
    main()
