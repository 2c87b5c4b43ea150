"""What a command says about its data before the work begins, so that users see in time how their folder was
understood."""

import re

MOST_NAMES = 10  # classes that the line names
FRACTIONS = {0.5: "half", 0.25: "a quarter", 0.2: "a fifth", 0.1: "a tenth"}
_TEST_SHARE = "a fifth"  # splits.TEST_SHARE in words; a test compares them


def as_text(name):
    """A name as text for terminals, files and JSON: bytes that are not UTF-8 become U+FFFD."""
    return re.sub("[\ud800-\udfff]+", "\N{REPLACEMENT CHARACTER}", name)


def natural(name):
    """A key that sorts class2 before class10, as people count and as timm orders its classes."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def line(dataset):
    """`Dataset.describe`: "train Training/ (54 images), validation 7 ...; 2 classes: ...; 4x4 and 1 other size"."""
    labelled = dataset.found.labelled if dataset.found else True
    classes = _classes(dataset.class_names, dataset.classes) if labelled else "no classes"
    parts = [_splits(dataset), classes, _sizes(dataset)]
    left_out = dataset.found.left_out if dataset.found else {}
    if left_out:
        named = ", ".join(f"{as_text(name)}/ ({count:,} images without classes)" for name, count in left_out.items())
        parts.append(f"left out: {named}")
    if note := _order(dataset.class_names):
        parts.append(note)
    return "; ".join(parts)


def val_note(dataset):
    """A sentence for reports and cards where val/ is the validation and the test split, or None."""
    if not dataset.val_judges:
        return None
    folder = as_text(dataset.found.names["validation"])
    return f"{folder}/ also chose the epoch: there was no test/, so accuracies are a little too good"


def _splits(dataset):
    names = dataset.found.names if dataset.found else {}
    train, validation, test = dataset.given
    if not train:  # a Dataset made by hand
        return ", ".join(f"{name} {len(split):,} images" for name, split in dataset.splits.items())
    count = {name: len(split) for name, split in dataset.splits.items()}
    first = _split("train", names.get("train"), count["train"], " images")
    if dataset.val_judges:
        folder = as_text(names["validation"])
        return f"{first}, validation and test {folder}/ ({validation:,}; {folder}/ also chose the epoch)"
    second = _split("validation", names.get("validation"), count["validation"])
    second += "" if validation else f" ({_share(dataset.held_out)} held out of train)"
    third = _split("test", names.get("test"), count["test"]) + ("" if test else f" ({_TEST_SHARE} of all)")
    return ", ".join([first, second, third])


def _split(part, folder, count, unit=""):
    return f"{part} {as_text(folder)}/ ({count:,}{unit})" if folder else f"{part} {count:,}{unit}"


def _share(share):
    return FRACTIONS.get(share, f"{100 * share:g} %")


def _classes(names, count):
    if names is None:
        return f"{count} classes without names"
    listed = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"{len(names):,} class{'es' * (len(names) != 1)}: {listed}{more}"


def _sizes(dataset):
    height, width, channels = dataset.image_shape
    colour = {1: " in grey", 3: ""}.get(channels, f" in {channels} channels")
    if not dataset.found:
        return f"{height}x{width}{colour}"
    sizes = dataset.found.sizes
    (most_height, most_width), _ = sizes.most_common(1)[0]
    others = f" and {len(sizes) - 1:,} other sizes" if len(sizes) > 1 else ""
    others = others.removesuffix("s") if len(sizes) == 2 else others
    told = f"{most_height}x{most_width}{others}"
    if set(sizes) == {(height, width)}:
        return told + colour
    to = str(height) if height == width else f"{height}x{width}"
    return f"{told}, resized to {to} by {dataset.resize}{colour}"


def _order(names):
    """A note where class numbers differ from the numbers in the folders' names, or None."""
    counted = sorted(names or (), key=natural)
    if list(names or ()) == counted or list(names) != sorted(names):
        return None
    return (
        f"classes in the order of text ({', '.join(names[:3])}), not of numbers ({', '.join(counted[:3])}): "
        "heads of timm use the order of numbers"
    )
