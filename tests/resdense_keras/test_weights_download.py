"""Published weights: the table against its source, and downloads from a local server with small files."""

import dataclasses
import hashlib
import http.server
import inspect
import threading

import keras
import numpy as np
import pytest
from keras.src.applications import densenet as keras_densenet
from keras.src.applications import resnet as keras_resnet

import resdense_keras
from resdense_keras import RequestError, WorkError, catalog, weights
from resdense_keras.weights import WEIGHTS, download

FILE = b"weights of a small net" * 100
NOTOP = b"the same without a head" * 100


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine that stands for Keras' storage; `files` {path: bytes}, `requests` it has seen."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    files, requests = {}, []
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.requests = files, requests
    running.url = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("RESDENSE_WEIGHTS_URL", running.url)
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path / "home"))
    yield running
    running.shutdown()
    running.server_close()


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def small(server):
    """A WeightSet whose two files the server has."""
    row = dataclasses.replace(WEIGHTS[0], file="resnet/small.h5", md5=md5(FILE), notop_md5=md5(NOTOP), megabytes=1)
    server.files |= {"/resnet/small.h5": FILE, "/resnet/small_notop.h5": NOTOP}
    return row


# Downloads


def test_a_download_says_on_stderr_what_it_does(small, server, tmp_path, capsys):
    path = download.fetch(small)
    assert path == tmp_path / "home" / "weights" / "small.h5"
    assert path.read_bytes() == FILE
    output = capsys.readouterr()
    assert output.err == f"downloading {server.url}/resnet/small.h5 (up to 1 MB) to {path}\n"
    assert output.out == ""


def test_a_second_call_takes_the_file_from_the_cache(small, server, capsys):
    first = download.fetch(small)
    capsys.readouterr()
    assert download.fetch(small) == first
    assert server.requests == ["/resnet/small.h5"]
    assert capsys.readouterr().err == ""


def test_a_net_without_head_has_a_file_of_its_own(small):
    assert download.fetch(small, head=False).read_bytes() == NOTOP


def test_a_wrong_checksum_is_refused_and_the_file_removed(small, server, tmp_path):
    server.files["/resnet/small.h5"] = FILE + b"!"
    with pytest.raises(WorkError, match="is not the published file"):
        download.fetch(small)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_spoilt_file_in_the_cache_is_fetched_again(small, capsys):
    path = download.fetch(small)
    path.write_bytes(b"spoilt")
    capsys.readouterr()
    assert download.fetch(small).read_bytes() == FILE
    assert capsys.readouterr().err.startswith("downloading")


def test_a_missing_file_and_a_missing_server_are_errors_with_a_hint(small, server, monkeypatch, capsys):
    del server.files["/resnet/small.h5"]
    with pytest.raises(WorkError, match="404") as caught:
        download.fetch(small)
    assert capsys.readouterr().err.startswith("downloading")  # it was said before it failed
    assert "check the connection, or put the file at" in caught.value.hint
    assert "no network: resnet20 or densenet_bc22_16 with the name cifar10" in caught.value.hint
    assert {row.model for row in weights.SHIPPED if row.name == "cifar10"} == {"resnet20", "densenet_bc22_16"}
    monkeypatch.setenv("RESDENSE_WEIGHTS_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(WorkError, match=r"cannot download http://127.0.0.1:9/resnet/small.h5: ConnectionError"):
        download.fetch(small)


def test_a_cache_that_cannot_be_written_is_an_error(small, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESDENSE_HOME", str(tmp_path / "file"))
    with pytest.raises(WorkError, match="cannot download"):
        download.fetch(small)


def test_the_cache_is_where_xdg_says(tmp_path, monkeypatch):
    monkeypatch.delenv("RESDENSE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "resdense" / "weights"


def test_the_class_names_are_checked_too(server, tmp_path):
    server.files["/imagenet_class_index.json"] = b'{"0": ["n0", "something else"]}'
    with pytest.raises(WorkError, match="is not the published file"):
        resdense_keras.decode_predictions(np.full((1, 1000), 0.001))


def test_named_weights_are_fetched_and_loaded(server, tmp_path):
    options = {"depth": 8, "shortcut": "B", "classes": 3}
    source = resdense_keras.cifar_resnet(**options)
    source.save_weights(tmp_path / "net.weights.h5")
    data = (tmp_path / "net.weights.h5").read_bytes()
    server.files["/resnet/net.h5"] = data
    row = dataclasses.replace(WEIGHTS[0], file="resnet/net.h5", md5=md5(data))
    model = resdense_keras.cifar_resnet(**options)
    weights.load_named(model, row)
    for mine, theirs in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(theirs))


def test_a_builder_fetches_what_its_weights_name(server):
    """The server has another file under the published name, so the checksum stops it: the request is what counts."""
    server.files["/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"] = FILE
    with pytest.raises(WorkError, match="is not the published file"):
        resdense_keras.densenet121(weights="imagenet", include_top=False, input_shape=(32, 32, 3))
    assert server.requests == ["/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"]


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("resnet50", {"variant": "v1.5"}, "variant='v1.5' was given, but weights='imagenet' of resnet50"),
        ("resnet50", {"conv_bias": False}, "conv_bias=False was given, but weights='imagenet' of resnet50"),
        ("resnet50_v2", {"variant": "v2"}, "variant='v2' was given, but weights='imagenet' of resnet50_v2"),
    ],
)
def test_an_argument_that_contradicts_the_weights_is_an_error_and_fetches_nothing(net, options, message, server):
    with pytest.raises(RequestError, match=f"{message} were trained with"):
        resdense_keras.create(net, weights="imagenet", **options)
    assert server.requests == []


def test_named_weights_bring_the_variant_that_they_were_trained_in(server):
    """keras.applications' ResNet50 is v1 with biases; the builder's own default is v1.5 without."""
    theirs = keras.applications.ResNet50(weights=None)
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load_named", lambda model, row, **head: built.append((model, row)))
        resdense_keras.resnet50(weights="imagenet")
    ((model, row),) = built
    assert row is weights.find("resnet50", "imagenet")
    assert model.count_params() == theirs.count_params()
    assert model.get_layer("stage2_block1_conv1").strides == (2, 2)


# The table


def test_checksums_are_those_in_kerass_source():
    source = inspect.getsource(keras_densenet)
    for row in WEIGHTS:
        if row.file.startswith("resnet/"):
            key = row.file.removeprefix("resnet/").partition("_")[0]
            assert (row.md5, row.notop_md5) == keras_resnet.WEIGHTS_HASHES[key], row.model
        else:
            assert row.file.removeprefix("densenet/") in source, row.model
            assert f'file_hash="{row.md5}"' in source, row.model
            assert f'file_hash="{row.notop_md5}"' in source, row.model


def test_files_lie_where_keras_keeps_them():
    assert f"{download.BASE_URL}/resnet/" == keras_resnet.BASE_WEIGHTS_PATH
    assert f"{download.BASE_URL}/densenet/" == keras_densenet.BASE_WEIGHTS_PATH


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row.model)
def test_every_set_belongs_to_a_net_that_takes_its_arguments(row):
    builder = catalog.BUILDERS[row.model]
    accepted = inspect.signature(builder).parameters
    assert set(row.arguments) <= set(accepted)
    assert row.classes == accepted["classes"].default
    assert 0.7 < row.accuracy < 0.8


def test_names_are_found_and_paths_are_left_to_the_loader(tmp_path):
    assert weights.names("resnet50") == ["imagenet"]
    assert weights.names("resnet32") == []
    assert weights.find("resnet50", "imagenet") is WEIGHTS[0]
    for path in (tmp_path / "x", "net.h5", "folder/net", str(tmp_path)):
        assert weights.find("resnet50", path) is None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(RequestError) as caught:
        resdense_keras.densenet121(weights="imagenett")
    assert str(caught.value) == (
        "unknown weights of densenet121 'imagenett'; known: imagenet (hint: did you mean `imagenet`?)"
    )
    with pytest.raises(RequestError, match="resnet32 has no published weights in this package"):
        resdense_keras.resnet32(weights="imagenet")


def test_preprocessing_travels_with_the_weights():
    pixels = np.array([[[[255.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(
        resdense_keras.preprocess_input(pixels, "resnet50/imagenet")[0, 0, 0],
        [-103.939, -116.779, 255 - 123.68],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(resdense_keras.preprocess_input(pixels, "resnet50_v2/imagenet")[0, 0, 0], [1, -1, -1])
