"""How a phone finds the computer, and where the page's runtime comes from."""

import asyncio
import datetime
import hashlib
import io
import json
import os
import re
import shutil
import socket
import ssl
import sys
import tarfile
from pathlib import Path

import pytest
import segno
from cryptography import x509

from resdense_cli.main import _with_address
from resdense_export.phone import command, litertjs, reach
from resdense_export.phone.serving import Server
from resdense_keras import files
from resdense_keras.errors import WorkError

# Addresses


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("usb", [False, True])
@pytest.mark.parametrize("address", [reach.LOCAL, "192.168.1.20"])
def test_what_a_phone_lacks_over_plain_http_is_said_before_its_url(address, usb, scheme, capsys):
    url = f"{scheme}://{address}:8000/#token"
    command._announce(url, address, usb, "AB:CD" if scheme == "https" else None)
    out, err = capsys.readouterr()
    insecure = scheme == "http" and address != reach.LOCAL and not usb
    assert out == f"{url}\n"
    assert ("one thread, no WebGPU and no camera: --lan --https" in err) == insecure


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "router.local", "1.2.3", ""])
def test_lan_takes_one_address_and_no_other_kind(resdense, bundle, address):
    code, out, err = resdense("phone", bundle, f"--lan={address}", "--runtime", bundle)
    assert (code, out) == (2, "") and "hint:" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["phone", "DIR", "--lan"], ["phone", "DIR", "--lan=pick"]),
        (["phone", "--lan", "DIR"], ["phone", "--lan=pick", "DIR"]),
        (["phone", "--lan", "--https", "DIR"], ["phone", "--lan=pick", "--https", "DIR"]),
        (["phone", "--lan", "10.0.0.7", "DIR"], ["phone", "--lan", "10.0.0.7", "DIR"]),
        (["phone", "--lan", "fe80::1", "DIR"], ["phone", "--lan", "fe80::1", "DIR"]),
        (["phone", "--lan=10.0.0.7", "DIR"], ["phone", "--lan=10.0.0.7", "DIR"]),
    ],
)
def test_lan_may_stand_alone(given, read):
    assert _with_address(given) == read


def test_a_named_address_is_served_and_no_other(bundle, make, tmp_path):
    with make.serving(bundle, "--lan", "127.0.0.5", "--runtime", stand_in(tmp_path)) as running:
        assert running.url.startswith("http://127.0.0.5:")
        connection = socket.create_connection(("127.0.0.5", running.port), timeout=5)
        host = f"127.0.0.5:{running.port}"
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_a_port_that_is_taken_is_named(resdense, bundle, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, out, err = resdense("phone", bundle, "--port", port, "--runtime", stand_in(tmp_path))
    assert (code, out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in err and "hint:" in err


def test_the_code_on_the_screen_is_the_url(bundle, make, tmp_path):
    with make.serving(bundle, "--runtime", stand_in(tmp_path)) as running:
        running.process.terminate()
        _, err = running.process.communicate(timeout=15)
    drawn = io.StringIO()
    segno.make(running.url, error="l").terminal(drawn, border=2, compact=True)
    assert drawn.getvalue().strip() in err


# https and the cable


def test_the_certificate_is_for_a_day_and_this_address_and_its_key_for_nobody_else():
    with reach.certificate("192.0.2.9") as (certificate, key, fingerprint):
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        assert key.stat().st_mode & 0o077 == 0
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    assert not key.exists() and not certificate.exists()
    assert fingerprint.replace(":", "").lower() == digest
    life = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23) < life <= datetime.timedelta(days=1)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(name) for name in names.get_values_for_type(x509.IPAddress)} == {"192.0.2.9", "127.0.0.1"}


def program(folder, name, text):
    """A program called `name` on the PATH of a test."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return folder


def test_usb_without_adb_says_what_to_install(resdense, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = resdense("phone", bundle, "--usb", "--runtime", stand_in(tmp_path / "runtime"))
    assert (code, out) == (2, "") and "--usb needs adb" in err and "apt install adb" in err


def test_usb_opens_the_port_on_the_phone_and_closes_it(monkeypatch, tmp_path):
    """With a program in adb's place that writes down what it is told: no phone hangs on this machine."""
    log = tmp_path / "log"
    text = f"import sys; open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin", "adb", text)))
    with reach.usb(4242):
        assert log.read_text() == "reverse tcp:4242 tcp:4242\n"
    assert log.read_text().splitlines()[1:] == ["reverse --remove tcp:4242"]


def test_what_adb_complains_of_is_passed_on(monkeypatch, tmp_path):
    text = "import sys; sys.exit('adb: error: no devices/emulators found')"
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin", "adb", text)))
    with pytest.raises(WorkError, match="no devices/emulators found") as caught, reach.usb(4242):
        pass
    assert "USB debugging" in caught.value.hint


# The runtime


def stand_in(folder):
    """A folder laid out as `npm ci` leaves one."""
    for name, content in {
        "core/package.json": b'{"version": "0.0.0"}',
        "core/dist/index.js": b'import { createWasmLib } from "@litertjs/wasm-utils";',
        "core/wasm/litert_wasm_internal.wasm": b"\0asm",
        "wasm-utils/dist/index.js": b"export const createWasmLib = null;",
    }.items():
        files.write_bytes(folder / "node_modules/@litertjs" / name, content)
    return folder


def test_a_folder_without_the_runtime_is_refused(resdense, bundle, tmp_path):
    code, out, err = resdense("phone", bundle, "--runtime", tmp_path)
    assert (code, out) == (2, "") and "does not hold LiteRT.js" in err and "npm ci" in err


def test_the_lock_file_names_no_address_and_the_pinned_version():
    lock = json.loads((litertjs.PAGE / "package-lock.json").read_text())
    assert "resolved" not in json.dumps(lock) and "http" not in json.dumps(lock)
    for package in litertjs.PACKAGES:
        assert lock["packages"][f"node_modules/{package}"]["version"] == litertjs.VERSION
        assert lock["packages"][f"node_modules/{package}"]["integrity"].startswith("sha512-")


NPM = """
import sys, pathlib, shutil
folder = pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
shutil.copy({packed!r}, folder / "package.tgz")
"""


def packed(path, names):
    """A tarball as npm makes one."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """A program in npm's place that always packs the same small package, and an empty cache."""
    names = {
        "package/package.json": json.dumps({"version": litertjs.VERSION}).encode(),
        "package/dist/index.js": b'import "@litertjs/wasm-utils";',
        "package/wasm/a.wasm": b"\0asm",
        "package/wasm/../../../escaped.js": b"no",
        "package/readme.txt": b"not needed",
    }
    path = packed(tmp_path / "package.tgz", names)
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin", "npm", NPM.format(packed=str(path)))))
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path / "home"))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_package_with_another_checksum_is_not_used(npm, tmp_path):
    runtime = litertjs.Runtime("fetching")
    asyncio.run(litertjs.make_ready(runtime))
    assert runtime.state == "missing" and f"its sha256 is {npm}" in runtime.why
    assert runtime.table == {} and litertjs.cached() is None
    assert list((tmp_path / "home").iterdir()) == []


def test_what_npm_packs_is_cached_and_a_changed_cache_is_not_used(npm, monkeypatch, tmp_path):
    monkeypatch.setattr(litertjs, "PACKAGES", dict.fromkeys(litertjs.PACKAGES, npm))
    runtime = litertjs.Runtime("fetching")
    asyncio.run(litertjs.make_ready(runtime))
    assert runtime.state == "ready" and "/runtime/wasm/a.wasm" in runtime.table
    assert not list(tmp_path.rglob("escaped.js")) and not list(tmp_path.rglob("readme.txt"))
    assert litertjs.cached().version == litertjs.VERSION
    next((tmp_path / "home").rglob("a.wasm")).write_bytes(b"other")
    assert litertjs.cached() is None


def test_whatever_ends_the_fetching_the_page_stops_waiting(npm, monkeypatch, tmp_path):
    (tmp_path / "packed").write_bytes(b"the right bytes, and no tarball")
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin", "npm", NPM.format(packed=str(tmp_path / "packed")))))
    sha256 = hashlib.sha256(b"the right bytes, and no tarball").hexdigest()
    monkeypatch.setattr(litertjs, "PACKAGES", dict.fromkeys(litertjs.PACKAGES, sha256))
    runtime = litertjs.Runtime("fetching")
    asyncio.run(litertjs.make_ready(runtime))
    assert runtime.state == "missing" and "fetching it failed: ReadError" in runtime.why


def test_a_part_of_the_server_that_dies_says_so_and_the_rest_goes_on(capfd):
    async def dies():
        raise ValueError("of this")

    served = []

    async def lives():
        await asyncio.sleep(0.2)
        served.append(True)

    with reach.listen(reach.LOCAL, 0) as listener:
        Server(None).run(listener, minutes=0.5 / 60, alongside=[dies, lives])
    assert served and "a part of the server has stopped: ValueError('of this')" in capfd.readouterr().err


def test_what_npm_complains_of_is_passed_on(npm, monkeypatch, tmp_path):
    text = "import sys; sys.exit('npm error code ENOTFOUND')"
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin", "npm", text)))
    runtime = litertjs.Runtime("fetching")
    asyncio.run(litertjs.make_ready(runtime))
    assert runtime.why == "npm cannot fetch @litertjs/core: npm error code ENOTFOUND"


@pytest.mark.slow
def test_the_published_packages_are_the_pinned_ones(monkeypatch, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path))
    runtime = litertjs.Runtime("fetching")
    asyncio.run(litertjs.make_ready(runtime))
    if re.search("ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT", runtime.why):
        pytest.skip(f"no registry is reached: {runtime.why}")
    assert runtime.state == "ready", runtime.why
    assert "/runtime/wasm/litert_wasm_threaded_internal.wasm" in runtime.table
    assert all(isinstance(served.source, bytes | Path) for served in runtime.table.values())
    assert os.listdir(tmp_path) == [litertjs.cache_folder().name]  # noqa: PTH208
