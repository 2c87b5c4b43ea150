"""How the processes of several hosts that train one net find each other."""

import contextlib
import os
import socket
import time

from ..errors import RequestError, WorkError, first_line

CONNECT_SECONDS = 120  # to wait for the coordinator and the other hosts
GLOO = ("jax_cpu_collectives_implementation", "gloo")  # JAX's CPUs have no other way to talk between processes


def connect(coordinator, process, processes, seconds=CONNECT_SECONDS):
    """Joins this process with the others of a training on several hosts, before Keras is imported.

    Args:
        coordinator: "HOST:PORT" of process 0.
        process, processes: Number of this process, from 0, and the number of all processes.
        seconds: Longest time to wait for the others.
    Raises:
        RequestError: the numbers do not fit, the backend is not JAX, or the coordinator is not HOST:PORT.
        WorkError: the coordinator or another host did not answer in time.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise RequestError(f"--coordinator {coordinator} was given; it takes HOST:PORT", "for example node0:12345")
    if processes is None or process is None or not 0 <= process < processes:
        raise RequestError(
            f"--process {process} --processes {processes} was given; process must be 0 to processes - 1",
            "every host gets the same --processes and a --process of its own; number 0 is the coordinator",
        )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "jax":
        raise RequestError(
            f"several hosts train on Keras' JAX backend, this process uses {backend}",
            "set KERAS_BACKEND=jax before the command",
        )
    try:
        import jax
    except ImportError:
        raise RequestError("JAX is not installed", "python -m pip install jax") from None

    _meet(host, int(port), process, processes, seconds)
    jax.config.update(*GLOO)
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=seconds)
    except Exception as error:  # JAX raises its runtime's own, unexported class
        reason = first_line(error)
        raise WorkError(
            f"the {processes} hosts did not meet at {coordinator} within {seconds} s: {reason}",
            "start all of them within that time; the coordinator's port must be open to the others",
        ) from error


def _meet(host, port, process, processes, seconds):
    """Returns when all processes are there.

    JAX ends a process that has waited in vain with a stack trace and without a reason. So JAX is called only when
    nobody needs to wait: the other processes connect to process 0 and send their number, and it answers when all have.
    """
    end = time.monotonic() + seconds
    if process == 0:
        _gather(port, processes, end, seconds)
        return
    reason = "it is not there"
    while time.monotonic() < end:
        try:
            with socket.create_connection((host, port), timeout=_left(end)) as connection:
                connection.sendall(f"{process} of {processes}\n".encode())
                connection.settimeout(_left(end))
                if connection.recv(2) == b"go":
                    return
                reason = "it does not expect this --process and --processes"
        except OSError as error:
            reason = str(error)
        time.sleep(0.2)
    raise WorkError(
        f"the coordinator {host}:{port} did not answer within {seconds} s: {reason}",
        "start process 0 there, give all the same --processes, and open that port to the other hosts",
    )


def _gather(port, processes, end, seconds):
    """Process 0's part: waits for one connection from each other process."""
    there = {}
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("", port)))
            while len(there) < processes - 1:
                server.settimeout(_left(end))
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(1)
                number = _number(connection, processes)
                if number is None:
                    connection.close()
                else:
                    there[number] = connection
            for connection in there.values():
                connection.sendall(b"go")
    except TimeoutError:
        missing = sorted(set(range(1, processes)) - set(there))
        raise WorkError(
            f"processes {missing} of {processes} did not come to port {port} within {seconds} s",
            "start all of them within that time, with this host and port as --coordinator",
        ) from None
    except OSError as error:
        raise WorkError(f"port {port} cannot be used: {error}", "choose another port") from error


def _number(connection, processes):
    """Number of the process that has connected; None for any other connection to the port."""
    try:
        said = connection.recv(64).decode("ascii", "replace").split()
    except OSError:
        return None
    fits = len(said) == 3 and said[1:] == ["of", str(processes)] and said[0].isdigit()
    return int(said[0]) if fits and 0 < int(said[0]) < processes else None


def _left(end):
    """Seconds until `end`, but never 0, because sockets take 0 as "do not wait"."""
    return max(0.05, end - time.monotonic())
