"""The LiteRT.js runtime: found in a folder, or fetched once with the user's npm and compared with pinned checksums.

It is Google's, has 38 MB, and is not part of this package.
"""

import asyncio
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, ResdenseError, WorkError

from .site import PAGE, Served

VERSION = "2.5.3"
# package: sha256 of what `npm pack` gives for that version.
PACKAGES = {
    "@litertjs/core": "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
    "@litertjs/wasm-utils": "ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
}
# npm waits 10 and 20 seconds between tries, and without a network the page would say nothing for over a minute.
RETRY = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
SECONDS = 300  # for npm to fetch 12 MB
HOW = f"run `npm ci --omit=dev` in a copy of {PAGE}, and give that copy as --runtime"


@dataclass
class Runtime:
    """State of the runtime for the page: `state` is "ready", "fetching" or "missing", `why` a sentence.

    `table`: {path of a request: Served}, once it is ready.
    """

    state: str
    why: str = ""
    version: str = ""
    table: dict[str, Served] = field(default_factory=dict)

    def shown(self):
        """As JSON."""
        return {"state": self.state, "why": self.why, "version": self.version}


def read(folder):
    """The Runtime in a folder in which `npm ci` has run.

    Raises:
        RequestError: the runtime is not there.
    """
    folder = Path(folder)
    root = next((path for path in (folder / "node_modules", folder) if (path / "@litertjs").is_dir()), folder)
    core, utilities = root / "@litertjs" / "core", root / "@litertjs" / "wasm-utils"
    try:
        version = json.loads((core / "package.json").read_bytes())["version"]
        module = (core / "dist" / "index.js").read_bytes()
        table = {
            # A page without a build step has no resolver for the bare name, and an import map would be inline script.
            "/runtime/core.js": module.replace(b'"@litertjs/wasm-utils"', b'"/runtime/wasm-utils.js"'),
            "/runtime/wasm-utils.js": (utilities / "dist" / "index.js").read_bytes(),
        }
        served = {path: Served(content, "text/javascript; charset=utf-8", False) for path, content in table.items()}
        for path in sorted((core / "wasm").iterdir()):
            kind = {".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm"}.get(path.suffix)
            if kind:
                served[f"/runtime/wasm/{path.name}"] = Served(path, kind, False)
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(
            f"{str(folder)!r} does not hold LiteRT.js ({', '.join(PACKAGES)}): {error}",
            f"run `npm ci` in a copy of {PAGE} and give that copy",
        ) from error
    return Runtime("ready", "", version, served)


def cached():
    """The Runtime of an earlier `fetch`, or None; also None where its files have changed since."""
    folder = cache_folder()
    return read(folder) if folder.is_dir() and not files.verify_manifest(folder) else None


def cache_folder():
    """Folder of a fetched runtime."""
    home = os.environ.get("RESDENSE_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(cache) / "resdense").expanduser() / f"litertjs-{VERSION}"


async def fetch():
    """Fetches the runtime into the cache with the user's npm, checks it, and reads it.

    Raises:
        WorkError: npm or the network is missing, the bytes are not the pinned ones, or the disk is full or read-only.
        RequestError: another run is fetching it.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise WorkError("npm is not installed", f"install Node.js, or elsewhere: {HOW}")
    folder = cache_folder()
    with files.lock(folder), files.new_folder(folder, overwrite=True) as new:
        for package, sha256 in PACKAGES.items():
            _unpack(await _packed(npm, package), sha256, package, new / "node_modules" / package)
        files.write_manifest(new)
    return read(folder)


async def make_ready(runtime):
    """Fetches the files that `runtime` lacks, or stores in it why that is impossible; the page waits for either."""
    try:
        found = await fetch()
    except ResdenseError as error:
        runtime.state, runtime.why = "missing", error.message
    except Exception as error:  # whatever it was, such as a tarball that cannot be read
        runtime.state, runtime.why = "missing", f"fetching it failed: {error!r}"
    else:
        runtime.table, runtime.version, runtime.state = found.table, found.version, "ready"


async def _packed(npm, package):
    """Bytes of the package's tarball. If the waiting task is cancelled, npm is ended too."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(npm, "pack", f"{package}@{VERSION}", "--ignore-scripts", "--pack-destination", folder, *RETRY),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for this program, which ends npm itself
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), SECONDS)
        except TimeoutError as error:
            raise WorkError(f"npm did not fetch {package} in {SECONDS} seconds", "check the connection") from error
        finally:
            if process.returncode is None:
                process.kill()
        packed = list(Path(folder).glob("*.tgz"))
        if process.returncode or not packed:
            lines = [line for line in said.decode(errors="replace").splitlines() if "error" in line]
            raise WorkError(f"npm cannot fetch {package}: {lines[0] if lines else process.returncode}")
        return packed[0].read_bytes()


def _unpack(content, sha256, package, folder):
    """The parts of a tarball that the page needs; first compares the checksum with the pinned one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WorkError(f"{package} {VERSION} is not what it was: its sha256 is {found}", "do not use it; report it")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive.getmembers():
            name = member.name.removeprefix("package/")
            if member.isfile() and (name in ("package.json", "dist/index.js") or Path(name).parent == Path("wasm")):
                files.write_bytes(folder / name, archive.extractfile(member).read())
