"""Makes an optimizer of a recipe: SGD or AdamW, momentum, decay of the kernels, and the learning rate by step."""

import warnings

import keras

# Ours: 20 times Kingma and Ba's default. A step of Adam moves a weight by about the learning rate at most, whatever the
# gradient (arXiv:1412.6980, section 2.1), and the first kernels deviate by 0.02 to 0.28 (measured: resnet50, resnet20).
HIGH_FOR_ADAMW = 0.02


def optimizer(recipe, steps):
    """The recipe's optimizer with its schedule, for `steps` steps per epoch.

    The papers' weight decay w is L2 inside the gradient. Keras' `weight_decay` is decoupled: it shrinks a weight by
    lr * w a step where L2 shrinks it by lr * w / (1 - momentum), so for SGD the decoupled number is 1 / (1 - momentum)
    times larger (measured: a weight of 1 after 2,000 steps at lr 0.1 is 0.819 under L2 1e-4 and under decoupled 1e-3).
    """
    schedule = Schedule(recipe, steps)
    if recipe.optimizer == "adamw":
        if recipe.learning_rate > HIGH_FOR_ADAMW:
            warnings.warn(
                f"a learning rate of {recipe.learning_rate:g} is SGD's; AdamW usually takes 0.001", stacklevel=2
            )
        chosen = keras.optimizers.AdamW(schedule, beta_1=recipe.momentum, weight_decay=recipe.weight_decay)
    else:
        chosen = keras.optimizers.SGD(
            schedule,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay / (1 - recipe.momentum) or None,
        )
    chosen.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return chosen


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the recipe's learning rate, then a fall by its schedule; a pure function of the step."""

    def __init__(self, recipe, steps):
        self.recipe = recipe
        self.total = recipe.epochs * steps
        self.warmup = min(round(recipe.warmup * self.total), self.total - 1)

    def __call__(self, step):
        ops, recipe = keras.ops, self.recipe
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup, 1)
        done = ops.clip((step - self.warmup) / (self.total - self.warmup), 0.0, 1.0)
        if recipe.schedule == "cosine":
            falling = 0.5 * (1 + ops.cos(3.14159265 * done))
        elif recipe.schedule == "linear":
            falling = 1 - done
        else:
            share = step / self.total
            falling = 1.0
            for drop in recipe.drops_at:
                falling = ops.where(share >= drop, 0.1 * falling, falling)
        return recipe.learning_rate * ops.where(step < self.warmup, ops.minimum(rising, 1.0), falling)

    def get_config(self):
        return {"recipe": self.recipe.as_dict(), "total": self.total}
