"""Where the steps of a training run: one device, all devices of a machine, or several hosts.

Each class prepares the model, takes a step, judges a batch, says how the data are shared out, and which values each
device keeps for itself; `Training` calls it. The batch of a recipe is the batch over all devices together, so the
recipe and the result do not depend on their number. Held-out images are few, so every device judges all of them with
the same weights, which keeps the figures exact.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from ..errors import RequestError, WorkError


class OneDevice:
    """TensorFlow's default device: the first GPU, or the CPU.

    Attributes:
        name: Kept in a run's config.yaml, because another arrangement is another run.
        count: Number of devices on all hosts together.
        part: (number of this host, number of hosts): the share of each batch that this process reads.
        writes: Whether this process writes the run folder.
    """

    name, count, part, writes = "one", 1, (0, 1), True

    def scope(self):
        """The context in which the model is built and compiled."""
        return contextlib.nullcontext()

    def prepare(self, model):
        """`model`, or its copy for these devices."""
        return model

    def describe(self, batch_size):
        """One line for people, or None where there is nothing to say."""
        return None

    def compile(self, model, weights=None, average=None):
        """Makes ready to train `model`, which Keras has compiled.

        Args:
            weights: (classes,) class weights of the loss, see Training, or None.
            average: An averages.Average to which every step is added, or None.
        """
        self._prepare_labels(model, weights)
        self._train_steps = {jit: self._graph(model.train_step, jit, weights) for jit in (False, True)}
        self._test_step = self._graph(model.test_step, jit=False)
        self._average = tf.function(average.update) if average else _nothing

    def train(self, batch, jit):
        """Takes one step on (images, class numbers or one-hot labels); the mean loss of the epoch so far."""
        loss = float(self._train_steps[jit](batch)["loss"])
        self._average()
        return loss

    def test(self, batch):
        """Adds a batch to the model's metrics."""
        self._test_step(batch)

    def copies(self, variables):
        """Each device's own values of `variables`, which may differ."""
        return []

    def read(self, variable):
        """The value of a variable; the mean where each device has its own."""
        return variable.value

    def agree(self, model):
        """Sets the batch norms' moving statistics on all devices to their mean over the devices."""

    def any(self, flag):
        """Whether `flag` is true on at least one host."""
        return flag

    def from_first(self, number):
        """The `number` that the first host gave, on every host."""
        return number

    def check_equal(self, place):
        """Raises a WorkError where the hosts do not begin at the same `place`."""

    def release(self):
        """Called when the training is over; what follows concerns only this host."""

    def _prepare_labels(self, model, weights):
        self.model, self.weights = model, weights
        self.columns = max(2, model.output_shape[-1])

    def _graph(self, step, jit, weights=None):
        # Not `reduce_retracing`: it gives the second of two batch sizes a graph of any size, which rounds otherwise
        # than that size's own. What a resumed run computes would depend on the batch that it happens to begin with.
        return tf.function(self._labelled(step, weights), jit_compile=jit)

    def _labelled(self, step, weights):
        """Wraps `step`: class numbers become one-hot labels, or the share of the second class where the net has one
        output."""
        single = self.model.output_shape[-1] == 1

        def on_batch(batch):
            images, labels = batch
            labels = labels if labels.dtype.is_floating else tf.one_hot(labels, self.columns)
            shares = labels[:, 1:] if single else labels
            return step((images, shares) if weights is None else (images, shares, tf.linalg.matvec(labels, weights)))

        return on_batch


class AllDevices(OneDevice):
    """All GPUs of this machine, or the first `count`; each takes a part of every batch (MirroredStrategy).

    Args:
        count: Number of GPUs, or None for all.
        synchronized: Whether batch norms compute their moments over all devices. Without it each device uses those of
            its own part, as PyTorch and Keras do by default: less traffic, but another result than on one device.
    """

    def __init__(self, count=None, synchronized=False):
        # Virtual CPUs stand in where a machine has no GPU: that is how the tests run this.
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if count is not None and count > len(found):
            raise RequestError(
                f"{count} devices were asked for; this machine has {len(found)}: {', '.join(d.name for d in found)}",
                "pass `--devices all`, or a smaller number",
            )
        self.names = [device.name for device in found[:count]]
        self.strategy = tf.distribute.MirroredStrategy(self.names)
        self.count, self.synchronized = len(self.names), synchronized
        self.name = f"{self.count}{' synchronized' if synchronized else ''}"

    def scope(self):
        return self.strategy.scope()

    def prepare(self, model):
        if not self.synchronized:
            return model

        def copy(operation):
            config = operation.get_config()
            if isinstance(operation, keras.layers.BatchNormalization):
                config["synchronized"] = True
            return type(operation).from_config(config)

        twin = keras.models.clone_model(
            model, clone_function=lambda layer: copy(layer) if isinstance(layer, keras.layers.Layer) else layer
        )
        twin.set_weights(model.get_weights())
        for layer, source in zip(twin.layers, model.layers, strict=True):
            layer.trainable = source.trainable
        return twin

    def describe(self, batch_size):
        norms = "over all of them" if self.synchronized else "on each for itself"
        return (
            f"{self.count} devices, {batch_size // self.count} of the {batch_size} images of a step on each, "
            f"batch norms {norms}"
        )

    def train(self, batch, jit):
        parts = [tf.split(tensor, self.count) for tensor in batch]
        loss = float(self._train_steps[jit](tuple(self._dealt(part) for part in parts)))
        self._average()
        return loss

    def compile(self, model, weights=None, average=None):
        super().compile(model, weights, average)
        self._average = average.update if average else _nothing  # not in a graph: it reads each device's own variables

    def test(self, batch):
        self._test_step(tuple(self._dealt([tensor] * self.count) for tensor in batch))

    def copies(self, variables):
        return [copy for variable in variables for copy in self._own(variable)]

    def read(self, variable):
        own = self._own(variable)
        return sum(own[1:], own[0]) / len(own) if own and own[0].dtype.is_floating else variable.value

    def agree(self, model):
        for variable in model.non_trainable_variables:
            own = self._own(variable)
            if own and own[0].dtype.is_floating:
                first = own[0].numpy()
                variable.assign(first + np.mean([copy.numpy() - first for copy in own], axis=0))  # equal ones stay

    def _own(self, variable):
        """Each device's value of a variable; empty where there is one device."""
        own = self.strategy.experimental_local_results(variable.value)
        return own if len(own) > 1 else ()

    def _dealt(self, parts):
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    def _graph(self, step, jit, weights=None):
        labelled = tf.function(self._labelled(step, weights), jit_compile=jit)

        def on_all(batch):
            logs = self.strategy.run(labelled, args=(batch,))
            return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, logs["loss"], axis=None)

        return tf.function(on_all)


class Hosts(OneDevice):
    """All devices of several hosts, with Keras on JAX, after hosts.connect. Batch norms see the whole batch."""

    def __init__(self):
        import jax

        # The data are dealt out by `part`, in the order that one device would see.
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=keras.distribution.list_devices(), auto_shard_dataset=False)
        )
        self.count = jax.device_count()
        self.part = (jax.process_index(), jax.process_count())
        self.writes = jax.process_index() == 0
        self.name = f"{self.count} on {self.part[1]} hosts"

    def describe(self, batch_size):
        number, hosts = self.part
        images = batch_size // self.count
        return f"host {number} of {hosts}, {self.count} devices in all, {images} images of a step on each"

    def compile(self, model, weights=None, average=None):
        import jax

        self._prepare_labels(model, weights)
        self._average = average.update if average else _nothing
        self._train_step = jax.jit(model.train_step)
        self._test_step = jax.jit(model.test_step)

    def train(self, batch, jit):
        variables = (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
            self.model.optimizer.variables,
            self.model.metrics_variables,
        )
        images, labels = (np.asarray(tensor) for tensor in batch)
        labels = self._one_hot(labels)
        weighted = () if self.weights is None else (labels @ self.weights,)
        loss = float(self._stepped(self._train_step, variables, (images, self._shares(labels), *weighted))["loss"])
        self._average()
        return loss

    def test(self, batch):
        variables = (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
            self.model.metrics_variables,
        )
        own = self.count // self.part[1]
        images, labels = (np.concatenate([tensor] * own) for tensor in batch)
        self._stepped(self._test_step, variables, (images, self._shares(self._one_hot(labels))))

    def any(self, flag):
        from jax.experimental import multihost_utils

        return bool(multihost_utils.process_allgather(np.array(flag)).any())

    def from_first(self, number):
        from jax.experimental import multihost_utils

        return int(multihost_utils.broadcast_one_to_all(np.array(number)))

    def check_equal(self, place):
        from jax.experimental import multihost_utils

        places = multihost_utils.process_allgather(np.array(place))
        if not (places == places[0]).all():
            raise WorkError(
                f"the hosts would begin at different places (epochs and steps done: {places.tolist()})",
                "the run folder must lie on a disk that all hosts share",
            )

    def release(self):
        keras.distribution.set_distribution(None)  # building a net under it waits for all hosts

    def _stepped(self, step, variables, batch):
        """Takes one of Keras' stateless steps and assigns the new values to the variables; returns its logs."""
        logs, new = step(tuple([v.value for v in group] for group in variables), self._global(batch))
        for group, values in zip(variables, new, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return logs

    def _global(self, batch):
        """The whole batch as one array over the devices of all hosts, made of this host's part."""
        import jax

        distribution = keras.distribution.distribution()
        return tuple(
            jax.make_array_from_process_local_data(distribution.get_data_layout(part.shape).backend_layout, part)
            for part in batch
        )

    def _one_hot(self, labels):
        return np.eye(self.columns, dtype="float32")[labels] if labels.ndim == 1 else labels

    def _shares(self, labels):
        return labels[:, 1:] if self.model.output_shape[-1] == 1 else labels


def _nothing():
    pass


def choose(devices=None, *, coordinator=None, synchronized=False):
    """The devices that a command line names.

    Args:
        devices: None or "1" for one, "all", or a number.
        coordinator: Whether hosts.connect was called.
        synchronized: See AllDevices.
    Raises:
        RequestError: more devices are asked for than there are, or `devices` is not a number.
    """
    if coordinator:
        return Hosts()
    if devices in (None, "1", 1):
        return OneDevice()
    if devices == "all":
        return AllDevices(synchronized=synchronized)
    if not str(devices).isdigit() or int(devices) < 1:
        raise RequestError(f"--devices {devices} was given; allowed: all, or a number of 1 or more")
    return AllDevices(int(devices), synchronized)


def check_batch(devices, batch_size):
    """Refuses a batch that the devices cannot share evenly."""
    if batch_size % devices.count:
        raise RequestError(
            f"batch_size={batch_size} was given for {devices.count} devices; it must be a multiple of {devices.count}",
            f"pass --batch-size {max(1, round(batch_size / devices.count)) * devices.count}",
        )
