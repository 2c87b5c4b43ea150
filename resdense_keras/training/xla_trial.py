"""Decides by a timed trial of the training's own step whether XLA makes it faster."""

import statistics
import time

STEPS = 3
WORTH = 200  # a training must be as long as so many first steps to be worth a trial
GAIN = 0.95  # XLA must need less than this share of the time


def choose_jit(training, steps):
    """(jit, why in words) for a training of `steps` steps; the training's variables keep their values.

    XLA takes a few times as long to compile as TensorFlow takes to trace, which the first step without XLA shows.
    """
    kept = [variable.numpy() for variable in training.variables]
    try:
        training.jit = False
        first, plain = _time(training, 1)
        if plain * steps < WORTH * first:
            return False, "off (the training is too short for a trial)"
        _, plain = _time(training)
        training.jit = True
        try:
            _, compiled = _time(training)
        except Exception as error:  # XLA raises a dozen kinds of errors for what it cannot compile
            return False, f"off (it cannot compile this net: {type(error).__name__})"
        jit = compiled < GAIN * plain
        found = f"a step takes {plain * 1e3:.0f} ms without and {compiled * 1e3:.0f} ms with it"
        return jit, f"{'on' if jit else 'off'} ({found})"
    finally:
        for variable, value in zip(training.variables, kept, strict=True):
            variable.assign(value)


def _time(training, steps=STEPS):
    """(seconds of the first step, median seconds of the next `steps`)."""
    batch, seconds = training.example(), []
    for _ in range(1 + steps):
        begun = time.perf_counter()
        training.step(batch)
        seconds.append(time.perf_counter() - begun)
    return seconds[0], statistics.median(seconds[1:])
