"""Opens .tflite files in a child process, so that a broken or hostile file ends only the child.

Other people's .tflite files must be treated like code: LiteRT's Python interpreter skips the strict verifier, and a
wrong index ends the process. The child imports only NumPy and LiteRT, has a memory limit and an alarm that nothing in
it catches, and leaves no core file. (Windows has none of the three; there the parent's clock ends a child that hangs.)
So crashes, hangs and excessive memory stay in the child. It is not a sandbox against a file that takes over the
process; for that case answers come back as plain JSON and raw numbers, never as pickles.

    with Child() as child:
        graphs = child.read("net.tflite")
        outputs = child.run("net.tflite", images)
"""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from resdense_keras.errors import WorkError

from . import flatbuffer

GRACE = 2  # seconds that the parent waits longer than the child's own alarm
SECONDS = 10  # for each step: reading a file, opening it, one image
MEMORY = 4 << 30  # bytes of address space; DenseNet-201 needs a tenth
GROWN_FROM = 64 << 20  # bytes of a file from which both limits grow with it
BYTES_A_SECOND, COPIES = 20e6, 8  # what reading takes, and how often a file's bytes lie in memory, packed weights too


class Fault(Exception):
    """A file could not be opened or run; the message says what happened to the child."""


class Child:
    """One child process, started at the first request, and again after it has died."""

    def __init__(self, seconds=SECONDS, memory=MEMORY):
        self.seconds, self.memory = seconds, memory
        self._process = self._stderr = None
        self._largest = 0  # bytes of the file that the process's limits are for
        self._late = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, path):
        """The file's graphs, as `flatbuffer.read` gives them. Raises Fault."""
        return tuple(_graph(graph) for graph in self._ask("read", path=str(path)))

    def open(self, path):
        """Runs the file once on generated values: {"input": shape, "finite": bool, "delegated": {...}, "half": bool};
        `half` says whether it asks for float16 arithmetic. Raises Fault.
        """
        return self._ask("open", path=str(path))

    def run(self, path, images, threads=1, progress=None):
        """Outputs of the file for `images`, as `running.run` returns them; images on disk are read block by block.

        Raises Fault; WorkError for a full disk.
        """
        from resdense_keras.data import in_blocks  # here, for the child imports this module too

        found, done = [], 0
        for block in in_blocks(images):
            told = progress and (lambda number, _, before=done: progress(before + number, len(images)))
            found.append(self._run_block(path, np.ascontiguousarray(block), threads, told))
            done += len(block)
        return np.concatenate(found)

    def _run_block(self, path, images, threads, progress):
        with _handed(images) as (folder, given):
            answer = folder / "outputs"
            size = self._ask("run", progress, path=str(path), answer=str(answer), threads=threads, **given)
            outputs = np.fromfile(answer, np.float32)
        if outputs.size != len(images) * size:
            raise Fault("the process that opened it gave fewer numbers than it said")
        return outputs.reshape(len(images), size)

    def largest_activation(self, path, images):
        """The result of `running.largest_activation`. Raises Fault; WorkError for a full disk."""
        with _handed(images) as (_, given):
            return self._ask("largest_activation", path=str(path), **given)

    def time(self, paths, rounds, threads=1, progress=None):
        """Nanoseconds of single inferences, the result of `running.time_rounds`. Raises Fault."""
        return self._ask("time", progress, paths=[str(path) for path in paths], rounds=rounds, threads=threads)

    def close(self):
        """Ends the child, if there is one."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._stderr.close()
        self._process = None

    def _grow(self, paths):
        """Ends a child whose limits are too low for a file; the next child gets higher ones."""
        sizes = [Path(path).stat().st_size for path in paths if path is not None and Path(path).is_file()]
        if max(sizes, default=0) > max(self._largest, GROWN_FROM):
            self.close()
            self._largest = max(sizes)

    def _start(self):
        seconds = self.seconds + int(self._largest / BYTES_A_SECOND)
        memory = self.memory + COPIES * self._largest
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(seconds), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its buffers for 64 cores would fill the memory limit
            text=True,
        )

    def _ask(self, task, progress=None, **arguments):
        self._grow([*arguments.get("paths", ()), arguments.get("path")])
        if self._process is None:
            self._start()
        try:
            reply = self._exchange({"task": task, **arguments}, progress)
        except BaseException:  # Ctrl-C too: what is still to come would be taken for the next question's answer
            self.close()
            raise
        if reply is None:
            raise Fault(self._obituary())
        if "error" in reply:
            raise Fault(reply["error"])
        return reply["result"]

    def _exchange(self, request, progress):
        """The child's final answer to a request, or None where it died first."""
        with contextlib.suppress(BrokenPipeError):  # it died while it waited, and its silence says so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in iter(self._next_line, ""):
            reply = json.loads(line)
            if "done" not in reply:
                return reply
            if progress:
                progress(reply["done"], reply["total"])
        return None

    def _next_line(self):
        """The next message of the child, which is ended if it is silent for too long."""
        watch = threading.Timer(self.seconds + GRACE, self._end_late)
        watch.daemon = True
        watch.start()
        try:
            return self._process.stdout.readline()
        finally:
            watch.cancel()

    def _end_late(self):
        self._late = True
        self._process.kill()

    def _obituary(self):
        """How the child ended, with the last output of the library in it."""
        code = self._process.wait()
        self._stderr.seek(0)
        words = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(words) if line and not line.startswith(("INFO", "WARNING"))), "")
        self.close()
        late, self._late = self._late, False
        if late or code == -getattr(signal, "SIGALRM", code):
            return f"the process that opened it gave no answer within {self.seconds} s"
        end = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        how = f"the process that opened it {end}"
        return f"{how}: {last[:200]}" if last else how


@contextlib.contextmanager
def _handed(images):
    """(a folder, {"images", "shape", "dtype"} for the child): the folder has a file with the images as raw numbers,
    which the child reads one image at a time.
    """
    images = np.ascontiguousarray(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        try:
            images.tofile(path)
        except OSError as error:
            raise WorkError(f"cannot write the images to {folder}: {error}", "free some space there") from error
        yield Path(folder), {"images": str(path), "shape": images.shape, "dtype": images.dtype.str}


def _graph(plain):
    """A Graph from its JSON form, in which tuples are lists and dataclasses are objects."""

    def tuples(record):
        return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}

    tensors = tuple(flatbuffer.Tensor(**tuples(tensor)) for tensor in plain["tensors"])
    operators = tuple(flatbuffer.Operator(**tuples(operator)) for operator in plain["operators"])
    return flatbuffer.Graph(tuple(plain["inputs"]), tuple(plain["outputs"]), tensors, operators)


# What follows runs in the child.


def _read(beat, path):
    try:
        return [asdict(graph) for graph in flatbuffer.read(Path(path).read_bytes())]
    except (IndexError, TypeError, struct.error) as error:  # what the generated reader runs into
        raise ValueError(f"the file is damaged: {error}") from error


def _open(beat, path):
    from . import half, running

    net = running.Net(path)
    net.fill()
    net.interpreter.invoke()
    output = net.interpreter.get_tensor(net.output["index"])
    return {
        "input": [int(size) for size in net.input["shape"]],
        "inputs": [detail["name"] for detail in net.inputs],
        "outputs": [detail["name"] for detail in net.interpreter.get_output_details()],
        "signatures": sorted(net.interpreter.get_signature_list()),
        "finite": bool(np.isfinite(output).all()),
        "delegated": net.delegated(),
        "half": half.is_marked(Path(path).read_bytes()),
    }


def _run(beat, path, images, shape, dtype, answer, threads):
    from . import running

    # Not memory-mapped: the map of a large set would count against the memory limit.
    with Path(images).open("rb") as file:
        outputs = running.run(path, _Images(file, shape, np.dtype(dtype)), threads, beat)
    outputs.tofile(answer)
    return outputs.shape[1]


def _largest_activation(beat, path, images, shape, dtype):
    from . import running

    with Path(images).open("rb") as file:
        return running.largest_activation(path, _Images(file, shape, np.dtype(dtype)), beat)


def _time(beat, paths, rounds, threads):
    from . import running

    return running.time_rounds(paths, rounds, threads, beat)


TASKS = {"read": _read, "open": _open, "run": _run, "largest_activation": _largest_activation, "time": _time}


class _Images:
    """An array of images in a raw file, read one by one."""

    def __init__(self, file, shape, dtype):
        self.file, self.shape, self.dtype = file, tuple(shape), dtype

    def __len__(self):
        return self.shape[0]

    def __iter__(self):
        pixels = int(np.prod(self.shape[1:]))
        for _ in range(len(self)):
            yield np.frombuffer(self.file.read(pixels * self.dtype.itemsize), self.dtype).reshape(self.shape[1:])


def _limit(memory):
    """Limits the address space, and leaves no core file, on systems that can."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has none, macOS refuses some
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main(seconds, memory):
    """Answers JSON lines one after the other until the parent closes the pipe."""
    _limit(memory)
    alarm = getattr(signal, "alarm", lambda seconds: None)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent's may be ignored, which a child inherits
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    said = 0.0

    def beat(done, total):
        nonlocal said
        alarm(seconds)
        if time.monotonic() - said > 0.2:
            said = time.monotonic()
            print(json.dumps({"done": done, "total": total}), file=replies)

    for line in sys.stdin:
        request = json.loads(line)
        alarm(seconds)  # its default is to end the process, from C++ code too, and when the parent is gone
        try:
            reply = {"result": TASKS[request.pop("task")](beat, **request)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        alarm(0)
        print(json.dumps(reply), file=replies)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
