"""Measures the latency of .tflite files on this computer, and describes file and machine.

It needs only ai-edge-litert and NumPy, so it also measures on an Arm board. The files run in a child process
(child.py), so that TensorFlow's threads do not disturb the timing.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from resdense_keras.errors import RequestError, WorkError

from . import flatbuffer
from .child import Child, Fault

CPU_INFO = Path("/proc/cpuinfo")
# The instruction sets for which LiteRT's kernels have code of their own: on x86, then on Arm.
KERNEL_FLAGS = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "amx_int8", "amx_tile"),
    *("asimd", "asimddp", "asimdhp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


def measure(
    files: Sequence[str | Path],
    rounds: int = 50,
    threads: int = 1,
    child: Any = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[dict[str, Any]]:
    """Times .tflite files against each other: every round runs each of them once (see running.time_rounds).

    Compare only files of one call: at another time the machine may be faster or slower.

    Args:
        files: Paths.
        rounds: Number of timed inferences of each file.
        threads: Number of threads of one inference.
        child: A child.Child to use; default: one of its own.
        progress: Function that is called now and then with (rounds done, rounds).
    Returns:
        One dict per file, in order, as in report.json's `measurements`: device, runtime, accelerator, threads, rounds,
        median_ms, p10_ms, p90_ms, drift (median of the last third of the rounds divided by that of the first: 1 where
        the speed of the machine did not change).
    Raises:
        RequestError: there are no files, a file does not exist, or there are fewer than 3 rounds or 1 thread.
        WorkError: a file does not open or run; the message names it.
    Example:
        >>> _ = Path("net.tflite").write_bytes(resdense_export.convert(resdense_keras.resnet20_digits()))
        >>> (row,) = resdense_export.measure(["net.tflite"], rounds=5)
        >>> row["threads"], row["rounds"], row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        (1, 5, True)
    """
    if not files or rounds < 3 or threads < 1:
        raise RequestError(f"{len(files)} files, {rounds} rounds, {threads} threads; at least 1, 3 and 1 are needed")
    with contextlib.nullcontext(child) if child else Child() as child:
        accelerators = [_accelerator(file, child) for file in files]
        with _named(*files):
            times = child.time(files, rounds, threads, progress)
    common = {"device": device(), "runtime": runtime(), "threads": threads, "rounds": rounds}
    return [
        common | {"accelerator": accelerator} | summary(nanoseconds)
        for accelerator, nanoseconds in zip(accelerators, times, strict=True)
    ]


def describe(file, child=None):
    """{"bytes", "operators": {"CONV_2D": 120}, "delegated"} of a .tflite file. Raises WorkError."""
    with contextlib.nullcontext(child) if child else Child() as child, _named(file):
        operators = flatbuffer.count(child.read(file))
        delegated = child.open(file)["delegated"]
    return {"bytes": Path(file).stat().st_size, "operators": operators, "delegated": delegated}


def summary(nanoseconds):
    """Median, 10th and 90th percentile in milliseconds, and the drift, of times in the order of measuring."""
    times = np.asarray(nanoseconds) / 1e6
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    third = len(times) // 3
    drift = float(np.median(times[-third:]) / np.median(times[:third]))
    return {"median_ms": median, "p10_ms": p10, "p90_ms": p90, "drift": drift}


def device():
    """This computer, for a report; `id` tells computers apart without revealing a name."""
    cpu = machine()["cpu"]
    name = hashlib.sha256(f"{platform.node()}\0{cpu}".encode()).hexdigest()[:12]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"id": name, "kind": "computer", "name": cpu, "os": system}


def machine() -> dict[str, Any]:
    """{"cpu", "flags", "cores"}: the processor, its flags that decide which kernels run, and the number of cores that
    this process may use.

    Example:
        >>> sorted(resdense_export.machine())
        ['cores', 'cpu', 'flags']
    """
    info = _cpu_info()
    names = (info.get(key) for key in ("model name", "Model", "Hardware"))  # x86, Arm boards, older Arm kernels
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": next(filter(None, names), platform.processor() or platform.machine()),
        "flags": [flag for flag in KERNEL_FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def runtime():
    """Name and version of the runtime."""
    return f"ai-edge-litert {version('ai-edge-litert')}"


def _accelerator(file, child):
    with _named(file):
        return "xnnpack-cpu" if child.open(file)["delegated"]["partitions"] else "cpu"


@contextlib.contextmanager
def _named(*files):
    """Turns a Fault into a WorkError that names the files."""
    missing = [str(file) for file in files if not Path(file).is_file()]
    if missing:
        raise RequestError(f"there is no file {missing[0]!r}")
    try:
        yield
    except Fault as fault:
        names = ", ".join(str(file) for file in files)
        raise WorkError(f"{names}: {fault}", "`resdense check` says more about a file") from fault


def _cpu_info():
    """{key: value} of the first processor in /proc/cpuinfo; empty where there is no such file."""
    info = {}
    try:
        text = CPU_INFO.read_text(errors="replace")
    except OSError:  # not Linux
        return info
    for line in text.splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info
