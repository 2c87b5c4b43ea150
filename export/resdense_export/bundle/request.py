"""What an export is asked to do, as one object from the command line to the end; checked once, here."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from resdense_keras import files
from resdense_keras.errors import RequestError, unknown

from ..limits import LEAST_CALIBRATION, Limits
from ..schemes import SCHEMES, chosen_schemes

INPUT_TYPES = ("float32", "uint8")
NEED_BYTES = 50e6  # free space below which no run begins
ROUNDS = 60


@dataclass(frozen=True)
class ExportRequest:
    """Which files are made, where, and the limits that judge them.

    Attributes:
        out: Folder of the bundle; appears when it is complete.
        schemes: Names of SCHEMES; None means all that can be made.
        has_data: Whether there are images to calibrate and to judge with.
        limits: What a file may lose.
        input_type: Type of the input tensor, one of INPUT_TYPES; "uint8" for camera frames.
        budget: Points of top-1 that int8 may lose; sensitive layers stay in float for it, see making.within_budget.
        baseline: Also make the stock converter's files.
        overwrite: Replace a folder that has content.
        seed: Seed of the choice of images.
        rounds, threads: Timed inferences per file and threads of one inference, see timing.measure.
        by_default: Whether no schemes were asked for.
    Raises:
        RequestError: a value out of range, an unknown scheme, a scheme that needs data.
    """

    out: Path
    schemes: tuple[str, ...] | None = None
    has_data: bool = False
    limits: Limits = field(default_factory=Limits)
    input_type: str = "float32"
    budget: float | None = None
    baseline: bool = False
    overwrite: bool = False
    seed: int = 0
    rounds: int = ROUNDS
    threads: int = 1
    by_default: bool = field(init=False, default=False)

    def __post_init__(self):
        object.__setattr__(self, "out", Path(self.out))
        object.__setattr__(self, "by_default", self.schemes is None)
        object.__setattr__(self, "schemes", tuple(chosen_schemes(self.schemes, self.has_data)))
        if self.input_type not in INPUT_TYPES:
            raise unknown("input type", self.input_type, INPUT_TYPES)
        if self.budget is None:
            return
        if not 0 <= self.budget <= 100:
            raise RequestError(
                f"budget={self.budget} was given; it must be a number of points in [0, 100]", "such as 0.1"
            )
        if "int8" not in self.schemes:
            raise RequestError(
                f"a budget of {self.budget:g} points was given; it is for int8, which is not among the schemes",
                "pass --data SPEC, and int8 in --schemes",
            )

    def check_place(self):
        """Refuses at once what the export would refuse only after loading TensorFlow, model and data.

        Raises:
            RequestError: a folder that may not be replaced.
            WorkError: the folder cannot be written.
        """
        files.check_replaceable(self.out, self.overwrite, marker="report.json")
        files.check_writable(self.out, NEED_BYTES)

    def with_images(self, count):
        """This request, once it is known that `count` training images can calibrate.

        Where these are too few, schemes that were not asked for by name are left out with a note.

        Raises:
            RequestError: there are too few for a scheme that was asked for.
        """
        calibrated = [name for name in self.schemes if SCHEMES[name].calibrated]
        if count >= LEAST_CALIBRATION or not calibrated:
            return self
        few = f"{count} training images are too few to calibrate {', '.join(calibrated)}: it takes {LEAST_CALIBRATION}"
        if not self.by_default or self.budget is not None:
            raise RequestError(few, f"give more images, or leave {', '.join(calibrated)} out of --schemes")
        print(f"note: {', '.join(calibrated)} is left out: {few}", file=sys.stderr)
        return replace(self, schemes=tuple(name for name in self.schemes if name not in calibrated))

    def check_net(self, net):
        """Raises a RequestError where the net cannot have the requested input type."""
        if self.input_type == "uint8" and not net.takes_pixels:
            message = "a uint8 input holds pixels in [0, 255]; whether this model takes pixels is not known"
            raise RequestError(message, "use --preprocessing to say what its pixels mean")

    @property
    def steps(self):
        """Number of files that are made; each is a step of the progress."""
        from ..making.stock_converter import has_stock

        return len(self.schemes) + sum(has_stock(name) for name in self.schemes if self.baseline)
