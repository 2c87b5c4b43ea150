"""Laws of the metadata inside a .tflite: it says what the bundle says, and no interpreter sees a difference."""

import io
import json
import zipfile

import numpy as np
import pytest

from resdense_export.making.quantization import quantize
from resdense_export.schemes import SCHEMES
from resdense_export.tflite import flatbuffer, metadata, running

NAMES = ("a name", "ein Name mit ä", "名前", "4", "5", "6")
ARGUMENTS = {
    "name": "dense",
    "input_text": "pixels",
    "output_text": "probabilities",
    "channels": 3,
    "pixels": True,
    "probabilities": True,
    "class_names": NAMES,
}


@pytest.fixture(scope="module")
def plain(float_files, training_images):
    """{scheme: the file without metadata}."""
    return {scheme: quantize(float_files["dense"], scheme, training_images[0][:100]) for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_file_answers_the_same_with_and_without(scheme, plain, test_images, tmp_path):
    for name, content in (("without", plain[scheme]), ("with", metadata.embed(plain[scheme], **ARGUMENTS))):
        (tmp_path / name).write_bytes(content)
    answers = [running.run(tmp_path / name, test_images[0][:50]) for name in ("without", "with")]
    np.testing.assert_array_equal(*answers)
    assert flatbuffer.count(flatbuffer.read((tmp_path / "with").read_bytes())) == flatbuffer.count(
        flatbuffer.read(plain[scheme])
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_byte_identical_from_run_to_run_and_costs_a_kilobyte(scheme, plain):
    first, second = (metadata.embed(plain[scheme], **ARGUMENTS) for _ in range(2))
    assert first == second
    assert len(first) - len(plain[scheme]) < 2000


@pytest.mark.parametrize("scheme", SCHEMES)
def test_constants_stay_where_whole_registers_can_be_loaded_from(scheme, plain):
    content = metadata.embed(plain[scheme], **ARGUMENTS)
    model, whole = flatbuffer.schema.Model.GetRootAs(content), np.frombuffer(content, np.uint8)
    starts = [
        model.Buffers(i).DataAsNumpy().ctypes.data - whole.ctypes.data
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(starts) > 10 and {start % flatbuffer.ALIGNMENT for start in starts} == {0}


def test_an_archive_behind_the_file_holds_the_labels_without_a_clock(plain):
    content = metadata.embed(plain["int8"], **ARGUMENTS)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (entry,) = archive.infolist()
        assert archive.read(entry).decode().splitlines() == list(NAMES)
    assert (entry.filename, entry.date_time) == ("labels.txt", (1980, 1, 1, 0, 0, 0))
    assert entry.compress_type == zipfile.ZIP_STORED


def test_it_says_what_goes_in_and_out(plain):
    described, files = metadata.read(metadata.embed(plain["fp32"], **ARGUMENTS))
    graph = described.SubgraphMetadata(0)
    image, score = graph.InputTensorMetadata(0), graph.OutputTensorMetadata(0)
    assert (described.Name(), described.MinParserVersion()) == (b"dense", b"1.0.0")
    assert (image.Name(), image.Description()) == (b"image", b"pixels")
    assert image.Content().ContentPropertiesType() == metadata.metadata_schema.ContentProperties.ImageProperties
    assert [image.Stats().Min(0), image.Stats().Max(0)] == [0, 255]
    assert image.ProcessUnitsLength() == 1  # mean 0, deviation 1: leave the pixels alone
    assert score.Name() == b"probability" and [score.Stats().Min(0), score.Stats().Max(0)] == [0, 1]
    assert score.AssociatedFiles(0).Name() == b"labels.txt" and list(files) == ["labels.txt"]


def test_what_is_not_known_is_not_said(plain):
    unknown = {**ARGUMENTS, "pixels": False, "probabilities": False, "class_names": None}
    content = metadata.embed(plain["fp32"], **unknown)
    described, files = metadata.read(content)
    graph = described.SubgraphMetadata(0)
    image, score = graph.InputTensorMetadata(0), graph.OutputTensorMetadata(0)
    assert (image.Stats(), image.ProcessUnitsLength()) == (None, 0)
    assert (score.Name(), score.Stats(), score.AssociatedFilesLength(), files) == (b"score", None, 0, {})


def test_every_file_of_a_bundle_of_ours_carries_it(bundle):
    from ..conftest import NAMES

    described = json.loads((bundle / "model.json").read_text())
    for file in described["files"]:
        found, files = metadata.read((bundle / file).read_bytes())
        assert found.Name() == b"dense" and files["labels.txt"].decode().splitlines() == list(NAMES)
        text = found.SubgraphMetadata(0).InputTensorMetadata(0).Description().decode()
        assert text.startswith("pixels in [0, 255]") and described["input"]["resize"] in text
