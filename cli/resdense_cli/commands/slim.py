"""`resdense slim`: makes a net with fewer channels from a trained one, and trains it."""

from pathlib import Path
from typing import Annotated

import typer

from resdense_keras.errors import RequestError
from resdense_keras.training import recipes

from ..options import (
    SPECS,
    Augment,
    BatchSize,
    Deterministic,
    Devices,
    LearningRate,
    OnBadImage,
    Preprocessing,
    Resize,
    Resume,
    RunFolder,
    SaveSeconds,
    Settings,
    builder_options,
    counting,
    names,
)
from ..output import columns, print_json, print_table, start_tensorflow, tell

ORDER = 25
STOPPED = "the same command with `--resume` goes on; a plan that was not finished is made anew"
GENERATED = 64  # images of `--show` without --data
MOST_SHOWN = 40  # layers of the table


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_FILE", help="Name from `resdense models`, or a .keras or .h5 file.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=f"Data that the net was trained on: {SPECS}. Required, except for --show with --macs or --latency.",
        ),
    ] = None,
    out: RunFolder = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Weights: a name from the column `weights` of `resdense models`, or a file. Default: a file's own; "
            "required for a name, unless --show is given.",
        ),
    ] = None,
    macs: Annotated[
        float | None,
        typer.Option(
            "--macs",
            metavar="SHARE",
            help="Share of the multiply-adds (MACs) to keep, such as 0.5. "
            "Required unless --latency or --max-drop is given; only one of the three is allowed.",
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            "--latency",
            metavar="SHARE",
            help="Share of a file's latency to keep: of the fp32 file with --for phone-float, else of the int8 file. "
            "It is timed here, or counted by --count. Required unless --macs or --max-drop is given.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Percentage points of accuracy (above 0, below 100) that the slim net is expected to lose at most "
            "after --epochs of the recipe slim, compared with the original. The smallest such net is searched, see "
            "docs/slimming.md. Required unless --macs or --latency is given.",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="TARGET",
            help="What should get cheaper: phone-int8 (widths are multiples of 16), phone-float (of 8) or macs.",
        ),
    ] = "phone-int8",
    count: Annotated[
        str | None,
        typer.Option(
            "--count",
            metavar="COMMAND",
            help="With --latency: count instead of time. COMMAND FILE.tflite is run for each file; the last word that "
            "it prints must be a number above 0, such as the millions of Arm instructions of one inference. Default: "
            "timed here.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="How the slim net is trained. slim: mainly by the original's outputs. Another recipe of `resdense "
            "train`, such as fast: only by labels; try it too if the original was trained for a short time. FILE.yaml: "
            "its field `teacher` is the share of the original's outputs in the loss.",
        ),
    ] = "slim",
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            help="Number of training epochs after the repair: 3 for a first look, more if time allows. Default: from "
            f"the recipe (slim: {recipes.RECIPES['slim'].epochs}).",
        ),
    ] = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    augment: Augment = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the training, and of the images that rank the channels.")
    ] = 0,
    show: Annotated[
        bool,
        typer.Option(
            "--show", help="Print the plan and train nothing. Untrained nets are taken too, but not with --max-drop."
        ),
    ] = False,
    resume: Resume = False,
    deterministic: Deterministic = None,
    save_seconds: SaveSeconds = 60,
    devices: Devices = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=1,
            help="Side of the images in pixels, where the model leaves it open. Default: from the model.",
        ),
    ] = None,
    on_bad_image: OnBadImage = "fail",
    resize: Resize = None,
    preprocessing: Preprocessing = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --show: print the plan as JSON.")] = False,
):
    """Make a trained net smaller: remove channels and blocks, repair the rest, train it."""
    _check_given(model, data, out, (macs, latency, max_drop), show)
    if as_json and not show:
        raise RequestError("--json was given without --show", "leave it out: the run's slim.json has the plan")
    changes = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "augment": names(augment)}
    trained = recipes.recipe(recipe, **changes)
    if count and latency is None:
        raise RequestError("--count was given without --latency", "leave it out, or pass --latency 0.5")
    from resdense_export.making.slimming import process

    asked = process.SlimRequest(macs, target, latency=latency, max_drop=max_drop, counted=True if count else None)
    start_tensorflow()
    if max_drop is not None and recipe != "slim":
        tell(
            f"note: --max-drop reckons with what the recipe slim regains, and {recipe} may regain less: "
            "measure the slim net with `resdense eval`"
        )
    if deterministic:
        from resdense_keras import training

        training.be_deterministic()
    from resdense_export import sources
    from resdense_keras.training.devices import choose

    counted = counting(count)
    net = sources.model(model, weights, builder_options(settings), image_size, preprocessing)
    if not net.takes_pixels:
        tell(f"note: {sources.UNKNOWN_PIXELS.format(name=net.name)}")
    if show:
        how = {"epochs": trained.epochs, "count": counted, "deterministic": bool(deterministic)}
        planned = _planned(net, data, asked, seed, image_size, on_bad_image, resize, how)
        found = process.as_json(planned, net.name, asked)
        if as_json:
            print_json(found)
        else:
            _print(found)
        return
    if weights is None and not _is_file(model):
        raise RequestError(
            f"{model} without --weights is untrained, so the worth of its channels cannot be measured",
            "give the model.keras of a run, or --weights; --show plans an untrained net",
        )
    chosen = choose(devices)
    request = _request(net, data, asked, trained, seed, deterministic, image_size, on_bad_image, resize, chosen)
    how = {"resize": resize, "resume": resume, "save_seconds": save_seconds, "devices": chosen, "tell": tell}
    process.slim(net, asked, request, out, count=counted, **how)
    print(out)


def _check_given(model, data, out, targets, show):
    if Path(model).suffix.lower() == ".tflite":
        raise RequestError(
            f"{Path(model).name} is an exported file, and slim comes before export and its schemes (int8, qat, pruned)",
            "slim the model.keras that it was made from, then `resdense export` the slim net with --schemes qat",
        )
    if targets == (None, None, None):
        raise RequestError("the size of the slim net is missing", "pass --macs 0.5 for half of the multiply-adds")
    if targets[-1] is not None and data is None:
        raise RequestError(
            "--max-drop was given without --data SPEC, whose held-out training images measure what a net loses",
            "add --data SPEC, or ask for --macs",
        )
    for flag, value in (("--data SPEC", data), ("--out RUN", out)):
        if value is None and not show:
            raise RequestError(
                f"{flag} is missing",
                "for example --data cifar10 --out runs/slim; --show with --macs or --latency needs neither",
            )


def _is_file(model):
    from resdense_export.models import opening
    from resdense_keras import list_models

    return opening.is_path(model, list_models())


def _planned(net, data, asked, seed, image_size, on_bad_image, resize, how):
    from resdense_export import sources
    from resdense_export.making.slimming import process

    if data is None:
        images = sources.generated_images(net.image_shape, GENERATED, seed)
        tell(f"note: without --data {GENERATED} generated images rank the channels; on your data other ones may leave")
        return process.show(net, None, asked, seed, tell, images, **how)
    dataset = sources.dataset(data, net, image_size, on_bad_image, resize)
    return process.show(net, dataset, asked, seed, tell, **how)


def _request(net, data, asked, recipe, seed, deterministic, image_size, on_bad_image, resize, devices):
    from resdense_export import sources
    from resdense_export.making.slimming import process

    return process.training_request(
        net,
        data,
        asked,
        recipe=recipe,
        seed=seed,
        deterministic=bool(deterministic),
        image_size=image_size,
        on_bad_image=on_bad_image,
        resize=sources.resize_for(net, data, resize),
        devices=devices.name,
    )


def _print(found):
    table = columns("layer", ">channels", ">left")
    widths = list(found["widths"].items())
    for name, (before, after) in widths[:MOST_SHOWN]:
        table.add_row(name, str(before), str(after) if after else "removed")
    if len(widths) > MOST_SHOWN:
        table.add_row(f"and {len(widths) - MOST_SHOWN} more (--json has all)", "", "")
    print_table(table)
    table = columns("predicted", ">before", ">after", ">share")
    predicted = found["predicted"]
    rows = {"MACs": found["macs"], "parameters": predicted["parameters"]}
    rows |= {f"bytes, {scheme}": pair for scheme, pair in predicted["bytes"].items()}
    rows |= {f"Arm instructions, {scheme}": pair for scheme, pair in predicted["instructions"].items()}
    for name, (before, after) in rows.items():
        table.add_row(name, f"{before:,}", f"{after:,}", f"{after / before:.3f}")
    print_table(table)
    if "measured" in found:
        print(
            f"{found['measured']['scheme']}, {found['measured']['by']}: {found['measured']['share']:.3f} of the latency"
        )
    if found["removed_blocks"]:
        print(f"removed blocks, by the layer that joined them: {', '.join(found['removed_blocks'])}")
