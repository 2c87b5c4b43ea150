"""`resdense phone` on a network with strangers in it: what it answers, what it refuses, and that it goes on."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import pytest

from resdense_export.phone.app import Rate
from resdense_export.report import read_report
from resdense_keras import files

STAND_IN_RUNTIME = {
    "node_modules/@litertjs/core/package.json": b'{"version": "0.0.0"}',
    "node_modules/@litertjs/core/dist/index.js": b'import { createWasmLib } from "@litertjs/wasm-utils";',
    "node_modules/@litertjs/core/wasm/litert_wasm_internal.wasm": bytes(3_000_000),
    "node_modules/@litertjs/wasm-utils/dist/index.js": b"export const createWasmLib = null;",
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A folder laid out as `npm ci` leaves one: what is in the files does not matter to a server."""
    folder = tmp_path_factory.mktemp("runtime")
    for name, content in STAND_IN_RUNTIME.items():
        files.write_bytes(folder / name, content)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, make, runtime):
    """One server for all the tests that do not stop it; every test leaves it answering."""
    folder = tmp_path_factory.mktemp("served") / "a folder with 'quotes' é"
    make.report(folder, [make.bundle(folder)])
    with make.serving(folder, "--runtime", runtime) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_there(request):
    """After any hostile request the next good one is answered."""
    yield
    if "server" in request.fixturenames:
        running = request.getfixturevalue("server")
        assert running.ask()[0] == 200


def measurements(folder):
    (model,) = read_report(folder)["models"]
    return [row for export in model["exports"] for row in export["measurements"]]


# What is served


def test_the_url_is_one_line_and_its_token_has_256_bits(server):
    assert re.fullmatch(r"http://localhost:\d+/#[\w-]{43}", server.url)


def test_page_and_runtime_come_without_the_token_with_every_header(server):
    for path in ("/", "/page.css", "/main.js", "/runtime/core.js", "/runtime/wasm/litert_wasm_internal.wasm"):
        status, headers, body = server.ask(path)
        assert status == 200 and len(body) == int(headers["content-length"]) > 0, path
        assert "'wasm-unsafe-eval'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_the_page_without_the_runtime_has_less_than_150_kb(server):
    page = Path(__file__).parents[3] / "export" / "resdense_export" / "phone" / "page"
    names = ["/", "/classify.mjs", *(f"/{path.name}" for path in page.iterdir() if path.suffix in (".css", ".js"))]
    assert sum(len(server.ask(name)[2]) for name in names) < 150_000


def test_the_runtimes_bare_import_becomes_an_address(server):
    assert b'from "/runtime/wasm-utils.js"' in server.ask("/runtime/core.js")[2]


def test_models_and_results_need_the_token(server):
    for path in ("/catalog.json", "/model/0/0.tflite", "/golden/0/golden.json", "/golden/0/0.png"):
        assert server.ask(path)[0] == 401
        assert server.ask(path, headers=[f"X-Resdense-Token: {'A' * 43}"])[0] == 401
        assert server.ask(path, headers=["X-Resdense-Token: é"])[0] == 401
        assert server.ask(path, token=True)[0] == 200
    assert server.ask(f"/catalog.json?token={server.token}")[0] == 401


def test_the_catalog_names_every_file_and_gives_its_bytes(server):
    catalog = json.loads(server.ask("/catalog.json", token=True)[2])
    (model,) = catalog["models"]
    assert catalog["runtime"] == {"state": "ready", "why": "", "version": "0.0.0"}
    assert model["labels"] == ["a", "b"] and len(model["golden"]["images"]) == 1
    for file in model["files"]:
        assert server.ask(file["url"], token=True)[2] == (server.folder / file["file"]).read_bytes()


def test_head_gives_the_headers_alone(server):
    status, headers, body = server.ask("/main.js", "HEAD")
    assert (status, body) == (200, b"") and int(headers["content-length"]) > 0


# Who asks


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost", "localhost:1", "127.0.0.1:{port}.evil.example", "", "[::1"],
)
def test_a_foreign_host_is_misdirected(server, host):
    assert server.ask(host=host.format(port=server.port))[0] in (400, 421)


def test_two_hosts_and_none_are_refused(server):
    assert server.ask(headers=[f"Host: {server.host}"])[0] in (400, 421)
    assert server.ask(headers=["Host: evil.example"])[0] in (400, 421)
    assert server.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")[0] in (400, 421)


def test_the_numeric_address_is_the_servers_own(server):
    assert server.ask(host=f"127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost:{port}", "http://127.0.0.1:{port}"]
)
def test_a_foreign_origin_is_forbidden(server, origin):
    header = f"Origin: {origin.format(port=server.port)}"
    assert server.ask(headers=[header])[0] == 403
    assert server.ask("/results", "POST", headers=[header], body=b"{}", token=True)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none, cross-site"])
def test_another_page_leads_nowhere(server, site):
    assert server.ask(headers=[f"Sec-Fetch-Site: {site}"])[0] == 403


def test_the_own_page_and_a_typed_address_are_let_in(server):
    assert server.ask(headers=[f"Origin: http://{server.host}", "Sec-Fetch-Site: same-origin"])[0] == 200
    assert server.ask(headers=["Sec-Fetch-Site: none"])[0] == 200


# What is asked for

PREFIXES = ("/", "/golden/0/", "/runtime/", "/model/0/", "//", "/./")
CLIMBS = (
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cetc%5cpasswd",
    "..%252f..%252fetc/passwd",
    "....//....//etc/passwd",
    "etc/passwd%00.png",
    "report.json",
    "..;/report.json",
    "%c0%ae%c0%ae/etc/passwd",
)


def test_sixty_ways_to_climb_read_nothing(server):
    for prefix, climb in product(PREFIXES, CLIMBS):
        for token in (False, True):
            status, _, body = server.ask(prefix + climb, token=token)
            assert status in (400, 404), prefix + climb
            assert b"root:" not in body and b"resdense-report" not in body


def test_a_whole_url_as_target_reads_nothing(server):
    for target in ("http://evil.example/", f"http://{server.host}/catalog.json", "*", "/index.html", "/%6dain.js"):
        assert server.ask(target, token=True)[0] in (400, 404), target


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_the_page_is_only_read(server, method):
    status, headers, _ = server.ask("/", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_results_are_only_posted(server):
    assert server.ask("/results", token=True)[0] == 405


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET  /  HTTP/1.1\r\n\r\n",
        b"POST /results HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /results HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["empty", "tls", "version", "spaces", "negative", "smuggled", "header", "path"],
)
def test_what_is_no_http_is_refused(server, request_bytes):
    status, _, _ = server.raw(request_bytes)
    assert status in (None, 400, 413, 421, 431)


# What is sent


def test_a_result_becomes_a_measurement_and_the_page_of_the_report_follows(server, make):
    result = make.result(server.folder)
    status, _, body = server.post(result)
    assert (status, json.loads(body)) == (201, {"kept": result["id"]})
    kept = [row for row in measurements(server.folder) if row.get("result") == result["id"]]
    assert len(kept) == 2
    assert kept[0]["device"] | {"id": ""} == {**result["device"], "id": ""}
    assert kept[0]["runtime"] == "LiteRT.js 2.5.3, Chrome 150" and kept[0]["requested"] == "wasm"
    assert kept[0]["load_ms"] == 12.5 and kept[0]["golden"]["same_top1"] == 1
    assert files.verify_manifest(server.folder) == []
    until = time.monotonic() + 60
    page = server.folder / "report.html"
    while not (page.exists() and "Pixel 8" in page.read_text()):
        assert time.monotonic() < until, "report.html was not rebuilt"
        time.sleep(0.2)


def test_a_result_that_comes_twice_is_kept_once(server, make):
    result = make.result(server.folder)
    assert [server.post(result)[0] for _ in range(2)] == [201, 200]
    assert sum(row.get("result") == result["id"] for row in measurements(server.folder)) == 2


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Content-Type: text/plain",),
        ("Content-Type: application/json", "Content-Encoding: gzip"),
        ("Content-Type: multipart/form-data",),
    ],
)
def test_only_json_is_taken(server, make, headers):
    assert server.post(make.result(server.folder), headers)[0] == 415


def test_without_the_token_nothing_is_taken(server, make):
    before = measurements(server.folder)
    assert server.post(make.result(server.folder), token=False)[0] == 401
    assert measurements(server.folder) == before


def test_more_than_64_kib_is_refused_declared_or_not(server):
    assert server.post(b" " * (64 * 1024 + 1))[0] == 413
    head = f"POST /results HTTP/1.1\r\nHost: {server.host}\r\nX-Resdense-Token: {server.token}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.raw(head.encode() + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 8)[0] == 413


@pytest.fixture
def patient(make, tmp_path, runtime):
    """A server with a full allowance of results."""
    make.report(tmp_path / "own", [make.bundle(tmp_path / "own")])
    with make.serving(tmp_path / "own", "--runtime", runtime) as running:
        yield running
        running.process.kill()  # its report need not be drawn


def test_no_json_and_no_number_is_refused(patient):
    for body in (b"", b"{", b"[" * 50_000, b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b"1" * 5000):
        status, _, said = patient.post(body)
        assert status in (400, 422), body[:20]
        assert b"Traceback" not in said
    assert len(measurements(patient.folder)) == 2


def test_json_that_is_no_result_is_refused_with_the_rule_it_breaks(patient, make):
    good = make.result(patient.folder)
    rows = [good["files"][0] | {"median_ms": value} for value in (-1, 0, 1e9, None)]
    for wrong in ({}, [], good | {"files": []}, *(good | {"files": [row]} for row in rows)):
        status, _, said = patient.post(wrong)
        assert status == 422 and b"wrong" in said, wrong
    assert len(measurements(patient.folder)) == 2
    assert patient.post(good)[0] == 201


def test_too_many_results_have_to_wait_even_wrong_ones(patient, make):
    codes = [patient.post(b"{")[0] for _ in range(60)]
    assert codes[:20] == [400] * 20 and 429 in codes
    assert patient.ask()[0] == 200


def test_the_allowance_of_results_fills_again():
    now = [0.0]
    rate = Rate(burst=3, per_second=2, clock=lambda: now[0])
    assert [rate.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [rate.take() for _ in range(2)] == [True, False]
    now[0] = 100
    assert [rate.take() for _ in range(4)] == [True, True, True, False]


def test_writers_at_once_lose_nothing(patient, make):
    results = [
        make.result(patient.folder, device=make.result(patient.folder)["device"] | {"name": f"phone {n}"})
        for n in range(16)
    ]
    codes = []
    threads = [
        threading.Thread(target=lambda result=result: codes.append(patient.post(result)[0])) for result in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [201] * 16
    names = [row["device"]["name"] for row in measurements(patient.folder)]
    assert all(names.count(f"phone {n}") == 2 for n in range(16))


def test_a_report_that_breaks_meanwhile_is_said_and_left_alone(patient, make):
    result = make.result(patient.folder)
    (patient.folder / "report.json").write_text("{")
    status, _, body = patient.ask("/catalog.json", token=True)
    assert status == 500 and b"is not JSON" in body
    assert patient.post(result)[0] == 507
    assert (patient.folder / "report.json").read_text() == "{"
    assert patient.ask()[0] == 200


# Time and memory


def resident(process):
    """Bytes of a process in memory."""
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in line)
    return 1024 * int(line.split()[1])


@pytest.mark.slow
def test_300_slow_connections_hold_up_nobody_and_are_closed(server):
    before = resident(server.process)
    head = f"POST /results HTTP/1.1\r\nHost: {server.host}\r\nX-Resdense-Token: {server.token}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
    starts = (b"", b"GET / HTTP/1.1\r\nHos", head.encode() + b"{" * 50_000)
    slow = [server.connect() for _ in range(300)]
    for number, connection in enumerate(slow):
        connection.sendall(starts[number % 3])
    start = time.monotonic()
    assert server.ask()[0] == 200
    assert time.monotonic() - start < 2
    assert resident(server.process) - before < 100 * 2**20
    for connection in slow:
        connection.settimeout(20)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            pytest.fail("a request that never got complete was not closed")
        finally:
            connection.close()


def test_readers_that_take_nothing_cost_no_copy_of_the_answer(server):
    """100 readers of 3 MB each: held whole they would be 300 MB."""
    before = resident(server.process)
    request = f"GET /runtime/wasm/litert_wasm_internal.wasm HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode()
    idle = [server.connect() for _ in range(100)]
    for connection in idle:
        connection.sendall(request)
    assert server.ask()[0] == 200
    grown = resident(server.process) - before
    for connection in idle:
        connection.close()
    assert grown < 100 * 2**20


# Beginning and end


def test_stdout_holds_the_url_alone_and_sigterm_ends_it(bundle, make, runtime):
    with make.serving(bundle, "--runtime", runtime) as running:
        connection = running.connect()  # one that does nothing
        running.process.send_signal(signal.SIGTERM)
        out, err = running.process.communicate(timeout=10)
        connection.close()
    assert (running.process.returncode, out) == (143, "")
    assert "only this computer can open it" in err and "Traceback" not in err
    assert "stopped: the results that phones sent are in report.json" in err and "error:" not in err


def test_ctrl_c_ends_it_with_130(bundle, make, runtime):
    with make.serving(bundle, "--runtime", runtime) as running:
        assert running.stop(signal.SIGINT) == 130


def test_ctrl_c_at_the_moment_in_which_asyncio_forgets_it_ends_it_with_130_too(bundle, make, runtime):
    at_once = (
        "import signal\n"
        "install = signal.signal\n"
        "def signal_and_interrupt(number, handler):\n"
        "    before = install(number, handler)\n"
        "    if number == signal.SIGINT and '_on_sigint' in repr(handler):\n"
        "        signal.raise_signal(number)\n"
        "    return before\n"
        "signal.signal = signal_and_interrupt\n"
        "from resdense_cli.main import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", at_once, "phone", str(bundle), "--runtime", str(runtime)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr and "stopped: the results" in ended.stderr


def test_it_stops_by_itself_after_its_minutes(bundle, make, runtime):
    with make.serving(bundle, "--runtime", runtime, "--minutes", "0.02") as running:
        assert running.process.wait(timeout=15) == 0


def test_without_npm_it_serves_and_the_page_is_told_why(bundle, make, monkeypatch, tmp_path):
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with make.serving(bundle) as running:
        until = time.monotonic() + 20
        while (told := json.loads(running.ask("/catalog.json", token=True)[2])["runtime"])["state"] == "fetching":
            assert time.monotonic() < until
        assert told == {"state": "missing", "why": "npm is not installed", "version": ""}
        assert running.ask("/runtime/core.js")[0] == 404
        running.process.send_signal(signal.SIGTERM)
        _, err = running.process.communicate(timeout=10)
    fetching, missing = "LiteRT.js is being fetched with npm (12 MB, once) into ", "the page has no runtime: npm"
    assert 0 <= err.find(f"{fetching}{tmp_path / 'home'}") < err.find(missing) and "is fetched" not in err


def kill_in_the_middle(folder, make, runtime, random):
    """Posts results one after the other, kills the server at some moment, and gives the ids that were acknowledged."""
    acknowledged = []

    def post(running):
        while running.process.poll() is None and len(acknowledged) < 15:
            result = make.result(folder)
            try:
                if running.post(result)[0] == 201:
                    acknowledged.append(result["id"])
            except OSError:
                return

    with make.serving(folder, "--runtime", runtime) as running:
        poster = threading.Thread(target=post, args=(running,))
        poster.start()
        answers, until = random.randrange(1, 4), time.monotonic() + 60  # counted, because a busy machine is slow
        while len(acknowledged) < answers and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        running.process.kill()
        poster.join()
    return acknowledged


def check_kills(folder, make, runtime, kills):
    import random

    drawn, kept = random.Random(0), []
    for _ in range(kills):
        kept += kill_in_the_middle(folder, make, runtime, drawn)
        found = [row.get("result") for row in measurements(folder)]  # read_report: whole and valid
        assert all(found.count(one) == 2 for one in kept)
    assert kept
    assert files.verify_manifest(folder) == []


def test_a_kill_in_the_middle_of_a_post_spoils_nothing(bundle, make, runtime):
    check_kills(bundle, make, runtime, kills=3)


@pytest.mark.slow
def test_twenty_kills_in_the_middle_of_a_post_spoil_nothing(bundle, make, runtime):
    check_kills(bundle, make, runtime, kills=20)
