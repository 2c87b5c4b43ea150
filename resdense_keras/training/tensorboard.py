"""Event files for TensorBoard, made from a run's history.

There is one file per epoch and split, written whole like every file here, so a killed run leaves no partial record and
a resumed run repeats none. TensorBoard reads the files of a folder in the order of their names.
"""

import time

import tensorflow as tf

from .. import files

SPLITS = {"train": "", "validation": "val_"}  # {folder, which TensorBoard draws as a line: prefix in the record}
FIGURES = ("loss", "accuracy")


def write(folder, history):
    """Writes files for the epochs of `history` that `folder` lacks."""
    for record in history:
        for split, prefix in SPLITS.items():
            path = folder / split / f"events.out.tfevents.{record['epoch']:010d}"
            if not path.exists():
                _write(path, record["epoch"], {name: record[f"{prefix}{name}"] for name in FIGURES})


def _write(path, step, figures):
    event, summary = tf.compat.v1.Event, tf.compat.v1.Summary
    values = [summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
    now = time.time()
    begin = event(wall_time=now, file_version="brain.Event:2")
    with files.writing(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for record in (begin, event(wall_time=now, step=step, summary=summary(value=values))):
            writer.write(record.SerializeToString())
