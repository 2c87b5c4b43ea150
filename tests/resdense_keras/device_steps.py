"""Five steps of one training, in a process of its own: where they run is decided when the process starts.

python device_steps.py OUT.npz one | mirrored | synchronized | PORT NUMBER
"""

import sys

import numpy as np

STEPS, BATCH = 5, 64


def main(out, how, number=None):
    from resdense_keras.training import hosts

    if number is not None:
        hosts.connect(f"127.0.0.1:{how}", int(number), 2)
    import tensorflow as tf

    if how in ("mirrored", "synchronized"):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras

    import resdense_keras
    from resdense_keras import data, preprocessing
    from resdense_keras.training import Training, devices, recipe

    chosen = devices.choose(
        "2" if how in ("mirrored", "synchronized") else None,
        coordinator=number is not None,
        synchronized=how == "synchronized",
    )
    digits = data.load("digits")
    keras.utils.set_random_seed(0)
    with chosen.scope():
        net = resdense_keras.cifar_resnet(
            depth=8, input_shape=(8, 8, 1), include_preprocessing=preprocessing.measured(digits.train.array())
        )
        start = np.random.default_rng(0)  # the backends draw different numbers from one seed
        net.set_weights([start.normal(0, 0.1, w.shape) if w.trainable else w.numpy() for w in net.weights])
        net = chosen.prepare(net)
    training = Training(net, digits, recipe("compare", "resnet20", batch_size=BATCH, epochs=1), devices=chosen)
    done = []
    training.run(0, on_step=lambda *place: done.append(place), stopping=lambda: len(done) == STEPS)
    judged = training.evaluate(digits.validation)
    if chosen.writes:
        np.savez(out, *[w.numpy() for w in net.weights], judged=[judged["loss"], judged["accuracy"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
