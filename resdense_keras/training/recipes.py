"""How a net is trained, as data: every number with its source."""

from dataclasses import asdict, dataclass

from ..errors import unknown


@dataclass(frozen=True)
class Recipe:
    """One training: what a run folder keeps and what repeats it.

    `weight_decay` is the papers': L2 added to the gradient, of convolution and dense kernels only. `warmup_epochs`
    may be a fraction. `augment` is the papers' shift and, where the data allow it, mirror.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    augment: bool = True

    def as_dict(self):
        return asdict(self)


RECIPES = {
    # Small images, minutes on a CPU; what `resdense compare` uses. Weight decay 1e-4 is both papers', and so is the
    # learning rate, 0.1 at batch 64, brought to batch 32 in proportion (Goyal et al. 2017, arXiv:1706.02677, section
    # 2.1). Cosine (Loshchilov and Hutter 2017, arXiv:1608.03983) with a warm-up replaces their steps, which need more
    # epochs.
    "compare": Recipe(epochs=10, batch_size=32, learning_rate=0.05, warmup_epochs=2.0),
}


def recipe(name):
    """The recipe of that name.

    Raises:
        RequestError: no such recipe; the nearest is in the hint.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
