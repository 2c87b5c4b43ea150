"""Writes labels and preprocessing into a .tflite file, as the TFLite metadata that the libraries of Android and iOS
read.

Google's format has two parts: a flatbuffer in a constant called TFLITE_METADATA, and `labels.txt` in a zip archive
after the file (ai.google.dev/edge/litert/models/metadata). Interpreters ignore both.
"""

import io
import zipfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from . import flatbuffer, metadata_schema

NAME, IDENTIFIER = b"TFLITE_METADATA", b"M001"
PARSER_VERSION = "1.0.0"  # the oldest parser that knows every field written here
LABELS = "labels.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip entry can have; today's would change the bytes

_COLOURS = {1: metadata_schema.ColorSpaceType.GRAYSCALE, 3: metadata_schema.ColorSpaceType.RGB}


def embed(content, *, name, input_text, output_text, channels, pixels, probabilities, class_names=None):
    """The .tflite file `content` with metadata in it; the same arguments give the same bytes.

    Args:
        name: Name of the net.
        input_text, output_text: What the tensors hold, for people.
        channels: Channels of the image.
        pixels: Whether the file takes pixels in [0, 255]; the metadata then tell apps not to change them.
        probabilities: Whether the outputs are probabilities.
        class_names: One name per output, or None.
    """
    model = flatbuffer.unpack(content)
    described = _describe(name, input_text, output_text, channels, pixels, probabilities, class_names)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(described, np.uint8)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return _with_labels(flatbuffer.pack(model), class_names)


def read(content):
    """(the schema's ModelMetadata or None, {name of an associated file: its bytes}) of a .tflite file made here."""
    model = schema.Model.GetRootAs(content)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    found = next((model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == NAME), None)
    described = found and metadata_schema.ModelMetadata.GetRootAs(found.DataAsNumpy().tobytes())
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return described, {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return described, {name: archive.read(name) for name in archive.namelist()}


def labels_text(class_names):
    """The content of labels.txt: one name per line."""
    return "".join(f"{name}\n" for name in class_names)


def _with_labels(content, class_names):
    """`content` followed by labels.txt, uncompressed, so that a phone may map the file into memory."""
    if not class_names:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _EPOCH), labels_text(class_names))
    return file.getvalue()


def _describe(name, input_text, output_text, channels, pixels, probabilities, class_names):
    """The metadata flatbuffer."""
    builder = flatbuffers.Builder()
    image = _tensor(
        builder,
        "image",
        input_text,
        _content(builder, _COLOURS.get(channels, metadata_schema.ColorSpaceType.UNKNOWN)),
        limits=(0.0, 255.0) if pixels else None,
        ProcessUnits=_offsets(builder, [_as_they_are(builder, channels)]) if pixels else None,
    )
    scores = _tensor(
        builder,
        "probability" if probabilities else "score",
        output_text,
        _table(builder, "Content", ContentPropertiesType=metadata_schema.ContentProperties.FeatureProperties,
               ContentProperties=_table(builder, "FeatureProperties")),
        limits=(0.0, 1.0) if probabilities else None,
        AssociatedFiles=_offsets(builder, [_label_file(builder)]) if class_names else None,
    )  # fmt: skip
    graph = _table(
        builder,
        "SubGraphMetadata",
        InputTensorMetadata=_offsets(builder, [image]),
        OutputTensorMetadata=_offsets(builder, [scores]),
    )
    root = _table(
        builder,
        "ModelMetadata",
        Name=builder.CreateString(name),
        SubgraphMetadata=_offsets(builder, [graph]),
        MinParserVersion=builder.CreateString(PARSER_VERSION),
    )
    builder.Finish(root, IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder, name, text, content, limits, **more):
    stats = limits and _table(builder, "Stats", Min=_floats(builder, limits[:1]), Max=_floats(builder, limits[1:]))
    return _table(
        builder,
        "TensorMetadata",
        Name=builder.CreateString(name),
        Description=builder.CreateString(text),
        Content=content,
        Stats=stats,
        **more,
    )


def _content(builder, colour):
    properties = _table(builder, "ImageProperties", ColorSpace=colour)
    kind = metadata_schema.ContentProperties.ImageProperties
    return _table(builder, "Content", ContentPropertiesType=kind, ContentProperties=properties)


def _as_they_are(builder, channels):
    """(pixel - 0) / 1: the normalisation is inside the net, and the libraries refuse a float input without one."""
    mean, std = _floats(builder, [0.0] * channels), _floats(builder, [1.0] * channels)
    options = _table(builder, "NormalizationOptions", Mean=mean, Std=std)
    kind = metadata_schema.ProcessUnitOptions.NormalizationOptions
    return _table(builder, "ProcessUnit", OptionsType=kind, Options=options)


def _label_file(builder):
    return _table(
        builder,
        "AssociatedFile",
        Name=builder.CreateString(LABELS),
        Description=builder.CreateString("the class of each output, one name per line"),
        Type=metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS,
    )


def _table(builder, kind, **fields):
    """Writes one table; a field that is None is left out."""
    getattr(metadata_schema, f"{kind}Start")(builder)
    for name, value in fields.items():
        if value is not None:
            getattr(metadata_schema, f"{kind}Add{name}")(builder, value)
    return getattr(metadata_schema, f"{kind}End")(builder)


def _offsets(builder, tables):
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):  # a flatbuffer is written from its end
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _floats(builder, numbers):
    return builder.CreateNumpyVector(np.asarray(numbers, np.float32))
