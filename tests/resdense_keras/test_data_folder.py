"""A folder of class folders: layouts, splits that it brings, bad files, sizes, and folders too large for memory."""

import numpy as np
import pytest
from PIL import Image

from resdense_keras import data
from resdense_keras.data import memory
from resdense_keras.errors import RequestError, WorkError

JPEG_TOLERANCE = 6  # grey levels that JPEG costs on an even area
COLORS = {"cat": (200, 0, 0), "dog": (0, 200, 0), "emu": (0, 0, 200)}


def fill(folder, count=10, classes=("cat", "dog"), size=(6, 4), suffix=".png"):
    """`count` images a class, of the class's colour, their number in the pixel at the top left."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.new("RGB", size, COLORS[name])
            image.putpixel((0, 0), (number, number, number))
            image.save(folder / name / f"{number:04}{suffix}")
    return folder


def test_class_folders_are_split_and_labelled_by_name(tmp_path):
    loaded = data.load(fill(tmp_path, 20))
    assert loaded.class_names == ("cat", "dog") and loaded.image_shape == (4, 6, 3)
    assert [len(split) for split in loaded.splits.values()] == [28, 4, 8]
    assert sorted(np.concatenate([split.indices for split in loaded.splits.values()])) == list(range(40))
    for split in loaded.splits.values():
        for image, label, path in zip(split.images, split.labels, split.paths, strict=True):
            assert path.parent.name == loaded.class_names[label]
            assert image[-1, -1].tolist() == list(COLORS[path.parent.name])
            assert image[0, 0, 0] == int(path.stem)


def test_given_test_split_is_used_as_it_is_and_counted_behind_train(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 3)
    loaded = data.load(tmp_path)
    assert [len(split) for split in loaded.splits.values()] == [18, 2, 6]
    assert loaded.test.indices.tolist() == [20, 21, 22, 23, 24, 25]
    assert all(path.parent.parent.name == "test" for path in loaded.test.paths)


def test_val_judges_the_epochs_and_the_result_where_there_is_no_test(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "val", 3)
    loaded = data.load(tmp_path)
    assert loaded.val_judges and loaded.test is loaded.validation
    assert {path.parent.parent.name for path in loaded.test.paths} == {"val"}
    assert [len(split) for split in loaded.splits.values()] == [20, 6, 6]
    old = data.load(tmp_path, val_judges=False)  # what a run of version 0.1 goes on with
    assert {path.parent.parent.name for path in old.test.paths} == {"val"}
    assert {path.parent.parent.name for path in old.validation.paths} == {"train"}
    assert [len(split) for split in old.splits.values()] == [18, 2, 6] and not old.val_judges
    fill(tmp_path / "test", 4)
    loaded = data.load(tmp_path)
    assert {path.parent.parent.name for path in loaded.test.paths} == {"test"}
    assert {path.parent.parent.name for path in loaded.validation.paths} == {"val"}
    assert [len(split) for split in loaded.splits.values()] == [20, 6, 8]


def test_class_may_be_called_train(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path, 5, [name])
    (tmp_path / "cat").rename(tmp_path / "train")
    assert data.load(tmp_path).class_names == ("dog", "train")


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Validation", "TEST")])
def test_splits_are_known_by_their_usual_names(tmp_path, names):
    for name, count in zip(names, (10, 3, 4), strict=True):
        fill(tmp_path / name, count)
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog")
    assert [len(split) for split in loaded.splits.values()] == [20, 6, 8]
    for name, split in zip(names, loaded.splits.values(), strict=True):
        assert {path.parent.parent.name for path in split.paths} == {name}


def test_class_called_train_may_have_folders_without_images_inside(tmp_path):
    fill(tmp_path, 5, ["cat", "dog"])
    (tmp_path / "dog").rename(tmp_path / "train")
    (tmp_path / "train" / "notes").mkdir()
    assert data.load(tmp_path).class_names == ("cat", "train")


def test_class_that_only_test_has_is_an_error_and_only_train_has_a_warning(tmp_path):
    fill(tmp_path / "train", 10, ["cat", "dog", "emu"])
    fill(tmp_path / "test", 3, ["cat", "dog"])
    with pytest.warns(UserWarning, match="test has no images of these classes: emu"):
        assert data.load(tmp_path).classes == 3
    fill(tmp_path / "test", 3, ["emu"])
    for path in (tmp_path / "train" / "emu").iterdir():
        path.unlink()
    with pytest.raises(RequestError, match="test has classes that train lacks: emu"):
        data.load(tmp_path)


def test_hidden_files_and_empty_folders_are_skipped_and_other_files_named(tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "._0001.png").write_bytes(b"macOS")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"Windows")
    (tmp_path / "cat" / "photo.psd").write_bytes(b"")
    (tmp_path / "labels.txt").touch()
    with pytest.warns(UserWarning, match=r"1 files are not images by their suffix: photo\.psd"):
        loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog") and sum(map(len, loaded.splits.values())) == 10


def test_webp_upper_case_and_deeper_folders_are_read(tmp_path):
    fill(tmp_path, 5)
    fill(tmp_path / "cat" / "deeper", 4, ["dog"], suffix=".webp")
    fill(tmp_path / "more", 3, ["dog"], suffix=".PNG")
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("cat", "dog", "more")
    assert sum((split.labels == 0).sum() for split in loaded.splits.values()) == 9


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


# {file name: (image, its format, options of saving, its pixel at the top left)}
WHITE, RED = (255, 255, 255), (255, 0, 0)
TWO_ROWS = Image.fromarray(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8).repeat(8, 0).repeat(16, 1))
KINDS = {
    "16 bit.png": (Image.fromarray(np.full((16, 16), 257 * 77, np.uint16)), "PNG", {}, (77, 77, 77)),
    "grey.png": (Image.new("L", (16, 16), 77), "PNG", {}, (77, 77, 77)),
    "alpha.png": (Image.new("RGBA", (16, 16), (0, 0, 0, 0)), "PNG", {}, WHITE),
    "cmyk.jpg": (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", {}, RED),
    "upside down.jpg": (TWO_ROWS, "JPEG", {"exif": exif(3), "quality": 95}, (0, 0, 255)),
    "animated.gif": (
        Image.new("RGB", (16, 16), "red"),
        "GIF",
        {"save_all": True, "append_images": [Image.new("RGB", (16, 16), "blue")]},
        RED,
    ),
    "a jpeg.png": (Image.new("RGB", (16, 16), "red"), "JPEG", {}, RED),
    "a webp.jpg": (Image.new("RGB", (16, 16), "red"), "WEBP", {"lossless": True}, RED),
}


@pytest.mark.parametrize("held", ["in memory", "in files"])
def test_every_kind_of_image_file_becomes_eight_bit_rgb(tmp_path, monkeypatch, held):
    """16-bit, grey, alpha, CMYK, EXIF-rotated, animated and wrongly named, through the scan and the pixels."""
    if held == "in files":
        monkeypatch.setattr(memory, "SHARE", 0)
    fill(tmp_path, 10, size=(16, 16))
    for name, (image, format, options, _) in KINDS.items():
        image.save(tmp_path / "cat" / name, format, **options)
    loaded, seen = data.load(tmp_path), {}
    for split in loaded.splits.values():
        seen |= {path.name: image for path, image in zip(split.paths, split.array(), strict=True)}
    for name, (*_, corner) in KINDS.items():
        assert seen[name].shape == (16, 16, 3)
        assert np.abs(seen[name][0, 0].astype(int) - corner).max() <= JPEG_TOLERANCE, name


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("truncated.jpg", "half", "is damaged"),
        ("truncated.png", "half", "is damaged"),
        ("text.jpg", b"<html>404 Not Found</html>", "is not an image of a kind that is read here"),
        ("apple.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is (a HEIC photo|not an image)"),
    ],
)
def test_truncated_file_and_one_that_is_no_image_are_named(tmp_path, name, content, reason):
    fill(tmp_path, 10, size=(40, 40))
    path = tmp_path / "cat" / name
    Image.effect_noise((40, 40), 90).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(RequestError, match=f"1 of 21 image files .*\n{path}: {reason}"):
        data.load(tmp_path)


@pytest.mark.parametrize("layout", ["nothing", "images without class folders", "empty classes", "empty test"])
def test_folder_without_images_is_refused(tmp_path, layout):
    if layout == "images without class folders":
        fill(tmp_path / "x", 3, ["cat"])
        (tmp_path / "x" / "cat").rename(tmp_path / "images")
        tmp_path = tmp_path / "images"
    elif layout == "empty classes":
        (tmp_path / "cat").mkdir()
    elif layout == "empty test":
        fill(tmp_path / "train")
        (tmp_path / "test").mkdir()
    with pytest.raises(RequestError, match="holds no images in class folders") as caught:
        data.load(tmp_path)
    assert "FOLDER/cat/1.jpg" in caught.value.hint


def test_the_folder_of_one_class_is_refused_and_the_folder_above_it_is_named(tmp_path, monkeypatch):
    fill(tmp_path, 5)
    monkeypatch.chdir(tmp_path / "cat")
    for spec in (tmp_path / "cat", "."):
        with pytest.raises(RequestError, match=r"holds no images in class folders, but 5 images directly") as caught:
            data.load(spec)
        assert f"give the folder of all classes, {tmp_path};" in caught.value.hint


def test_one_class_is_refused_by_name(tmp_path):
    with pytest.raises(RequestError, match="has one class only: cat"):
        data.load(fill(tmp_path, 10, ["cat"]))


def test_too_few_images_to_split_are_refused(tmp_path):
    with pytest.raises(RequestError, match="the validation split is empty"):
        data.load(fill(tmp_path, 2))


def spoil(path, kind):
    content = path.read_bytes()
    path.write_bytes(content[:60] if kind == "truncated" else b"")


def test_every_bad_file_is_named_and_counted(tmp_path):
    fill(tmp_path, 10)
    spoil(tmp_path / "cat" / "0003.png", "truncated")
    spoil(tmp_path / "dog" / "0001.png", "unreadable")
    with pytest.raises(RequestError) as caught:
        data.load(tmp_path)
    first, *listed = caught.value.message.splitlines()
    assert first == f"2 of 20 image files in {tmp_path} cannot be used:"
    assert [line.split(": ")[0] for line in listed] == [f"{tmp_path}/cat/0003.png", f"{tmp_path}/dog/0001.png"]
    assert "`--on-bad-image skip`" in caught.value.hint


def test_skip_leaves_out_one_file_in_a_hundred_and_no_more(tmp_path):
    fill(tmp_path, 100)
    spoil(tmp_path / "cat" / "0003.png", "truncated")
    spoil(tmp_path / "dog" / "0001.png", "unreadable")
    with pytest.warns(UserWarning, match="2 of 200 image files .* are skipped"):
        loaded = data.load(tmp_path, on_bad_image="skip")
    assert sum(map(len, loaded.splits.values())) == 198
    for split in loaded.splits.values():
        assert [image[0, 0, 0] for image in split.images] == [int(path.stem) for path in split.paths]
    spoil(tmp_path / "dog" / "0002.png", "truncated")
    with pytest.raises(RequestError, match=r"3 of 200 image files .* cannot be used"):
        data.load(tmp_path, on_bad_image="skip")


def test_folder_of_bad_files_alone_is_refused(tmp_path):
    fill(tmp_path, 3)
    for path in tmp_path.rglob("*.png"):
        spoil(path, "unreadable")
    for way in ("fail", "skip"):
        with pytest.raises(RequestError, match="6 of 6 image files"):
            data.load(tmp_path, on_bad_image=way)


def test_unknown_way_to_treat_bad_images_is_refused(tmp_path):
    with pytest.raises(RequestError, match="known: fail, skip"):
        data.load(fill(tmp_path), on_bad_image="ignore")


def test_images_of_several_sizes_need_a_size(tmp_path):
    fill(tmp_path, 10, ["cat"], size=(6, 4))
    fill(tmp_path, 9, ["dog"], size=(8, 8))
    with pytest.raises(RequestError, match=r"images of 2 sizes, most often 4 x 6 \(10 times\)") as caught:
        data.load(tmp_path)
    assert "--image-size" in caught.value.hint
    assert data.load(tmp_path, image_size=5).train.images.shape[1:] == (5, 5, 3)
    assert data.load(tmp_path, image_size=(3, 7)).image_shape == (3, 7, 3)


@pytest.fixture
def no_memory(monkeypatch):
    """The size from which on pixels stay in their files, brought down to that of a test."""
    monkeypatch.setattr(memory, "SHARE", 0)


def test_folder_too_large_for_memory_gives_the_same_pixels_from_its_files(tmp_path, request):
    in_memory = data.load(fill(tmp_path), image_size=5)
    request.getfixturevalue("no_memory")
    on_disk = data.load(tmp_path, image_size=5)
    assert on_disk.train.images is None and in_memory.train.images is not None
    np.testing.assert_array_equal(on_disk.train.array(), in_memory.train.array())
    np.testing.assert_array_equal(on_disk.train.array([3, 1]), in_memory.train.array([3, 1]))


@pytest.mark.usefixtures("no_memory")
def test_folder_too_large_for_memory_is_still_scanned_in_full(tmp_path):
    fill(tmp_path, size=(40, 40))
    path = tmp_path / "cat" / "0003.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RequestError, match=r"1 of 20 .*\n.*0003\.png: is damaged"):
        data.load(tmp_path)


@pytest.mark.usefixtures("no_memory")
def test_large_folder_is_judged_by_its_headers_and_in_full_on_demand(tmp_path, monkeypatch):
    monkeypatch.setattr(data.folder, "FULL_SCAN_FILES", 100)
    fill(tmp_path, 50, size=(40, 40))
    path = tmp_path / "cat" / "0003.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert sum(map(len, data.load(tmp_path).splits.values())) == 100
    with pytest.raises(RequestError, match=r"1 of 100 .*\n.*0003\.png: is damaged"):
        data.load(tmp_path, scan=True)
    with pytest.warns(UserWarning, match=r"1 of 100 image files .* are skipped:\n.*0003\.png: is damaged"):
        assert sum(map(len, data.load(tmp_path, on_bad_image="skip").splits.values())) == 99


@pytest.mark.usefixtures("no_memory")
def test_file_that_goes_bad_after_the_scan_stops_the_work_by_name(tmp_path):
    loaded = data.load(fill(tmp_path))
    path = loaded.train.paths[2]
    path.write_bytes(b"")
    with pytest.raises(WorkError, match=f"{path}: is not an image"):
        loaded.train.array([1, 2])
