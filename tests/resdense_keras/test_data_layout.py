"""A folder is found out by its structure: which folders are splits and classes, in whatever they are wrapped."""

import os
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.data import layout
from resdense_keras.errors import RequestError


def fill(folder, classes=("cat", "dog"), count=5, suffix=".png"):
    """`count` images in a folder of each class."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / name / f"{number}{suffix}")
    return folder


def flat(folder, count=3):
    """Images without class folders."""
    return fill(folder.parent, [folder.name], count)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seg_train", {"seg", "train"}),
        ("TestData", {"test", "data"}),
        ("training_set", {"training", "set"}),
        ("XMLTest2017", {"xml", "test"}),
        ("VAL", {"val"}),
        ("contest", {"contest"}),
        ("évaluation-dev", {"évaluation", "dev"}),
    ],
)
def test_words_stand_between_signs_and_changes_of_case(name, words):
    assert layout.words(name) == words


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("Training", "Testing"), {"train": "Training", "test": "Testing"}),
        (("training_set", "test_set"), {"train": "training_set", "test": "test_set"}),
        (("seg_train", "seg_test"), {"train": "seg_train", "test": "seg_test"}),
        (("TrainData", "TestData", "DevData"), {"train": "TrainData", "validation": "DevData", "test": "TestData"}),
        (("train2017", "eval2017"), {"train": "train2017", "validation": "eval2017"}),
        (("train", "valid", "test"), {"train": "train", "validation": "valid", "test": "test"}),
        (("train_val", "test"), {"train": "train_val", "test": "test"}),
    ],
)
def test_folders_with_the_same_class_folders_are_splits_by_their_words(tmp_path, folders, parts):
    for name in folders:
        fill(tmp_path / name)
    loaded = data.load(tmp_path)
    assert loaded.found.names == parts and loaded.class_names == ("cat", "dog")
    for part, name in parts.items():
        assert {path.parent.parent.name for path in loaded.splits[part].paths} == {name}


def test_levels_of_one_folder_are_walked_through_above_and_below_the_splits(tmp_path):
    fill(tmp_path / "archive" / "dataset" / "seg_train" / "seg_train")
    fill(tmp_path / "archive" / "dataset" / "seg_test" / "seg_test", count=2)
    flat(tmp_path / "archive" / "dataset" / "seg_pred" / "seg_pred")
    (tmp_path / "__MACOSX" / "dataset").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "dataset" / "._a.png").touch()
    (tmp_path / "readme.txt").touch()
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog") and len(loaded.test) == 4
    assert loaded.found.left_out == {"seg_pred": 3}


def test_a_wrapped_train_alone_is_split_by_us(tmp_path):
    fill(tmp_path / "archive" / "train")
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog") and loaded.given == (10, 0, 0) and not loaded.found.names


def test_a_class_is_not_walked_through(tmp_path):
    fill(tmp_path, ["cat"])
    fill(tmp_path / "cat", ["deeper", "other"])
    with pytest.raises(RequestError, match="one class only: cat"):
        data.load(tmp_path)


@pytest.mark.parametrize("unlabelled", ["test_stg1", "test", "unlabeled"])
@pytest.mark.parametrize("others", [(), ("val",)])
def test_flat_folder_beside_the_splits_is_left_out_and_named(tmp_path, unlabelled, others):
    for name in ("train", *others):
        fill(tmp_path / name)
    flat(tmp_path / unlabelled, 7)
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog") and len(loaded.train) == 10 - (not others) * 4
    assert f"left out: {unlabelled}/ (7 images without classes)" in loaded.describe()


@pytest.mark.parametrize(
    "folders", [("first", "second"), ("train", "other"), ("train_1", "train_2"), ("color", "grayscale", "segmented")]
)
def test_splits_that_cannot_be_told_apart_are_refused_by_both_names(tmp_path, folders):
    for name in folders:
        fill(tmp_path / name)
    with pytest.raises(RequestError) as caught:
        data.load(tmp_path)
    assert all(f"{name}/" in caught.value.message for name in folders[:2])
    assert "rename them so that the words train, val or test say" in caught.value.hint


def test_two_folders_of_one_part_are_refused_by_both_names(tmp_path):
    for name in ("train", "val", "valid", "test"):
        fill(tmp_path / name)
    with pytest.raises(RequestError, match="val/ and valid/"):
        data.load(tmp_path)


def test_splits_without_a_word_for_training_are_refused(tmp_path):
    for name in ("val", "test"):
        fill(tmp_path / name)
    with pytest.raises(RequestError, match="no name beside them says train") as caught:
        data.load(tmp_path)
    assert "rename" in caught.value.hint


def test_test_folder_beside_the_classes_of_its_own_is_refused(tmp_path):
    fill(tmp_path)
    fill(tmp_path / "test")
    with pytest.raises(RequestError, match=r"test/ with class folders of the same names: cat, dog"):
        data.load(tmp_path)


def test_folder_of_other_classes_beside_the_splits_is_refused(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / name)
    fill(tmp_path / "extra", ["emu", "fox"])
    with pytest.raises(RequestError, match="extra/ beside it"):
        data.load(tmp_path)


@pytest.mark.parametrize("names", [("bus", "car", "train"), ("contest", "exam", "test"), ("dev", "val")])
def test_classes_may_be_called_as_splits_are(tmp_path, names):
    fill(tmp_path, names)
    assert data.load(tmp_path).class_names == names


@pytest.mark.parametrize(
    "names", [("train", "test1"), ("train_images", "test_images"), ("stage_1_train", "dev", "Test")]
)
def test_splits_without_class_folders_are_no_classes(tmp_path, names):
    for name in names:
        flat(tmp_path / name)
    with pytest.raises(RequestError, match=f"{names[0]}/.* are splits by their names") as caught:
        data.load(tmp_path)
    assert "csv" not in caught.value.message
    (tmp_path / "train.csv").write_text("image_id,label\n0.png,1\n")
    with pytest.raises(RequestError, match=r"train\.csv may say the class"):
        data.load(tmp_path)


def test_accents_that_macos_spells_in_two_signs_are_the_same_class(tmp_path):
    fill(tmp_path / "train", ["cafe\N{COMBINING ACUTE ACCENT}", "tea"])
    fill(tmp_path / "test", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "tea"])
    loaded = data.load(tmp_path)
    assert loaded.classes == 2 and sorted(loaded.test.labels) == [0] * 5 + [1] * 5


def test_a_table_of_labels_beside_the_images_is_named(tmp_path):
    flat(tmp_path / "images")
    (tmp_path / "labels.csv").write_text("image_id,label\n0.png,1\n")
    with pytest.raises(RequestError, match=r"labels\.csv may say the class"):
        data.load(tmp_path)
    fill(tmp_path, ["cat"])
    assert data.load(tmp_path).class_names == ("cat", "images")


def test_folders_that_systems_leave_behind_are_no_classes(tmp_path):
    fill(tmp_path, ("cat", "dog", "@eaDir", "$RECYCLE.BIN", "lost+found", "__MACOSX", "System Volume Information"))
    fill(tmp_path / "cat", ["@eaDir"])
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog") and sum(map(len, loaded.splits.values())) == 10


def test_a_folder_that_vanishes_while_it_is_read_is_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        layout.Disk(str).below(tmp_path / "gone")


def test_classes_may_have_folders_of_their_own_inside(tmp_path):
    fill(tmp_path / "cat", ["siamese", "persian"])
    fill(tmp_path / "dog", ["poodle"])
    fill(tmp_path, ["dog"])
    assert data.load(tmp_path).class_names == ("cat", "dog")


def test_test_may_lack_classes_of_train_and_train_none_of_test(tmp_path):
    fill(tmp_path / "train", ["cat", "dog", "emu"])
    fill(tmp_path / "test", ["cat"])
    with pytest.warns(UserWarning, match="test has no images of these classes: dog, emu"):
        assert data.load(tmp_path).found.names == {"train": "train", "test": "test"}
    fill(tmp_path / "test", ["fox"])
    with pytest.raises(RequestError, match="test has classes that train lacks: fox"):
        data.load(tmp_path)


def test_split_without_images_is_refused(tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(RequestError, match="test holds no images in class folders"):
        data.load(tmp_path)


def test_images_beside_the_class_folders_are_named(tmp_path):
    fill(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "cover.png")
    with pytest.warns(UserWarning, match="1 images lie beside the class folders and are left out"):
        assert data.load(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("suffix", [".dcm", ".cr2", ".txt", ""])
def test_class_of_files_that_are_no_images_is_refused_by_its_name(tmp_path, suffix):
    fill(tmp_path)
    (tmp_path / "crow").mkdir()
    for number in range(30):
        (tmp_path / "crow" / f"{number}{suffix}").write_bytes(b"content")
    with pytest.raises(RequestError, match="class crow has no image that can be read") as caught:
        data.load(tmp_path)
    assert len(caught.value.message.splitlines()) == 1 and "30 files" in caught.value.message
    assert (suffix or "without a suffix") in caught.value.message


def test_class_of_images_that_cannot_be_read_is_refused_by_its_name_in_a_few_lines(tmp_path, monkeypatch):
    fill(tmp_path, count=20)
    fill(tmp_path, ["crow"], count=200)
    for path in (tmp_path / "crow").iterdir():
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
        path.rename(path.with_suffix(".HEIC"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data.images._reads_heif.cache_clear()
    data.images._formats.cache_clear()
    try:
        for way in ("fail", "skip"):
            with pytest.raises(RequestError, match="class crow: none of its 200 files can be read") as caught:
                data.load(tmp_path, on_bad_image=way)
            assert "pip install pillow-heif" in caught.value.hint and len(caught.value.message.splitlines()) == 2
        Image.new("RGB", (4, 4)).save(tmp_path / "crow" / "good.png")
        with pytest.raises(RequestError, match="200 of 241 image files") as caught:
            data.load(tmp_path)
        assert "and 190 more HEIC photos of class crow" in caught.value.message
        assert "pip install pillow-heif" in caught.value.hint
    finally:
        data.images._reads_heif.cache_clear()
        data.images._formats.cache_clear()


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF"])
def test_suffixes_of_windows_and_of_old_programs_are_read(tmp_path, suffix):
    fill(tmp_path, ["cat"])
    fill(tmp_path, ["dog"], suffix=".jpg")
    for path in list((tmp_path / "dog").iterdir()):
        path.rename(path.with_suffix(suffix))
    assert data.load(tmp_path).class_names == ("cat", "dog")


def test_links_to_folders_and_files_are_followed_and_counted_once(tmp_path):
    root, far = fill(tmp_path / "photos"), fill(tmp_path / "far", ["z"], 8)
    (root / "cat" / "more").symlink_to(far / "z")
    (root / "cat" / "again").symlink_to(far / "z")
    (root / "dog" / "one.png").symlink_to(far / "z" / "0.png")
    (root / "emu").symlink_to(far / "z")
    loaded = data.load(root)
    files = [path for split in loaded.splits.values() for path in split.paths]
    found = {name: sum(path.relative_to(root).parts[0] == name for path in files) for name in loaded.class_names}
    assert found == {"cat": 13, "dog": 6, "emu": 8}


def test_links_cannot_lead_round_in_circles(tmp_path):
    fill(tmp_path)
    (tmp_path / "cat" / "root").symlink_to(tmp_path)
    (tmp_path / "cat" / "itself").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "deeper").mkdir()
    (tmp_path / "dog" / "deeper" / "up").symlink_to(tmp_path / "dog")
    assert sum(map(len, data.load(tmp_path).splits.values())) == 10


@pytest.mark.parametrize("name", ["gone.jpg", "gone"])
def test_broken_link_is_a_bad_file(tmp_path, name):
    fill(tmp_path)
    (tmp_path / "cat" / name).symlink_to("/nowhere")
    (tmp_path / "dog" / "itself.jpg").symlink_to("itself.jpg")
    with pytest.raises(RequestError, match="2 of 12 image files") as caught:
        data.load(tmp_path)
    assert f"cat/{name}: cannot be opened (No such file" in caught.value.message
    assert "dog/itself.jpg: cannot be opened (Too many levels" in caught.value.message


def test_names_that_are_no_utf8_are_texts_that_differ(tmp_path):
    fill(tmp_path, ["cat", "dog", "emu", "fox"])
    folder = os.fsdecode(tmp_path)
    for name, raw in (("dog", b"caf\xe9"), ("emu", b"caf\xe8"), ("fox", "caf\N{REPLACEMENT CHARACTER}".encode())):
        (tmp_path / name).rename(f"{folder}/{os.fsdecode(raw)}")
    Path(f"{folder}/caf\udce9/0.png").rename(f"{folder}/caf\udce9/\udcff.png")
    loaded = data.load(tmp_path)
    # Sorted by their raw names: the signs that Python puts for bytes that are no UTF-8 come before U+FFFD.
    unreadable = "caf\N{REPLACEMENT CHARACTER}"
    assert loaded.class_names == (f"{unreadable} 2", f"{unreadable} 3", unreadable, "cat")
    assert sum(map(len, loaded.splits.values())) == 20 and loaded.train.array().shape[1:] == (4, 4, 3)
    assert loaded.describe().encode()


# What a command says before it begins


def test_the_line_names_splits_classes_and_sizes(tmp_path):
    fill(tmp_path / "Training", ["glioma", "none"], 30)
    fill(tmp_path / "Testing", ["glioma", "none"], 3)
    Image.new("RGB", (9, 4)).save(tmp_path / "Training" / "none" / "wide.png")
    assert data.load(tmp_path, image_size=8).describe() == (
        "train Training/ (54 images), validation 7 (a tenth held out of train), test Testing/ (6); "
        "2 classes: glioma, none; 4x4 and 1 other size, resized to 8 by crop"
    )


def test_the_line_says_that_val_judges_twice(tmp_path):
    fill(tmp_path / "train"), fill(tmp_path / "val", count=2)
    loaded = data.load(tmp_path)
    assert loaded.describe() == (
        "train train/ (10 images), validation and test val/ (4; val/ also chose the epoch); 2 classes: cat, dog; 4x4"
    )


def test_the_line_names_ten_classes_and_counts_the_others(tmp_path):
    fill(tmp_path, [f"c{number:04}" for number in range(40)], 3)
    assert "40 classes: c0000, c0001, " in data.load(tmp_path).describe()
    assert "c0009 and 30 more; 4x4" in data.load(tmp_path).describe()


def test_the_line_names_the_order_of_numbered_classes(tmp_path):
    fill(tmp_path, ["1", "2", "10"])
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("1", "10", "2")
    assert "classes in the order of text (1, 10, 2), not of numbers (1, 2, 10)" in loaded.describe()
    assert "order" not in data.load(fill(tmp_path / "padded", ["01", "02", "10"])).describe()


def test_the_line_of_arrays_has_no_folders():
    assert data.load("digits").describe() == (
        "train 1,284 images, validation 149 (a tenth held out of train), test 364 (a fifth of all); "
        "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; 8x8 in grey"
    )
    assert data.description.FRACTIONS[data.splits.TEST_SHARE] in data.load("digits").describe()


def test_a_folder_that_is_what_it_seems_warns_of_nothing(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / name)
    with warnings.catch_warnings(action="error"):
        data.load(tmp_path)


def test_a_folder_of_images_without_classes_is_said_to_have_none(tmp_path):
    flat(tmp_path / "photos", count=20)
    assert "; no classes; 4x4" in data.load(tmp_path / "photos", labelled=False).describe()
    assert "2 classes: cat, dog" in data.load(fill(tmp_path / "pets", count=20), labelled=False).describe()
