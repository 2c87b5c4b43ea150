"""Writes MODEL_CARD.md, which people read first, with the front matter that Hugging Face renders."""

import yaml

from ..limits import WEAK_BELOW, WEAK_CALIBRATION
from ..models.answers import has_classes
from ..right_answers import for_phones, right_by_class
from ..verdicts import unproved, verdict

NAMED = 20  # classes on the card; labels.txt has all


def model_card(bundle, description):
    """The text of the card; every number comes from the records.

    Args:
        bundle: A contents.Bundle whose files are made and measured.
        description: The result of description.model_json for it.
    """
    lines = [
        "---",
        *yaml.safe_dump(_front_matter(bundle), sort_keys=False, allow_unicode=True).splitlines(),
        "---",
        f"# {bundle.net.name}",
        "",
        *_ends(description),
        *_classes(bundle),
        *_slimmed(bundle.net.slimmed),
        "",
        "| file | bytes | accuracy | agreement | median here | gates |",
        "|---|--:|--:|--:|--:|---|",
        *[_row(export) for export in bundle.exports],
        "",
        *_judged(bundle),
        *_in_float32(bundle),
        "",
        "Which file to begin with:",
        "",
        *[f"- {target}: `{row['file']}` ({row['reason']})" for target, row in description["recommended"].items()],
        "",
        f"From a photo to the input: {description['input']['resize']}; `model.json` has it step by step.",
        "",
        "`golden/` holds images and the answers of every file: replay them on the phone before you trust it.",
        "`snippets/` holds a classifier in Python, JavaScript, Kotlin and Swift; the last two were not compiled here.",
        "",
    ]
    return "\n".join(lines)


def _front_matter(bundle):
    """The front matter by huggingface.co/docs/hub/model-cards; it has results only where labelled images were
    judged."""
    from resdense_keras.catalog import family  # which imports Keras

    kind = bundle.net.family or family(bundle.net.name)
    tags = ["tflite", "litert", "keras", *([kind] if kind != "other" else [])]
    task = "image-classification" if has_classes(bundle.answers) else "image-feature-extraction"
    facts = {"library_name": "litert", "pipeline_tag": task, "tags": tags}
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": bundle.evidence.data_name, "type": bundle.evidence.data_name, "split": "test"},
            "metrics": [{"type": "accuracy", "value": round(export["accuracy"], 6), "name": export["file"]}],
        }
        for export in bundle.exports
        if export["accuracy"] is not None
    ]
    if results:
        facts |= {"metrics": ["accuracy"], "model-index": [{"name": bundle.net.name, "results": results}]}
    return facts


def _ends(description):
    given, gives = description["input"], description["output"]
    pixels = (
        "pixels in [0, 255], the normalisation is inside"
        if given["range"]
        else "as the model takes them; what its pixels mean is not known"
    )
    labels = "; the names are in `labels.txt`" if gives["labels"] else ""
    return [
        f"Input `{given['name']}`: {given['dtype']} {tuple(given['shape'])} {given['channels'] or ''}, {pixels}.",
        f"Output `{gives['name']}`: float32 {tuple(gives['shape'])}, {gives['meaning']}{labels}.",
    ]


def _classes(bundle):
    """The class names in the order of the outputs, with the accuracy on each where it was measured; of many classes
    only the first."""
    names = bundle.net.class_names
    if not names:
        return []
    rows = right_by_class(bundle.exports, bundle.evidence.labels, names)
    named, measured = [_code(name) for name in names[:NAMED]], ""
    if rows:
        scheme = for_phones(rows)
        measured = f", with the share of their test images that {scheme} has right"
        shares = (f"{row['right'][scheme] / row['images']:.0%}" if row["images"] else "no image" for row in rows)
        named = [f"{name} ({share})" for name, share in zip(named, shares, strict=False)]
    more = f" ... {len(names):,} in all" if len(names) > NAMED else ""
    return ["", f"Classes in the order of the outputs{measured}: {', '.join(named)}{more}."]


def _code(name):
    """A name as Markdown shows it unchanged, on one line."""
    return f"`{' '.join(str(name).replace('`', chr(39)).split())}`"


def _slimmed(slim):
    """What was removed from a slim net and how the rest was trained; nothing for other nets."""
    if not slim:
        return []
    (before, after), (parameters, left) = slim["macs"], slim["parameters"]
    blocks = ", ".join(f"`{name}`" for name in slim["removed_blocks"])
    gone = f"the branches into {blocks} were removed" if blocks else "no block was removed"
    narrower = f"{slim['narrower']} layer{'s have' if slim['narrower'] != 1 else ' has'}"
    epochs = f"{slim['epochs']} epoch{'s' * (slim['epochs'] != 1)}"
    goal = "labels only"
    if share := slim["teacher"]:
        goal = f"the original net's answers ({share:.0%} of the loss, at temperature {slim['temperature']:g})"
        goal += " and labels" if share < 1 else ""
    trained = (
        f"Then it was trained for {epochs} on {goal}."
        if slim["epochs"]
        else f"A training on {goal} followed; no epoch of it answered more held-out images rightly, so the net is kept "
        "as it was before."
    )
    return [
        "",
        f"Slimmed by `resdense slim` from {slim['from']}: {after / before:.1%} of its multiply-adds ({after:,} of "
        f"{before:,}) and {left / parameters:.1%} of its parameters are left. {narrower} fewer channels; "
        f"{gone}. {slim['scored']:,} training images ranked the channels, and the layers were solved again on "
        f"{slim['repaired']:,}. {trained}",
    ]


def _row(export):
    timed = "".join(f"{row['median_ms']:.3g} ms" for row in export["measurements"][:1]) or "–"
    return (
        f"| {export['file'].replace('|', chr(92) + '|')} | {export['bytes']:,} | {_share(export['accuracy'])} "
        f"| {_share(export['agreement'])} | {timed} | {verdict(export)} |"
    )


def _judged(bundle):
    images = len(bundle.evidence.images)
    if bundle.evidence.dataset is None:
        return ["Exported without data: compared with the float Keras model on generated images only."]
    if bundle.evidence.labels is None:
        return [f"Its numbers are not classes: compared with the float Keras model on {images} held-out images."]
    weak = f" Fewer than {WEAK_BELOW} images: a point of accuracy is within the noise." if images < WEAK_BELOW else ""
    lines = [f"Accuracy and agreement with the float Keras model over {images} held-out images.{weak}"]
    open_questions = {}
    for export in bundle.exports:
        if export["converter"] == "rewritten" and (text := unproved(export)):
            open_questions.setdefault(text, []).append(f"`{export['file']}`")
    lines += [f"By 95 % intervals, {', '.join(names)}: {text}." for text, names in open_questions.items()]
    if bundle.evidence.dataset and (note := bundle.evidence.dataset.val_note()):
        lines.append(f"{note[0].upper()}{note[1:]}.")
    if any(export["calibration_images"] for export in bundle.exports):
        if bundle.evidence.weak_calibration:
            count = len(bundle.evidence.calibration)
            lines.append(f"int8 was calibrated on {count} images, which is weak: take {WEAK_CALIBRATION} or more.")
        lines += [f"Doubtful: {doubt}." for doubt in bundle.evidence.doubts]
    if bundle.budget and "int8" not in bundle.rejected:
        lines.append(_budget(bundle.budget, len(bundle.float_layers), images))
    return lines


def _budget(budget, layers, images):
    """The sentence about `--budget`; it agrees with the accuracy gate."""
    asked = f"{budget['points']:g} points"
    kept = f"Of the int8 file {layers} layers stay float, chosen so that it loses at most {asked}"
    if budget["lost_points"] is None:
        return f"{kept}; no image was left to measure what it loses."
    loses = f"on {images} test images that had no part in the choice it loses {budget['lost_points']:.2f}"
    return f"{kept}: {loses}{'.' if budget['proved'] else '; more images would tell whether it is kept.'}"


def _in_float32(bundle):
    """A line with the reason for each float16 file that is computed in float32."""
    return [
        f"`{export['file']}` is computed in float32: {export['gates']['half_range']['detail']}."
        for export in bundle.exports
        if export["converter"] == "rewritten" and export["gates"]["half_range"] and not export["half"]
    ]


def _share(value):
    return "–" if value is None else f"{100 * value:.2f} %"
