"""How a phone reaches this computer: its address, a certificate, or a cable."""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from resdense_keras.errors import RequestError, WorkError

LOCAL = "127.0.0.1"
ELSEWHERE = "192.0.2.1"  # RFC 5737: nobody's; asking for the way to it sends nothing
DAY = datetime.timedelta(days=1)


def lan_address():
    """The address that this computer has on its network.

    Raises:
        RequestError: it is not on a network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect((ELSEWHERE, 9))
        address = probe.getsockname()[0]
    if ipaddress.ip_address(address).is_unspecified or ipaddress.ip_address(address).is_loopback:
        raise RequestError("--lan was given and this computer is on no network", "name the address: `--lan ADDRESS`")
    return address


def checked(address):
    """`address`, checked to be that of one interface.

    Raises:
        RequestError: it is a name, or an address that stands for all interfaces.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise RequestError(
            f"--lan {address} was given; it takes one of this computer's addresses, such as 192.168.1.20",
            "without an address it picks one",
        ) from None
    if found.is_unspecified or found.is_multicast:
        raise RequestError(f"--lan {address} was given; it takes the address of one network, not of all", "name one")
    return str(found)


def listen(address, port):
    """A listening socket.

    Raises:
        RequestError: the address is not this computer's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise RequestError(
            f"cannot listen on {bracketed(address)}:{port}: {error.strerror}",
            "leave `--port` out for a free one, and give `--lan` one of this computer's addresses",
        ) from error
    return listener


def bracketed(address):
    """The address as it is written in a URL."""
    return f"[{address}]" if ":" in address else address


def origins(scheme, address, port):
    """{Host: Origin} under which the server answers."""
    names = dict.fromkeys((bracketed(address), "localhost"))
    hosts = [f"{name}:{port}" for name in names]
    if port == {"http": 80, "https": 443}[scheme]:
        hosts += names  # browsers leave the usual port out
    return {host: f"{scheme}://{host}" for host in hosts}


@contextlib.contextmanager
def certificate(address):
    """(certificate file, key file, SHA-256 fingerprint) of a self-signed certificate for one day.

    The files are readable only by this user, and removed when the body ends. They are needed because OpenSSL reads keys
    only from files.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "resdense phone")])
    addresses = [x509.IPAddress(ipaddress.ip_address(one)) for one in dict.fromkeys((address, LOCAL))]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # a phone's clock may be behind
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    digest = hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    with tempfile.TemporaryDirectory() as folder:
        certificate_file, key_file = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
        certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        _write_private(
            key_file,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        yield certificate_file, key_file, ":".join(digest[place : place + 2] for place in range(0, 64, 2))


def _write_private(path, content):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


@contextlib.contextmanager
def usb(port):
    """While the body runs, localhost:`port` on the phone at the cable leads to this computer.

    Raises:
        RequestError: adb is not installed.
        WorkError: adb finds no phone, or more than one.
    """
    adb = shutil.which("adb")
    if adb is None:
        raise RequestError(
            "--usb needs adb, and it is not installed",
            "install Android's platform tools (Debian: `apt install adb`), or use --lan --https",
        )
    _adb(adb, "reverse", f"tcp:{port}", f"tcp:{port}")
    try:
        yield
    finally:
        with contextlib.suppress(WorkError):  # the phone may have been unplugged
            _adb(adb, "reverse", "--remove", f"tcp:{port}")


def _adb(adb, *arguments):
    try:
        subprocess.run([adb, *arguments], check=True, capture_output=True, text=True, timeout=15)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise WorkError(
            f"adb {' '.join(arguments)} failed: {said[-1] if said else error}",
            "connect one phone with USB debugging switched on, and allow this computer on its screen",
        ) from error
