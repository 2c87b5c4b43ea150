"""Not a test: one of two hosts that train a small net, in a process of its own.

python stopped_hosts.py DATA.npz FOLDER PORT NUMBER begin   # once through, once until the second host gets SIGTERM
python stopped_hosts.py DATA.npz FOLDER PORT NUMBER go-on   # the second of these to its end, and once more
"""

import os
import signal
import sys
from pathlib import Path

STEPS = 8  # after which SIGTERM comes: in the middle of epoch 2 of 3


def main(data, folder, port, number, what):
    from resdense_keras.training import hosts

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as the command line's
    hosts.connect(f"127.0.0.1:{port}", int(number), 2)
    through, cut = Path(folder) / "through", Path(folder) / "cut"
    if what == "begin":
        run(data, through)
        if number == "1":
            send_sigterm_after(STEPS)
        run(data, cut)
        raise AssertionError("the run ended before SIGTERM came")
    run(data, cut, resume=True)
    run(data, cut, resume=True)  # it is finished, and both say so


def run(data, out, **options):
    from resdense_keras.training import devices, recipe, train

    train(
        "resnet20",
        data,
        out,
        recipe("fast", epochs=3, batch_size=28, augment=("shift", "mirror", "mixup")),
        options={"width": 2, "dropout": 0.2},
        devices=devices.choose(coordinator=True),
        tell=print,
        **options,
    )


def send_sigterm_after(steps):
    from resdense_keras.training import loop

    whole, taken = loop.Training.step, []

    def step(self, batch):
        taken.append(1)
        if len(taken) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batch)

    loop.Training.step = step


if __name__ == "__main__":
    main(*sys.argv[1:])
