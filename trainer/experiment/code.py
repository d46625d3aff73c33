"""The files of a program's code as a ConfigMap holds them, and the hash by which records know them. Pure."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

MOST_BYTES = 2**20  # of all files of a ConfigMap
HASH_DIGITS = 12
# A ConfigMap's keys have no /, so two dots stand for it.
_SLASH = ".."
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def key(path: str) -> str:
    """The key under which a ConfigMap has a file; `path` is relative, with / between its parts.

    Raises:
        ValueError: there is none.
    """
    found = path.replace("/", _SLASH)
    if _SLASH in path or not _KEY.fullmatch(found):
        raise ValueError(
            f"must have paths of at most 253 letters, digits, '-', '_', '.' and '/', without two dots in a row, got "
            f"{path}: a ConfigMap takes no other"
        )
    return found


def path(key: str) -> str:
    """Where the file of a key lies."""
    return key.replace(_SLASH, "/")


def require_room(sizes: Mapping[str, int]) -> None:
    """Raises ValueError where files of so many bytes, by their paths, are more than a ConfigMap holds."""
    size = sum(sizes.values())
    if size > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"must have at most {MOST_BYTES} bytes of code, which is what a ConfigMap holds, got {size}; the largest "
            f"file is {largest} with {sizes[largest]}. Put the code into an image, or data onto a volume"
        )


def config_map(files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """What a ConfigMap of these files holds, by their paths.

    Raises:
        ValueError: it can't hold them.
    """
    require_room({name: len(content) for name, content in files.items()})
    found: dict[str, dict[str, str]] = {"data": {}, "binaryData": {}}
    for name, content in files.items():
        try:
            found["data"][key(name)] = content.decode()
        except UnicodeDecodeError:
            found["binaryData"][key(name)] = base64.b64encode(content).decode()
    return {part: texts for part, texts in found.items() if texts}


def files(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that a ConfigMap holds, by their paths."""
    texts = {path(name): text.encode() for name, text in (document.get("data") or {}).items()}
    others = {path(name): base64.b64decode(text) for name, text in (document.get("binaryData") or {}).items()}
    return texts | others


def digest(files: Mapping[str, bytes]) -> str:
    """The hash of all files with their paths: the same here and on a cluster."""
    return combined((name, hashlib.sha256(files[name]).hexdigest()) for name in sorted(files))


def combined(hashes: Iterable[tuple[str, str]]) -> str:
    """One hash of the names and hashes of several files, in their order."""
    whole = hashlib.sha256()
    for name, content in hashes:
        whole.update(f"{name}\0{content}\0".encode())
    return whole.hexdigest()[:HASH_DIGITS]
