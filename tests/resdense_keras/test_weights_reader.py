"""read_weights(): arrays out of five formats, and out of nothing that means harm.

The files of the attacks are small and real: whoever believes them gets what they try, a canary file or a gibibyte.
"""

import os
import pickle
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from resdense_keras.errors import RequestError
from resdense_keras.weights import hdf5, read_weights
from resdense_keras.weights.reader import opened

FORMATS = ("net.weights.h5", "net.h5", "net.keras", "net.npz", "net.safetensors")


def tensors():
    values = np.random.default_rng(0)
    shapes = {"layers/conv2d/vars/0": (3, 3, 4, 8), "layers/conv2d/vars/1": (8,), "layers/dense/vars/0": (8, 5)}
    return {name: values.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def write_h5(path, arrays, **options):
    with h5py.File(path, "w", **options) as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def write(path, arrays=None):
    """A good file of the format that `path` says."""
    arrays = tensors() if arrays is None else arrays
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    elif path.suffix == ".keras":
        inner = write_h5(path.with_name("inner.h5"), arrays)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inner, "model.weights.h5")
    else:
        write_h5(path, arrays)
    return path


def refusal(path):
    with pytest.raises(RequestError) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    return caught.value.message.removeprefix(f"cannot load {path}: ")


# Good files


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_arrays_back(name, tmp_path):
    found = read_weights(write(tmp_path / name))
    assert set(found) == set(tensors())
    for key, array in tensors().items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype


@pytest.mark.parametrize("name", FORMATS)
def test_headers_are_there_before_any_tensor_is_read(name, tmp_path):
    with opened(write(tmp_path / name)) as file:
        headers = file.headers
    assert {key: (header.shape, header.dtype) for key, header in headers.items()} == {
        key: (array.shape, "float32") for key, array in tensors().items()
    }


def test_packed_chunks_and_new_hdf5_layouts_are_read(tmp_path):
    array = np.random.default_rng(0).normal(size=(40, 40)).astype(">f4")
    with h5py.File(tmp_path / "net.h5", "w", libver="latest") as file:
        file.create_dataset("a", data=array, chunks=(8, 8), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("b", data=array, chunks=(8, 8), compression="lzf")
    found = read_weights(tmp_path / "net.h5")
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["b"], array)


def test_fortran_order_and_scalars_are_read(tmp_path):
    arrays = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.array(7)}
    np.savez_compressed(tmp_path / "net.npz", **arrays)
    found = read_weights(tmp_path / "net.npz")
    np.testing.assert_array_equal(found["a"], arrays["a"])
    assert found["b"] == 7


def test_paths_with_spaces_and_other_alphabets_are_read(tmp_path):
    folder = tmp_path / "mes poids 重み 'q'"
    folder.mkdir()
    assert read_weights(write(folder / "net.h5")).keys() == tensors().keys()


def test_reading_imports_no_keras(tmp_path):
    code = (
        "import sys; from resdense_keras.weights.reader import read_weights; "
        f"read_weights({str(write(tmp_path / 'net.h5'))!r}); assert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Attacks


class Canary:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path):
    """A path that no reader may bring into being."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_code_in_a_model_file_is_never_run(name, canary, tmp_path):
    import keras

    from resdense_keras import cifar_resnet, load_weights

    def code(x):
        canary.touch()
        return x

    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Lambda(code)(inputs)).save(tmp_path / name)
    canary.unlink()  # building the net has run it once
    with pytest.raises(RequestError, match="without a tensor in the file"):
        load_weights(cifar_resnet(depth=8), tmp_path / name)


def test_pickled_arrays_are_refused(canary, tmp_path):
    np.savez(tmp_path / "net.npz", good=np.zeros(3), bad=np.array([Canary(canary)], dtype=object))
    assert refusal(tmp_path / "net.npz") == "tensor 'bad': its type is object, and only numbers are read"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl"])
def test_pickled_files_are_refused_with_the_way_out(suffix, canary, tmp_path):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(pickle.dumps(Canary(canary)))
    assert refusal(path) == "pickled files can run any code and are never opened"


def _soft(file, other):
    file["link"] = h5py.SoftLink("/target")


def _external(file, other):
    file["link"] = h5py.ExternalLink(str(other), "/target")


def _hard(file, other):
    file["link"] = file["target"]


def _cycle(file, other):
    file.create_group("group")["link"] = file["/"]


def _external_storage(file, other):
    file.create_dataset("link", (4,), "f4", external=[(str(other), 0, 16)])


def _virtual(file, other):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "target", (4,))
    file.create_virtual_dataset("link", layout)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_soft, "tensor 'link': it is a SoftLink: links to elsewhere are never followed"),
        (_external, "tensor 'link': it is a ExternalLink: links to elsewhere are never followed"),
        (_hard, "it is a second link to an object of the file"),
        (_cycle, "it is a second link to an object of the file"),
        (_external_storage, "tensor 'link': its data lie in another file"),
        (_virtual, "tensor 'link': its data lie in another file"),
    ],
)
def test_links_out_of_an_hdf5_file_are_refused(attack, reason, tmp_path):
    other = write_h5(tmp_path / "secret.h5", {"target": np.ones(4, "float32")})
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["target"] = np.zeros(4, "float32")
        attack(file, other)
    assert refusal(tmp_path / "net.h5").endswith(reason)


def test_strings_and_records_in_an_hdf5_file_are_refused(tmp_path):
    for value in (np.array(["a"], dtype=object), np.zeros(2, [("a", "f4")])):
        with h5py.File(tmp_path / "net.h5", "w") as file:
            kind = h5py.string_dtype() if value.dtype == object else value.dtype
            file.create_dataset("x", data=value, dtype=kind)
        assert "and only numbers are read" in refusal(tmp_path / "net.h5")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_refused(name, value, tmp_path):
    arrays = tensors()
    arrays["layers/dense/vars/0"][3, 2] = value
    assert refusal(write(tmp_path / name, arrays)) == "tensor 'layers/dense/vars/0': 1 of its values are not finite"


# Bombs


def h5_bomb(path):
    """29 KB that declare a gibibyte: chunks that were never written."""
    with h5py.File(path, "w") as file:
        file.create_dataset("bomb", (1 << 28,), "f4", chunks=(1 << 20,), compression="gzip")
        file["padding"] = np.zeros(6000, "f4")
    assert path.stat().st_size < 30_000


def npz_bomb(path):
    """A quarter of a megabyte that inflates to a quarter of a gibibyte."""
    np.savez_compressed(path, bomb=np.zeros(1 << 26, "f4"))
    assert path.stat().st_size < 3e5


def lying_npz_bomb(path):
    """The same, and the archive says 4 KB."""
    npz_bomb(path)
    data = path.read_bytes()
    size = (128 + (4 << 26)).to_bytes(4, "little")  # .npy header and data
    assert size in data
    path.write_bytes(data.replace(size, (4096).to_bytes(4, "little")))


def keras_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 28))


MEASURE = """
import pathlib, re, resource, sys, time
from resdense_keras.weights import read_weights
start = time.perf_counter()
try:
    read_weights(sys.argv[1])
except ValueError as error:
    print(error, file=sys.stderr)
    own = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(time.perf_counter() - start, (own + child) / 1024)
"""


@pytest.mark.parametrize(
    ("bomb", "name"),
    [(h5_bomb, "net.h5"), (npz_bomb, "net.npz"), (lying_npz_bomb, "net.npz"), (keras_bomb, "net.keras")],
)
def test_a_bomb_is_refused_within_2_s_and_200_mib(bomb, name, tmp_path):
    """Memory is that of the reading process and of its child together; the best time of three, for a busy machine."""
    bomb(tmp_path / name)
    runs = [
        subprocess.run([sys.executable, "-c", MEASURE, tmp_path / name], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds, mebibytes = np.min([list(map(float, run.stdout.split())) for run in runs], axis=0)
    assert f"cannot load {tmp_path / name}" in runs[0].stderr
    assert seconds < 2
    assert mebibytes < 200


def test_a_file_that_declares_more_than_it_holds_says_both_numbers(tmp_path):
    h5_bomb(tmp_path / "net.h5")
    size = (tmp_path / "net.h5").stat().st_size
    assert refusal(tmp_path / "net.h5") == f"it holds {size:,} bytes and declares {(4 << 28) + 24_000:,}"


# Damage


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_short_is_refused(name, tmp_path):
    data = write(tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    assert refusal(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_is_refused(name, tmp_path):
    (tmp_path / name).touch()
    assert refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["net.npz", "net.keras"])
def test_a_flipped_bit_in_a_zip_is_refused(name, tmp_path):
    data = bytearray(write(tmp_path / name).read_bytes())
    position = data.index(tensors()["layers/dense/vars/0"].tobytes())
    data[position] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    assert "Bad CRC-32" in refusal(tmp_path / name)


def mutated(data, seed):
    """`data` with a few bytes changed, near its start or among its non-zero ones, or cut short."""
    source = random.Random(seed)
    data = bytearray(data)
    places = range(min(len(data), 4096)) if seed % 2 else [i for i, byte in enumerate(data) if byte]
    for _ in range(source.choice((1, 2, 8, 64))):
        data[source.choice(places)] = source.choice((0, 1, 2, 4, 8, 16, 127, 128, 255, source.randrange(256)))
    return bytes(data[: source.randrange(len(data))] if seed % 5 == 0 else data)


def assert_read_or_refused(name, seeds, folder):
    data = write(folder / name).read_bytes()
    refused = 0
    for seed in seeds:
        (folder / name).write_bytes(mutated(data, seed))
        start = time.monotonic()
        try:
            read_weights(folder / name)
        except RequestError:
            refused += 1
        assert time.monotonic() - start < 20, seed
    assert refused > len(seeds) / 5


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_read_or_refused(name, tmp_path):
    assert_read_or_refused(name, range(8), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_200_mutated_files_are_read_or_refused(name, tmp_path):
    assert_read_or_refused(name, range(1000, 1200), tmp_path)


def test_a_reader_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "SECONDS", 0)  # even starting takes longer
    assert refusal(write(tmp_path / "net.h5")) == "it took longer than 0 s to read"


def test_a_reader_that_dies_is_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5.subprocess, "Popen", _killed_at_once)
    assert refusal(write(tmp_path / "net.h5")) == "the process that read it died (exit -9)"


def test_a_reader_that_dies_half_way_is_a_refusal(tmp_path):
    with pytest.raises(RequestError, match=r"tensor 'a': the process that read it died \(exit -9\)"):  # noqa: SIM117
        with opened(write_h5(tmp_path / "net.h5", {"a": np.zeros(3)})) as file:
            file._file._child.kill()
            file._file._child.wait()
            file.read("a")


def _killed_at_once(command, real=subprocess.Popen, **options):
    process = real(command, **options)
    process.kill()
    return process


# Requests


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing.h5", "cannot load nothing.h5: there is no such file"),
        ("imagenet", "cannot load imagenet: its format is unknown; known: .h5, .hdf5, .keras, .npz, .safetensors"),
        ("net.onnx", "cannot load net.onnx: its format is unknown; known: .h5, .hdf5, .keras, .npz, .safetensors"),
        (3, "weights=3 was given; it must be the path of a file"),
    ],
)
def test_what_is_no_file_of_a_known_format_is_refused(path, message):
    with pytest.raises(RequestError) as caught:
        read_weights(path)
    assert caught.value.message == message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    write(tmp_path / "net.npz").chmod(0)
    assert "Permission denied" in refusal(tmp_path / "net.npz")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net.h5").mkdir()
    assert refusal(tmp_path / "net.h5") == "there is no such file"
