"""What the builders of both families share: the input, the head, checked arguments, one-line variants.

A builder calls `image_input`, adds stem and stages, and ends with `classifier`. A named net is a base builder with the
arguments of its table row; its signature and the arguments that it accepts are read from the base builder.
"""

import contextlib
import difflib
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers

from . import weights
from .errors import RequestError
from .preprocessing import Preprocessing

# Types of the arguments that both families share; the stubs spell them out.
Shape = tuple[int | None, int | None, int]
Weights = str | os.PathLike[str] | None
Activation = str | Callable[..., Any] | None


def check_choice(name, value, allowed):
    """`value` if it is one of `allowed` (True is not 1), else a RequestError that lists them."""
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in allowed):
        raise RequestError(f"{name}={value!r} was given; allowed: {', '.join(map(repr, allowed))}")
    return value


def check_integer(name, value, minimum, hint=None):
    """`value` as an int of `minimum` or more."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < minimum:
        raise RequestError(f"{name}={value!r} was given; it must be an integer of {minimum} or more", hint)
    return value.__index__()


def check_number(name, value, low, high, ends="[)"):
    """`value` as a float between `low` and `high`; `ends` says whether the two limits themselves are allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if isinstance(value, (bool, str)) or not (above and below):
        raise RequestError(f"{name}={value!r} was given; it must be a number in {ends[0]}{low}, {high}{ends[1]}")
    return number


def check_name(name):
    """`name` if Keras accepts it as the name of a model: None, or text without a slash."""
    if name is not None and (not isinstance(name, str) or not name or "/" in name):
        raise RequestError(f"name={name!r} was given; it must be None or text without a slash, not empty")
    return name


def check_blocks(blocks):
    """`blocks` as a tuple of integers of 1 or more."""
    if isinstance(blocks, (str, bytes)) or not hasattr(blocks, "__iter__"):
        raise RequestError(f"blocks={blocks!r} was given; it must be a sequence of integers such as (3, 4, 6, 3)")
    blocks = tuple(check_integer("an entry of blocks", count, 1) for count in blocks)
    if not blocks:
        raise RequestError("blocks=() was given; it needs at least one stage")
    return blocks


def normalization(bn_momentum, bn_epsilon):
    """BatchNormalization with its two numbers chosen, to be called with a name.

    Momentum is 0.9 by default, which PyTorch writes as 0.1. With Keras' default of 0.99 the moving statistics of a
    short run lag behind the weights, and the evaluation is far worse than the training.
    """
    momentum = check_number("bn_momentum", bn_momentum, 0, 1)
    epsilon = check_number("bn_epsilon", bn_epsilon, 0, 1, "()")
    return partial(layers.BatchNormalization, momentum=momentum, epsilon=epsilon)


def image_input(*, input_shape, input_tensor, default, smallest, include_preprocessing, record):
    """(inputs, x): the source tensor and the pixels that the stem reads, (N, H, W, C).

    Args:
        input_shape: (H, W, C), H and W of `smallest` or more, or None for any size.
        input_tensor: Keras tensor to build on, or None.
        default: Input shape where neither is given.
        smallest: Pixels that all strides together need.
        include_preprocessing: False, True (the weights' own `record`) or a Preprocessing.
    """
    if keras.config.image_data_format() != "channels_last":
        raise RequestError(
            "Keras is set to image_data_format='channels_first'; these nets are channels_last",
            "keras.config.set_image_data_format('channels_last')",
        )
    if input_tensor is None:
        inputs = x = layers.Input(
            shape=check_image_shape(default if input_shape is None else input_shape, smallest), name="image"
        )
    else:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise RequestError(
                f"input_tensor={input_tensor!r} was given; it must be a Keras tensor such as keras.Input(...)"
            )
        x = input_tensor
        given = check_image_shape(x.shape[1:], smallest, "the shape of input_tensor")
        if input_shape is not None and tuple(input_shape) != given:
            raise RequestError(
                f"input_shape={input_shape} and an input_tensor of shape {given} were given; give one of them"
            )
        sources = keras.utils.get_source_inputs(x)
        inputs = sources[0] if len(sources) == 1 else sources
    if include_preprocessing is not False:
        chosen = record if include_preprocessing is True else include_preprocessing
        if not isinstance(chosen, Preprocessing):
            raise RequestError(
                f"include_preprocessing={include_preprocessing!r} was given; allowed: True, False or a Preprocessing"
            )
        if len(chosen.mean) != x.shape[-1]:
            raise RequestError(
                f"include_preprocessing: the record has {len(chosen.mean)} channels, the input {x.shape[-1]}",
                "pass include_preprocessing=resdense_keras.preprocessing.measured(images)",
            )
        x = chosen.apply(x)
    return inputs, x


def check_image_shape(shape, smallest, name="input_shape"):
    """`shape` as (H, W, C) of ints, H and W possibly None."""
    try:
        height, width, channels = shape
    except (TypeError, ValueError):
        raise RequestError(f"{name}={shape!r} was given; it must be (height, width, channels)") from None
    why = f"the strides of this net need {smallest} pixels"
    for side, size in (("height", height), ("width", width)):
        if size is not None:
            check_integer(f"{name}: {side}", size, smallest, why)
    return height, width, check_integer(f"{name}: channels", channels, 1)


def classifier(inputs, x, *, include_top, pooling, classes, classifier_activation, dropout, name):
    """Global pooling, dropout and the dense head on features x, (N, h, w, C) -> (N, classes); the finished model.

    Without the head: x itself, or (N, C) where `pooling` is "avg" or "max".
    """
    check_choice("include_top", include_top, (True, False))
    check_choice("pooling", pooling, (None, "avg", "max"))
    classes = check_integer("classes", classes, 1)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="head_dropout")(x)
        x = layers.Dense(
            classes, activation=_activation(classifier_activation), dtype=_head_dtype(), name="predictions"
        )(x)
    elif pooling is not None:
        pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
        x = pool(name="head_pool")(x)
    with _deep_recursion():
        return keras.Model(inputs, x, name=name)


@contextlib.contextmanager
def _deep_recursion(limit=20_000):
    """Raises Python's recursion limit for the body: Keras walks a graph recursively, and resnet1202 needs four times
    the usual limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _activation(activation):
    try:
        return keras.activations.get(activation)
    except (TypeError, ValueError):
        raise RequestError(
            f"classifier_activation={activation!r} was given; allowed: 'softmax', None for logits, "
            "or any name or function that keras.activations.get takes"
        ) from None


def _head_dtype():
    """dtype of the head: under mixed precision the variables' float32, because a softmax of float16 logits loses
    classes."""
    return keras.config.dtype_policy().variable_dtype


def load_path(model, path):
    """`model` with the weights of a file, where a path is given. Only the nets of the catalogue have weights by
    name."""
    if path is not None:
        weights.load_weights(model, path)
    return model


def arguments_for(weight_set, arguments, given):
    """The builder's arguments with what `weight_set` was trained with filled in.

    Args:
        weight_set: Row of the table of weights; its `arguments` are the builder arguments it was trained with.
        arguments: Row of the net and the caller's options, merged.
        given: Options that the caller chose. One that contradicts the weights raises an error.
    """
    trained = dict(weight_set.arguments)
    if arguments.get("include_top", True):
        trained["classes"] = given.get("classes", weight_set.classes)  # of others, see `named_net`: a new head
    for option, value in trained.items():
        if option in given and _plain(given[option]) != _plain(value):
            raise RequestError(
                f"{option}={given[option]!r} was given, but weights={weight_set.name!r} of {weight_set.model} were "
                f"trained with {option}={value!r}",
                f"leave {option} out, or build without weights and use load_weights(..., head='skip') for another head",
            )
    if arguments.get("include_preprocessing") is True:
        trained["include_preprocessing"] = weight_set.preprocessing
    return {**arguments, **trained}


def derived(base, *, without, **changed):
    """Decorator for a builder that takes the arguments of `base`, so that they are spelled there only.

    Args:
        base: Builder that spells every argument.
        without: Arguments of `base` that the new builder makes itself.
        changed: {argument: default} of the arguments with another default, and of the new builder's own arguments,
            which the signature shows first.
    Returns:
        Decorator of a function that is called with every argument. The decorated function's `__signature__` shows them
        all.
    """
    spelled = inspect.signature(base).parameters
    shared = [parameter for name, parameter in spelled.items() if name not in without]

    def decorate(function):
        annotated = inspect.signature(function).parameters
        own = [annotated[name] for name in changed if name not in spelled]
        allowed = {
            each.name: each.replace(default=changed.get(each.name, each.default), kind=inspect.Parameter.KEYWORD_ONLY)
            for each in (*own, *shared)
        }
        defaults = {name: parameter.default for name, parameter in allowed.items()}

        @functools.wraps(function)
        def build(**options):
            for option in options:
                if option not in allowed:
                    raise _unknown_argument(function.__name__, option, allowed)
            return function(**defaults | options)

        build.__signature__ = inspect.Signature(list(allowed.values()), return_annotation=keras.Model)
        return build

    return decorate


STRUCTURE = ("blocks", "depth", "block")  # arguments that make a net what its name says: not accepted by a variant


def catalogue(base, table, doc, preprocessing=None):
    """{name: builder} of the rows of a table; `doc` is the first line of their docstrings, without the name."""
    return {
        name: named_net(base, name, doc=f"{name}: {doc}", preprocessing=preprocessing, **row)
        for name, row in table.items()
    }


def named_net(base, name, *, doc, preprocessing=None, **row):
    """One net of a table: `base` with the arguments of `row`, which the caller's own arguments override.

    Args:
        base: Base builder that spells every argument.
        name: Catalogue name, and the model's.
        doc: First line of its docstring.
        preprocessing: Record that `include_preprocessing=True` stands for, where it differs from the base builder's.
    Returns:
        Function of keyword arguments; its `__signature__` is the base's with the row's values as defaults.
    """
    allowed = {
        key: parameter.replace(default=row.get(key, parameter.default))
        for key, parameter in inspect.signature(base).parameters.items()
        if key not in STRUCTURE
    }
    allowed["name"] = allowed["name"].replace(default=name)

    def build(**options):
        for option in options:
            if option not in allowed:
                raise _unknown_argument(name, option, allowed)
        arguments = {**row, "name": name, **options}
        source = arguments.pop("weights", None)
        chosen = weights.find(name, source) if source else None
        if chosen is None:
            if preprocessing and arguments.get("include_preprocessing") is True:
                arguments["include_preprocessing"] = preprocessing
            return base(**arguments, weights=source)
        model = base(**arguments_for(chosen, arguments, _given(options, allowed)))
        new_head = arguments.get("include_top", True) and model.output_shape[-1] != chosen.classes
        weights.load_named(model, chosen, head="skip" if new_head else None)
        if new_head:
            warnings.warn(
                f"{name}: weights={chosen.name!r} have {chosen.classes} classes, {model.output_shape[-1]} were asked "
                "for: the features are trained, the head is new and untrained",
                stacklevel=2,
            )
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = base.__module__
    shape = f"(None, {allowed['classes'].default})"
    build.__doc__ = f"""{doc}

    Arguments as in `{base.__name__}`, with the defaults of the signature.

    Example:
        >>> resdense_keras.{name}().output_shape
        {shape}
    """
    build.__signature__ = inspect.Signature(list(allowed.values()), return_annotation=keras.Model)
    return build


def _plain(value):
    """A list (YAML and JSON have no tuples) as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def _given(options, allowed):
    """The caller's options without those whose value is None because that is the default."""
    return {key: value for key, value in options.items() if value is not None or allowed[key].default is not None}


def _unknown_argument(name, option, allowed):
    close = difflib.get_close_matches(option, allowed, n=1)
    return RequestError(
        f"{name}() has no argument {option!r}; it has: {', '.join(allowed)}",
        f"did you mean `{close[0]}`?" if close else None,
    )
