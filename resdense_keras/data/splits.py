"""Orders and stratified splits as pure functions of labels and seeds."""

import numpy as np

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1


def permutation(count, *seeds):
    """A random order of 0 to count - 1 that depends only on the `seeds` (0 or more each).

    It sorts by raw random bits, because NumPy keeps these from version to version, but not `Generator.permutation`.
    """
    return np.argsort(np.random.PCG64(seeds).random_raw(count), kind="stable")


def hold_out(positions, labels, share, *seeds):
    """Splits `positions` into (rest, held): of every class `share`, rounded up, is held; both keep the given order.

    At least one image of each class stays in the rest, so no image of a class of one image is held.

    Args:
        labels: Class numbers, one for each of `positions`.
        share: Of each class, above 0 and below 1.
    """
    held = np.zeros(len(positions), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(np.ceil(share * len(members))), len(members) - 1)
        held[members[permutation(len(members), *seeds, int(label))[:count]]] = True
    return positions[~held], positions[held]


def spread(labels, *seeds):
    """An order of 0 to N - 1 such that every prefix has the classes in proportion, as nearly as possible."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = permutation(len(members), *seeds, int(label))
        place[members[order]] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")
