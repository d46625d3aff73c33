"""Where MLflow is and how it is asked, as MLflow's own variables say it. The only reader of `os.environ` here."""

import base64
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

URI = "MLFLOW_TRACKING_URI"
_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Address:
    """`url` has no credentials and no slash last; `authorization` is the header's value, empty for none.

    `secrets` are what must never be shown. `insecure` takes any certificate.
    """

    url: str
    authorization: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    insecure: bool = False

    def hidden(self, text: str) -> str:
        """`text` with `***` for each secret in it."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def from_environment(environment: Mapping[str, str] = os.environ) -> Address | None:
    """Where MLflow is; None where no variable says it.

    A user name and a password come before a token, as with MLflow's own client, and before those in the address.

    Raises:
        ValueError: the address can't be used; a sentence without credentials.
    """
    text = environment.get(URI, "").strip()
    if not text:
        return None
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{URI}: must be a URL such as http://mlflow.example:5000, got none") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        scheme = f"one of {parts.scheme}" if parts.scheme and len(parts.scheme) < 20 else "something else"
        raise ValueError(
            f"{URI}: must be the http or https address of an MLflow server, such as http://mlflow.example:5000, for "
            f"trials to be told, got {scheme}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{parts.path.rstrip('/')}"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{URI}: must be a URL of ASCII characters without spaces, got others")
    user = environment.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(parts.username or "")
    password = environment.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(parts.password or "")
    token = environment.get("MLFLOW_TRACKING_TOKEN", "").strip()
    authorization = ""
    if user and password:
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    elif token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("MLFLOW_TRACKING_TOKEN: must be ASCII characters without spaces, got others")
        authorization = f"Bearer {token}"
    secrets = (password, token, authorization.partition(" ")[2], urllib.parse.quote(password, safe=""))
    return Address(
        url=url,
        authorization=authorization,
        secrets=tuple(dict.fromkeys(each for each in secrets if each)),
        insecure=environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"),
    )


def experiment_name(default: str, environment: Mapping[str, str] = os.environ) -> str:
    """The MLflow experiment that runs go to."""
    return environment.get("MLFLOW_EXPERIMENT_NAME") or default
