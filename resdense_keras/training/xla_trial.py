"""Whether XLA pays here: a timed trial of the training's own step."""

import statistics
import time

STEPS = 3
WORTH = 200  # first steps; a training shorter than so many of them is not worth a trial
GAIN = 0.95  # XLA must need less than this of the time


def choose_jit(training, steps):
    """(jit, why in words) for a training of `steps` steps; the training's variables are afterwards as before.

    Compiling takes XLA a few times as long as TensorFlow takes to trace, which the first step without XLA shows.
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
        except Exception as error:  # what XLA cannot compile, it says in a dozen kinds
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
