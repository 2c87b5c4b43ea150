"""Writes docs/difference.md, the popular answer row by row: `python docs/difference_page.py`.

Every number comes from a stored result: the lessons' (resdense_keras/experiments/stored_runs, measured by the lessons
and by benchmarks/lessons.py), the report of `resdense compare` and the exports' benchmarks (benchmarks/results). A test
checks that page and results agree.
"""

import json
from pathlib import Path

import numpy as np

from resdense_keras import catalog, files
from resdense_keras.experiments import pairs

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "difference.md"
RUNS = ROOT / "resdense_keras" / "experiments" / "stored_runs"
RESULTS = ROOT / "benchmarks" / "results"
LESSONS = {int(script.name[:2]): script.stem for script in sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))}


def page():
    """The Markdown of the page."""
    table = "\n".join(
        f"| {popular} | {verdict} | {measured} | {', '.join(map(_link, lessons))} <!-- claim: {claims} --> |"
        for popular, verdict, measured, lessons, claims in rows()
    )
    dates = sorted({run["created"][:10] for run in map(_run, _stored())})
    return f"""# ResNet and DenseNet: the popular answer, row by row

A ResNet block **adds** what it computed to what it was given, `y = x + F(x)`.
A DenseNet layer **appends** it, `y = [x, F(x)]`.
Both exist because deep nets without shortcuts fit even their training images worse than shallow ones.
<!-- claim: a_deep_plain_net_does_not_fit -->

![A residual block](figures/residual-block.svg) ![A dense layer](figures/dense-block.svg)

| what the usual table says | verdict | measured | lesson |
|---|---|---|---|
{table}

Where nothing else is said, the lessons' numbers are from small nets on scikit-learn's 8x8 digits; seeds vary as shown
(± is one standard deviation). The notebooks' figures are from other runs of the same code, so they differ a little.
They say what the connections do, not which net to take for your images: lesson {_link(9)}.
Lessons measured from {dates[0]} to {dates[-1]} on one machine ({_run("02-longer")["machine"]}).
<!-- claim: test_the_stored_page_is_the_one_that_the_script_writes -->
Written by `python docs/difference_page.py` from stored results. In a terminal: `resdense learn --summary`.
"""


def rows():
    """(what the usual table says, verdict, what was measured, numbers of the lessons, names of the claims) a row."""
    control, depths, gradients, lesions, reuse, costs, few, flowers, longer, photos = (
        _run(name)["result"] for name in _stored()
    )
    report = {net["name"]: net for net in json.loads((RESULTS / "compare.json").read_text())["models"]}
    sizes = catalog.sizes()
    append, add = (100 * np.array(control[join]["accuracy"]) for join in ("append", "add"))
    deepest = {name: 100 * np.array(found["44"]).ravel() for name, found in depths.items()}
    point = costs["points"]
    memory = costs["memory_mib"]
    equal, lean, rich = (point[name] for name in ("residual 8", "dense 8", "residual 16"))
    kept = point["dense 12"]["activation_bytes"] / equal["activation_bytes"]
    yield (
        "ResNet adds, DenseNet concatenates",
        "right, and more differs: block size, order, width",
        "one net whose maps land elsewhere; on digits appending fits better: training loss "
        f"{_mean(control['append']['loss'])} against {_mean(control['add']['loss'])} nats, "
        f"test {_spread(append - add, '+.1f')} points, "
        f"{len(append)} seeds; on {photos['images']:,} images of CIFAR-10 loss {_loss(photos['append'])} against "
        f"{_loss(photos['add'])}, test {_told(pairs.differences(photos['append'], photos['add']))}",
        (1,),
        "only_the_place_differs, appending_fits_better, on_cifar_the_wide_sum_ties",
    )
    yield (
        "both solve vanishing gradients",
        "not what they were made for: that is degradation",
        f"44 layers fit {_range(deepest['plain'])} % of their *training* images without shortcuts "
        f"({_range(100 * np.array(longer['plain 44, long']))} % in ten times the steps), "
        f"{_range(deepest['residual'])} % with additions, {_range(deepest['dense'])} % with concatenations; "
        f"the fresh plain net's gradient grows {_range(gradients['plain']['60'])} times over 60 layers",
        (2, 3),
        "a_deep_plain_net_does_not_fit, ten_times_the_steps_mend_most_of_it, both_connections_mend_it, "
        "with_batch_norm_the_plain_gradient_explodes",
    )
    yield (
        "DenseNet reuses features, ResNet does not",
        "readable: yes; read: sparingly",
        f"{_spread(100 * np.array(reuse['share']), '.0f')} % of a dense net's edges matter, cut one at a time, "
        f"{len(reuse['share'])} seeds",
        (5,),
        "concatenation_keeps_everything_readable, few_edges_matter_and_some_a_lot",
    )
    yield (
        "a ResNet survives the loss of a layer",
        "right; a DenseNet too, a plain net not",
        "accuracy kept by the median lesion at 20 layers: "
        + ", ".join(f"{name} {100 * np.mean(lesions[name]['20']):.0f} %" for name in ("residual", "dense", "plain")),
        (4,),
        "nets_with_connections_survive, a_plain_net_does_not_survive",
    )
    yield (
        "DenseNet has more parameters",
        "fewer, at equal accuracy",
        f"{lean['parameters'] / 1e3:.0f} k at {_accuracy(lean)} against {rich['parameters'] / 1e3:.0f} k at "
        f"{_accuracy(rich)}; DenseNet-121 {sizes['densenet121']['parameters'] / 1e6:.1f} M, "
        f"ResNet-50 {sizes['resnet50']['parameters'] / 1e6:.1f} M",
        (6,),
        "fewer_parameters_at_equal_accuracy",
    )
    yield (
        "DenseNet needs more memory",
        "nearly always; `recompute=True` mends most in training",
        f"kept for the gradient: {kept:.1f} times as much at equal parameters, "
        f"{lean['activation_bytes'] / rich['activation_bytes']:.2f} at equal accuracy; in inference from 24 to 48 "
        f"layers {memory['inference']['24']:.1f} to {memory['inference']['48']:.1f} MiB, residual "
        f"{memory['residual inference']['24']:.1f} to {memory['residual inference']['48']:.1f}",
        (6,),
        "far_more_memory_at_equal_parameters, but_no_less_memory, in_inference_it_is_linear",
    )
    first, second = (_latency(report[name]) for name in ("densenet_bc22_24", "resnet20"))
    large = [_exported(name) for name in ("densenet121", "resnet50")]
    yield (
        "DenseNet is slower",
        "depends on what is equal, and on the runtime",
        f"equal parameters: {first:.3f} against {second:.3f} ms (fp32 .tflite, one thread); DenseNet-121 against "
        f"ResNet-50: {large[0]:.0f} against {large[1]:.0f} ms; on GPUs not measured",
        (6, 8),
        "test_the_stored_page_is_the_one_that_the_script_writes",
    )
    yield (
        "DenseNet for small data",
        "a hint only",
        "from fresh weights on 50 images: "
        + "; ".join(
            f"{task} digits {_spread(100 * np.array(few[f'dense {task} fresh']), '.0f')} against "
            f"{_spread(100 * np.array(few[f'residual {task} fresh']), '.0f')} %"
            for task in ("upright", "turned")
        )
        + f"; on {flowers['training']} photos of flowers "
        + f"{_spread(100 * np.array(flowers['accuracies']['dense fresh']), '.1f')} against "
        + f"{_spread(100 * np.array(flowers['accuracies']['residual fresh']), '.1f')} %, from shipped weights a tie; "
        "weights trained on the same task are worth more",
        (7, 9),
        "fresh_the_dense_net_is_ahead, transfer_helps_both_families_on_a_related_task, "
        "on_flowers_fresh_the_dense_net_is_ahead, on_flowers_the_two_tie_from_shipped_weights",
    )


def _stored():
    return (
        "01-control",
        "02-depths",
        "03-gradients",
        "04-lesions",
        "05-reuse",
        "06-costs",
        "07-few-images",
        "09-flowers",
        "02-longer",
        "01-control-cifar10",
    )


def _run(name):
    return json.loads((RUNS / f"{name}.json").read_text())


def _loss(runs):
    return _mean([run["loss"] for run in runs])


def _told(points):
    """Differences in points with their spread, and whether they are told apart from zero."""
    word = {1: "ahead", 0: "a tie", -1: "behind"}[pairs.verdict(points)]
    low, high = pairs.interval(points)
    return (
        f"{_spread(points, '+.1f')} points, {len(points)} seeds: {word} (95 % interval of the mean {low:+.1f} to "
        f"{high:+.1f})"
    )


def _link(number):
    return f"[{number}](../tutorials/{LESSONS[number]}.ipynb)"


def _mean(values):
    return f"{np.mean(values):.2f}"


def _spread(values, form):
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('+')}}"


def _range(values):
    low, high = np.min(values), np.max(values)
    return f"{low:,.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:,.0f} to {high:,.0f}"


def _accuracy(point):
    found = 100 * np.array(point["accuracies"])
    return f"{found.mean():.1f} % ({found.min():.1f} to {found.max():.1f})"


def _latency(net):
    """Milliseconds of the rewritten fp32 file in the stored report."""
    return next(
        export["measurements"][0]["median_ms"]
        for export in net["exports"]
        if (export["scheme"], export["converter"]) == ("fp32", "rewritten")
    )


def _exported(name):
    """Milliseconds of a large net's fp32 file."""
    return json.loads((RESULTS / f"export-{name}.json").read_text())["times"]["latency"]["fp32"]["ours_ms"]


def main():
    files.write_text(PAGE, page())
    print(PAGE)


if __name__ == "__main__":
    main()
