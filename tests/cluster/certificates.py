"""Makes the keys and certificates of a test control plane with the openssl program."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_ELLIPTIC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
_RSA = ("-newkey", "rsa:2048")


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and its key, both PEM."""

    certificate: Path
    key: Path


def authority(folder: Path, name: str, *, rsa: bool = False) -> Certificate:
    """A certificate authority that names itself, also as a DNS name: the training operator looks for that.

    Python 3.13 and newer refuse one without keyUsage.
    """
    extensions = ("basicConstraints=critical,CA:TRUE", f"subjectAltName=DNS:{name}",
                  "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign")  # fmt: skip
    return _request(folder, name, f"/CN={name}", extensions, _RSA if rsa else _ELLIPTIC)


def server(folder: Path, signer: Certificate, name: str, alternatives: str) -> Certificate:
    """A server's certificate, valid for `alternatives`, as in `DNS:localhost,IP:127.0.0.1`."""
    extensions = ("keyUsage=critical,digitalSignature,keyEncipherment", "extendedKeyUsage=serverAuth",
                  f"subjectAltName={alternatives}")  # fmt: skip
    return _request(folder, name, f"/CN={name}", extensions, (*_ELLIPTIC, *_signed_by(signer)))


def client(folder: Path, signer: Certificate, user: str, group: str) -> Certificate:
    """A client's certificate, which Kubernetes reads as a user and one group."""
    extensions = ("keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth")
    return _request(folder, user, f"/O={group}/CN={user}", extensions, (*_ELLIPTIC, *_signed_by(signer)))


def signing_key(file: Path) -> Path:
    """A key to sign service account tokens with, in a form (SEC 1) of which the API server reads the public half."""
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(file))
    file.chmod(0o600)
    return file


def traditional_rsa(key: Path) -> bytes:
    """An RSA key in the older PEM form (PKCS#1), the only one that the training operator reads."""
    return _openssl("rsa", "-traditional", "-in", str(key))


def _signed_by(signer: Certificate) -> tuple[str, ...]:
    return ("-CA", str(signer.certificate), "-CAkey", str(signer.key))


def _request(folder: Path, name: str, subject: str, extensions: tuple[str, ...], how: tuple[str, ...]) -> Certificate:
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    added = [part for extension in extensions for part in ("-addext", extension)]
    # An empty configuration: the distribution's would add extensions of its own.
    _openssl("req", "-x509", "-config", "/dev/null", "-nodes", "-days", "3650", "-subj", subject, *added, *how,
             "-out", str(made.certificate), "-keyout", str(made.key))  # fmt: skip
    return made


def _openssl(*arguments: str) -> bytes:
    done = subprocess.run(["openssl", *arguments], capture_output=True)
    if done.returncode:
        raise OSError(f"openssl {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
