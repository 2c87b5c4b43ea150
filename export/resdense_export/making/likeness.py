"""Whether calibration images are like the images that the net will answer.

Ranges that were learnt from other images fit by luck, and accuracy does not always show it: calibrated on noise, five
trained nets of five kept their accuracy to half a point, and one of them failed the parity gate; calibrated on 20 near
copies of one image, two kept it. So the images themselves are compared with those that judge.
"""

import numpy as np

from resdense_keras.errors import RequestError

LEAST_HELD_OUT = 20  # with ten digits the median of other digits was beyond all of them once in 30 tries, with 20 never
UNRELATED = 0.9  # roughness from which neighbouring pixels have nothing to do with each other; noise has 1
ALIKE = 1 / 4  # of the distance of two held-out images: calibration images as close as that are warned of
COPIES = 1 / 20  # the same, refused: copies with noise of two grey levels have less than half of that
CELLS = 8  # of a side: pixels are averaged in cells before images are compared, so that a camera's noise cancels out

_HINT = "the training and the test images must be of one kind: look at both; float files need no calibration"


def check_likeness(calibration, held_out):
    """Compares (N, H, W, C) calibration images with (M, H, W, C) held-out ones, at most hundreds of each.

    Returns:
        Sentences to warn with: how the two differ where that may do harm; usually none.
    Raises:
        RequestError: the calibration images are noise, or near copies of one image, and the held-out ones are not.
    """
    if len(held_out) < LEAST_HELD_OUT:
        return []
    return [*_roughness_differs(roughness(calibration), roughness(held_out)), *_distances_differ(calibration, held_out)]


def roughness(images):
    """(N,) of the images of (N, H, W, C): 0 where neighbouring pixels are equal, 1 where they are unrelated.

    It is the mean squared difference of neighbours over twice the variance of the pixels; NaN where all are equal.
    """
    found = []
    for image in images:  # one by one, for large photos
        pixels = image.astype(np.float32)
        steps = [np.square(np.diff(pixels, axis=axis)).ravel() for axis in (0, 1)]
        variance = pixels.var(axis=(0, 1)).mean()
        found.append(np.concatenate(steps).mean() / (2 * variance) if variance > 0 else np.nan)
    return np.array(found)


def distance(images):
    """The mean distance of two of (N, H, W, C) images, root mean square over CELLS x CELLS means, in grey levels.

    Not the median: of two classes of alike images that jumps with the share of each.
    """
    cells = images
    for axis in (1, 2):
        ends = np.unique(np.arange(CELLS + 1) * images.shape[axis] // CELLS)
        sizes = np.expand_dims(np.diff(ends), [other for other in range(4) if other != axis])
        cells = np.add.reduceat(cells, ends[:-1], axis=axis, dtype=np.float32) / sizes
    flat = cells.reshape(len(images), -1).astype(np.float64)
    squares = np.square(flat).sum(axis=1)
    between = squares[:, None] + squares - 2 * flat @ flat.T
    return float(np.sqrt(between[np.triu_indices(len(images), 1)].clip(0) / flat.shape[1]).mean())


def _roughness_differs(calibrating, held_out):
    calibrating, held_out = (values[np.isfinite(values)] for values in (calibrating, held_out))
    if not len(calibrating) or len(held_out) < LEAST_HELD_OUT:
        return []
    middle, low, high = np.median(calibrating), held_out.min(), held_out.max()
    if low <= middle <= high:
        return []
    figures = f"roughness {middle:.2f}, that of held-out images {low:.2f} to {high:.2f}"
    if middle >= UNRELATED > high:
        raise RequestError(
            f"the calibration images are noise, no two neighbouring pixels are related: {figures}", _HINT
        )
    word = "rougher" if middle > high else "smoother"
    return [f"half of the calibration images are {word} than every held-out image: {figures}"]


def _distances_differ(calibration, held_out):
    near, usual = distance(calibration), distance(held_out)
    if near >= ALIKE * usual:
        return []
    figures = f"two of them differ by {near:.1f} grey levels, two held-out images by {usual:.1f}"
    if near < COPIES * usual:
        raise RequestError(f"the {len(calibration)} calibration images are near copies of one image: {figures}", _HINT)
    return [f"the {len(calibration)} calibration images are much alike: {figures}"]
