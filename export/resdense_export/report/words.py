"""Says in sentences what the numbers show and what they do not; the sentences are computed from the numbers.

A sentence that compares first names the one that has more or is faster, and only where noise.py says that it is not a
tie. With the numbers swapped the sentence is swapped too.
"""

from dataclasses import dataclass

from ..limits import DRIFT
from ..right_answers import for_phones, worst_first
from . import devices, noise, units, view

ABOUT_EQUAL = 1.1  # sizes within this ratio are called about equal
SAME_SIZE = 1.01  # a control net within this ratio of parameters differs only in its shortcuts
SMALL_IMAGE = 64  # pixels a side
FEW_SEEDS = 5

# Exact counts without noise: {key of a model: (what is counted, function that writes it)}.
COUNTED = {
    "parameters": ("parameters", units.short),
    "macs": ("multiply-adds of an image", units.short),
    "activation_bytes": ("activation memory of a training image", units.size),
}


@dataclass(frozen=True)
class Summary:
    """`shows`: paragraphs; `limits`: sentences on what the numbers do not show."""

    shows: tuple[str, ...]
    limits: tuple[str, ...]


def summary(report):
    """Summary of a validated report."""
    pair, conditions = view.pair(report), view.conditions(report)
    names = _Names(report["models"])
    described = pair or (report["models"][0],)
    paragraphs = [
        [_slimmed(names, model, report["models"]) for model in report["models"]],
        *(_compared(report, names, pair, conditions) if pair else _alone(report, names, conditions)),
        [_int8(names, model, conditions) for model in described],
        [_twins(names, model, condition, conditions) for model in described for condition in conditions],
        [_rejected(names, model) for model in report["models"]],
        [] if pair else [_counted_alone(report["models"][0])],
    ]
    texts = [" ".join(names.start(sentence) for sentence in sentences if sentence) for sentences in paragraphs]
    limits = [names.start(sentence) for sentence in _limits(report, pair, conditions) if sentence]
    return Summary(tuple(filter(None, texts)), tuple(limits))


def accuracy_sentence(first, second, images):
    """The report's sentence on the accuracy of two nets: which is more accurate, or that they tie within the noise.

    Args:
        first, second: {"name", "family", "accuracy", "accuracy_by_seed"}, as in the report's `models`.
        images: Number of test images.
    """
    names = _Names([first, second])
    return names.start(_accuracy(names, (first, second), images))


class _Names:
    """Names for models: `the ResNet (resnet20)` where it is introduced, `the ResNet` after that.

    Where two models share a family, or the family is "other", only the model's own name is used.
    """

    def __init__(self, models):
        families = [model["family"] for model in models]
        self._alone = {family for family in families if families.count(family) == 1 and family != "other"}
        self._own = tuple(model["name"] for model in models)

    def __call__(self, model):
        return f"the {view.label(model)}" if model["family"] in self._alone else model["name"]

    def full(self, model):
        """The family's name followed by the model's own."""
        return f"{self(model)} ({model['name']})" if model["family"] in self._alone else model["name"]

    def start(self, sentence):
        """A capital at the start of a sentence, but never in a model's name or a scheme's."""
        return sentence if sentence.startswith((*self._own, "int8 ")) else sentence[0].upper() + sentence[1:]


# Two nets


def _compared(report, names, pair, conditions):
    """The paragraphs on two nets."""
    images = view.test_images(report)  # the most important sentence comes first, by itself
    return [
        [_chosen(report, pair), _accuracy(names, pair, images) or _of_files(report, names, pair)],
        [_control(report, names, pair, images)],
        _counted(names, pair),
        [_latency(names, pair, condition) for condition in conditions],
    ]


def _chosen(report, pair):
    """Says which two nets are compared, where the report has more."""
    nets = sum(model["family"] != "plain" for model in report["models"])
    names = " and ".join(model["name"] for model in pair)
    return f"of the {nets} nets, {names} are put into words; the tables have all." if nets > 2 else None


def _accuracy(names, pair, images):
    found = noise.accuracy_difference(*pair, images)
    if found is None:
        return None
    first, second, found = _winner_first(pair, found)
    one, two = (units.percent(value, images) for value in (found.first, found.second))
    what, where = f"{units.points(found.value, images)} points", f"of {units.count(images, 'test image')}"
    if found.tie:
        verdict = f"{names.full(pair[0])} and {names.full(pair[1])} tie in accuracy within the noise"
        values = f"{names(first)} gets {one} {where} right and {names(second)} {two}, {what} apart"
    else:
        verdict = f"{names.full(first)} is more accurate than {names.full(second)}"
        values = f"it gets {one} {where} right against {two}, {what} more"
    above = f" Every seed of {names(first)} lies above every seed of {names(second)}"
    lean = f"{above}, but so few seeds may differ by chance."
    return f"{verdict}: {values} ({_basis(found, images)})." + (lean if found.tie and found.apart else "")


def _of_files(report, names, pair):
    """Compares the accuracies of two nets' files where those of the nets are not known."""
    rows = view.side_by_side(report, pair)
    judged = [(row, found) for row in rows if (found := row.difference) is not None]
    both = " and ".join(names.full(model) for model in pair)
    if not judged:
        return f"{both} are not compared in accuracy: it was not measured for both on known images."
    images = judged[0][0].second["images"]
    basis = f"on the same {units.count(images, 'test image')}" if judged[0][0].paired else "each on its test images"
    clauses = []
    for row, found in judged:
        first, _, found = _winner_first(pair, found)
        one, two = (units.percent(value, images) for value in (found.first, found.second))
        evidence = f"({one} against {two}; 95{units.SPACE}% interval {_range(found, images)})"
        if found.tie:
            clauses.append(f"as {row.scheme} the two tie within the noise {evidence}")
        else:
            amount = f"{units.points(found.value, images)} points"
            clauses.append(f"as {row.scheme} {names(first)} is more accurate by {amount} {evidence}")
    return f"{both}, {basis}: {'; '.join(clauses)}."


def _slimmed(names, model, models):
    """What was removed from a slim net, and how the rest was trained."""
    slim = model.get("slim")
    if not slim:
        return None
    before, after = slim["macs"]
    origin = next((other for other in models if other is not model and other["name"] == slim["from"]), None)
    whole = names(origin) if origin else slim["from"]
    blocks = f" and {units.count(len(slim['removed_blocks']), 'block')} removed" if slim["removed_blocks"] else ""
    trained = "repaired; no training made it better"
    if slim["epochs"]:
        goals = {0: "labels only", 1: "the original's answers"}
        goal = goals.get(slim.get("teacher"), "the original's answers and labels")
        trained = f"then trained for {units.count(slim['epochs'], 'epoch')} on {goal}"
    return (
        f"{names.full(model)} is {whole} with {units.percent(after / before)} of its multiply-adds: "
        f"{units.count(slim['narrower'], 'layer')} narrower{blocks}, {trained}."
    )


def _winner_first(pair, found):
    """(first, second, difference) with the higher accuracy first."""
    return (*pair, found) if found.value >= 0 else (*pair[::-1], found.reversed())


def _basis(found, images):
    """How wide the noise is, and where the width comes from."""
    interval = f"95{units.SPACE}% interval {_range(found, images)}"
    if found.seeds is None:
        return f"{interval}, binomial, one training each"
    one, two = found.seeds
    seeds = f"{units.count(one, 'seed')} each" if one == two else f"{one} and {two} seeds"
    return f"means of {seeds}; {interval} from their spread"


def _range(found, images):
    return f"{units.points(found.low, images)} to {units.points(found.high, images)}"


def _control(report, names, pair, images):
    """What the plain net shows about the shortcuts of the ResNet of which it is the control."""
    nets = view.control(report, pair)
    found = nets and noise.accuracy_difference(*nets, images)
    if not found:
        return None
    plain, residual = nets
    same = _ratio(plain["parameters"], residual["parameters"]) <= SAME_SIZE
    size = f"of the size of {names(residual)}" if same else "of another size"
    values = f"{units.percent(found.first, images)} against {units.percent(found.second, images)}"
    evidence = f"({values}; {_basis(_winner_first(nets, found)[2], images)})"
    text = f"{names.full(plain)}, the control, is a net {size} without shortcuts; it"
    if found.tie:
        side = "below" if found.value < 0 else "above"
        lean = f"though every seed of it lies {side} every seed of {names(residual)}: more seeds would tell"
        ending = lean if found.apart else "so these runs show no gain in accuracy from the shortcuts"
        return f"{text} ties with {names(residual)} within the noise {evidence}, {ending}."
    amount = f"{units.points(abs(found.value), images)} points {'less' if found.value < 0 else 'more'} accurate"
    if not same:
        reason = "size and shortcuts may both be the reason"
    else:
        reason = "the shortcuts help here" if found.value < 0 else "the shortcuts do not help here"
    return f"{text} is {amount} {evidence}: {reason}."


def _ratio(one, two):
    """The larger over the smaller; infinite where one of them is not known."""
    small, large = sorted((one or 0, two or 0))
    return large / small if small else float("inf")


def _counted(names, pair):
    """Compares what is counted: about equal, or how many times as much the larger has."""
    equal, more = [], {0: [], 1: []}
    for what, write, values in _amounts(pair):
        shown = [write(value) for value in values]
        if _ratio(*values) <= ABOUT_EQUAL:
            equal.append(f"{what} ({shown[0]} and {shown[1]})")
        else:
            large = values.index(max(values))
            times = units.ratio(_ratio(*values))
            more[large].append(f"{times} times the {what} ({shown[large]} against {shown[1 - large]})")
    both = " and ".join(map(names, pair))
    sentences = [f"{both} are about equal in {units.listing(equal)}."] if equal else []
    for large, amounts in more.items():
        if amounts:
            sentences.append(f"next to {names(pair[1 - large])}, {names(pair[large])} has {units.listing(amounts)}.")
    return sentences


def _amounts(pair):
    """(what, function that writes it, the two values) of all figures that both nets have."""
    for key, (what, write) in COUNTED.items():
        values = [model[key] for model in pair]
        if all(values):
            yield what, write, values
    first, second = (view.exports(model) for model in pair)
    common = [scheme for scheme in first if scheme in second]
    if common:
        yield f"file size as {common[-1]}", units.size, [first[common[-1]]["bytes"], second[common[-1]]["bytes"]]


def _latency(names, pair, condition):
    """Says which net is faster in which scheme under one condition."""
    first, second = (view.exports(model) for model in pair)
    rows = [(scheme, first[scheme], second[scheme]) for scheme in first if scheme in second]
    faster, slower, ties = _judged(rows, condition)
    wins = (pair[0], [f"{scheme} ({own} against {other})" for scheme, own, other in faster])
    losses = (pair[1], [f"{scheme} ({other} against {own})" for scheme, own, other in slower])
    clauses = [f"{names(model)} is faster as {units.listing(found)}" for model, found in (wins, losses) if found]
    if ties:
        shown = units.listing([f"{scheme} ({own} and {other})" for scheme, own, other in ties])
        clauses.append(f"the two tie as {shown}, their times overlapping")
    return f"on {_place(condition)}: {'; '.join(clauses)}." if clauses else None


def _judged(rows, condition):
    """(faster, slower, ties) of (label, export, other export): lists of (label, median, other median)."""
    found = {-1: [], 1: [], 0: []}
    for label, *exports in rows:
        times = [view.measured(export, condition) for export in exports]
        verdict = noise.faster(*times) if all(times) else None
        if verdict is not None:
            found[verdict].append((label, *(units.milliseconds(time["median_ms"]) for time in times)))
    return tuple(found.values())


def _place(condition):
    return f"{condition.name} ({condition.details})"


def _short_place(condition, conditions):
    """The condition's name; only that of the device where this is enough."""
    alike = sum(other.name == condition.name for other in conditions)
    return condition.name if alike == 1 else _place(condition)


# One net


def _alone(report, names, conditions):
    """The paragraphs on the one net of a report."""
    (model,) = report["models"]
    return [
        [_accuracy_alone(names, model, view.test_images(report)), _sizes_alone(model), _worst_class(model)],
        [_latency_alone(model, condition) for condition in conditions],
    ]


def _accuracy_alone(names, model, images):
    found = noise.accuracy(model, images)
    if found:
        seeds = f", mean of {units.count(found.seeds, 'seed')}" if found.seeds else ""
        interval = units.percents(found.low, found.high, images)
        return (
            f"{names.full(model)} gets {units.percent(found.value, images)} of {units.count(images, 'test image')} "
            f"right (95{units.SPACE}% interval {interval}{seeds})."
        )
    files = [
        f"{units.percent(export['accuracy'], images)} as {scheme}"
        for scheme, export in view.exports(model).items()
        if export["accuracy"] is not None
    ]
    if files:
        return f"of {units.count(images or 0, 'test image')}, {names.full(model)} gets {units.listing(files)} right."
    if images and model["exports"]:
        return f"{names.full(model)} tells no classes apart: its files are compared with the float net."
    return f"the accuracy of {names.full(model)} was not measured."


def _sizes_alone(model):
    """What a phone has to download."""
    sizes = [f"{units.size(export['bytes'])} as {scheme}" for scheme, export in view.exports(model).items()]
    return f"its file takes {units.listing(sizes)}." if sizes else None


def _worst_class(model):
    """The class that the file for phones has right least often."""
    rows = worst_first(model.get("by_class", ()))
    if len(rows) < 2:
        return None
    scheme, worst = for_phones(rows), rows[0]
    shown = f"{worst['right'][scheme]:,} of {units.count(worst['images'], 'image')}"
    return f"as {scheme} it is right least often on {worst['name']}: {shown}."


def _counted_alone(model):
    amounts = [f"{write(model[key])} {what}" for key, (what, write) in COUNTED.items() if model[key]]
    return f"the net has {units.listing(amounts)}." if amounts else None


def _latency_alone(model, condition):
    times = {scheme: view.measured(export, condition) for scheme, export in view.exports(model).items()}
    shown = [f"{units.milliseconds(time['median_ms'])} as {scheme}" for scheme, time in times.items() if time]
    return f"on {_place(condition)} an image takes {units.listing(shown)}." if shown else None


# Files of one net against each other


def _int8(names, model, conditions):
    """What int8 saves and costs compared with fp32: bytes, accuracy, time."""
    files = view.exports(model)
    if not {"fp32", "int8"} <= files.keys():
        return None
    before, after = files["fp32"], files["int8"]
    clauses = [_smaller(names, model, before, after), _cost(before, after)]
    clauses += [_speed(before, after, condition, conditions) for condition in conditions]
    return f"int8 {units.listing([clause for clause in clauses if clause])}."


def _smaller(names, model, before, after):
    sizes = f"({units.size(before['bytes'])} to {units.size(after['bytes'])})"
    if _ratio(before["bytes"], after["bytes"]) <= ABOUT_EQUAL:
        return f"leaves the file of {names(model)} about as large as fp32 {sizes}"
    change = "smaller" if after["bytes"] < before["bytes"] else "larger"
    times = units.ratio(_ratio(before["bytes"], after["bytes"]))
    return f"makes the file of {names(model)} {times} times {change} than fp32 {sizes}"


def _cost(before, after):
    found = noise.accuracy_drop(before, after)
    if found is None:
        return None
    images = after["images"]
    values = f"({units.percent(found.first, images)} to {units.percent(found.second, images)})"
    if found.tie:
        return f"leaves its accuracy as it was within the noise {values}"
    amount = f"{units.points(abs(found.value), images)} points of accuracy {values}"
    return f"costs {amount}" if found.value > 0 else f"adds {amount}"


def _speed(before, after, condition, conditions):
    place = f" on {_short_place(condition, conditions)}" if len(conditions) > 1 else ""
    texts = ("runs faster", "runs slower", "is neither faster nor slower")
    for text, found in zip(texts, _judged([("", after, before)], condition), strict=True):
        for _, own, other in found:
            return f"{text}{place} ({own} against {other})"
    return None


def _twins(names, model, condition, conditions):
    """Our files against those of the stock converter."""
    ours, stock = view.exports(model), view.exports(model, "stock")
    judged = _judged([(scheme, ours[scheme], stock[scheme]) for scheme in ours if scheme in stock], condition)
    clauses = [
        f"{text} as {units.listing([f'{scheme} ({own} against {other})' for scheme, own, other in found])}"
        for text, found in zip(("faster", "slower", "neither faster nor slower"), judged, strict=True)
        if found
    ]
    if not clauses:
        return None
    place = _short_place(condition, conditions)
    return f"the files of {names(model)} against the stock converter's, on {place}: {'; '.join(clauses)}."


def _rejected(names, model):
    found = [f"{scheme} ({', '.join(gates)})" for scheme, gates in model.get("rejected", {}).items()]
    verb = "was" if len(found) == 1 else "were"
    return f"of {names(model)}, {units.listing(found)} failed a gate and {verb} not written." if found else None


# What the numbers do not show


def _limits(report, pair, conditions):
    """Sentences, each or None."""
    yield _limit_of_images(report)
    yield from _limits_of_guesses(report)
    yield report["data"].get("note")
    if len(report["models"]) > 1:
        yield _limit_of_size(report["data"]["image_shape"])
    if pair:
        yield _limit_of_seeds(pair)
        yield _limit_of_epochs(pair)
    if conditions:
        places = units.listing(list(dict.fromkeys(condition.name for condition in conditions)))
        yield f"the times hold for {places}; on another processor the order of the files may differ."
        for condition in conditions:
            yield _limit_of_drift(report, condition)
            yield from devices.limits(report, condition)
    else:
        yield "no latency was measured."
    if any(model["activation_bytes"] for model in report["models"]):
        yield "activation memory is counted from the graph, not measured."


def _limit_of_images(report):
    images, spec = view.test_images(report), report["data"]["spec"]
    if not images:
        return "no data were given: nothing here says how often a net is right."
    source = f"one data set ({spec})" if spec else "one data set"
    if all(figure is None for model in report["models"] for figure in _accuracies(model)):
        return f"the files were compared with the float net on {units.count(images, 'test image')} of {source} only."
    return (
        f"the accuracies come from {units.count(images, 'test image')} of {source}, where one image is "
        f"{units.ratio(100 / images)} points."
    )


def _accuracies(model):
    return [model["accuracy"], *(export["accuracy"] for export in model["exports"])]


def _limits_of_guesses(report):
    """A sentence on each net that is no better than chance: it has no accuracy that a gate could see it lose."""
    classes = report["data"]["classes"]
    for model in report["models"]:
        intervals = [export["accuracy_interval"] for export in model["exports"] if export["accuracy_interval"]]
        if classes and intervals and max(low for low, _ in intervals) <= 1 / classes:
            yield f"{model['name']} is no better than chance, so its gates prove nothing."


def _limit_of_size(shape):
    if not shape or max(shape[:2]) > SMALL_IMAGE:
        return None
    height, width = shape[:2]
    return f"images of {height} × {width} pixels are small: on photographs the order of the nets may differ."


def _limit_of_drift(report, condition):
    rows = [view.measured(export, condition) for model in report["models"] for export in model["exports"]]
    drift = max((_ratio(row["drift"], 1) for row in rows if row and row["drift"]), default=1)
    if drift <= DRIFT:
        return None
    return (
        f"while the files were timed, the speed of {condition.name} changed by up to {units.ratio(drift)} times: it "
        "grew hot or had other work, so small differences there mean little."
    )


def _limit_of_seeds(pair):
    if any(model["accuracy"] is None for model in pair):
        return None
    seeds = max(1, min(len(model["accuracy_by_seed"]) for model in pair))
    if seeds == 1:
        return "each net was trained once: another seed may reverse the order."
    if seeds < FEW_SEEDS:
        return f"{seeds} seeds are few: a tie says that these runs cannot tell the nets apart, not that they are equal."
    return None


def _limit_of_epochs(pair):
    epochs = sorted({model["epochs"] for model in pair if model["epochs"]})
    if not epochs:
        return None
    length = units.count(epochs[0], "epoch") if len(epochs) == 1 else f"{epochs[0]} and {epochs[1]} epochs"
    return f"each net was trained for {length}; longer training may change the order."
