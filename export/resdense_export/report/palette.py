"""The colours of page and plots: those of the families and of everything else, on light and on dark pages.

The families have Okabe and Ito's blue and vermillion (distinct for every kind of colour blindness), and the control a
grey, darkened or lightened until the contrast with the page is 4.5. Line styles and names say the same.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How a family is named and drawn. `light` and `dark` are its colours on a light and on a dark page."""

    label: str
    light: str
    dark: str
    line: str | tuple


FAMILIES = {
    "resnet": Family("ResNet", "#0067ad", "#5fb2ee", "-"),
    "densenet": Family("DenseNet", "#c04a00", "#f59a5b", (0, (5, 1.5))),
    "plain": Family("plain net", "#6a7079", "#a9b0ba", (0, (1.5, 1.5))),
    "other": Family("other net", "#87479c", "#d3a1e3", (0, (5, 1.5, 1.5, 1.5))),
}

# What is not a family: {name: (light, dark)}.
SURFACES = {
    "paper": ("#fefefe", "#14161a"),
    "ink": ("#1a1c20", "#e6e8ec"),
    "muted": ("#595f69", "#a2a9b4"),
    "rule": ("#dcdfe4", "#343941"),
}

COLOURS = SURFACES | {name: (family.light, family.dark) for name, family in FAMILIES.items()}


def light(name):
    """The colour on a light page, as plots draw it."""
    return COLOURS[name][0]
