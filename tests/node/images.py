"""Gets images onto the node: built by scripts/images, and imported where the node has others or none."""

import json
import os
import subprocess
from pathlib import Path

from cluster.programs import build
from node.place import PAUSE, ROOT, Place

DOCKERFILE_OF_PAUSE = 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n'

# The name of each image on the node, and its id in buildah's store.
Images = dict[str, str]


def built(place: Place) -> Images:
    """Builds operator, trainer and pause on a base of Debian's packages. What has not changed is not built again."""
    environment = os.environ | {"BASE": "stand-in", "BUILDER": "buildah", "REGISTRY": ""}
    said = _run([str(ROOT / "scripts" / "images"), "build"], environment=environment)
    images = {f"docker.io/{name}": image for name, image in (line.split() for line in said.splitlines())}
    pause = build.program("pause")
    options = ["bud", "--quiet", "--layers", "--timestamp", "0", "--file", "-", str(pause.parent)]
    return images | {PAUSE: _run(_buildah(place, *options), stdin=DOCKERFILE_OF_PAUSE).split()[-1]}


def bring(place: Place, images: Images) -> list[str]:
    """Imports what the node doesn't have, by names and ids; gives the names of what was imported."""
    known = _known(place)
    missing = {name: image for name, image in images.items() if known.get(name) != image}
    for name, image in missing.items():
        archive = place.state / "image.tar"
        # Layers as they are: to compress them, only to expand them at once, takes minutes.
        _run(_buildah(place, "push", "--quiet", "--disable-compression", image, f"docker-archive:{archive}:{name}"))
        _ctr(place, "images", "import", str(archive))
        archive.unlink()
        known[name] = image
        _record(place).write_text(json.dumps(known))
    if missing:
        _forget_old(place)
    return list(missing)


def labels(place: Place, name: str) -> dict[str, str]:
    """The labels of an image that was built."""
    said = json.loads(_run(_buildah(place, "inspect", "--type", "image", name)))
    found: dict[str, str] = said["OCIv1"]["config"]["Labels"]
    return found


def _forget_old(place: Place) -> None:
    """An image that has lost its name goes on under its digest, with all its layers, until that is deleted too."""
    listed = [line.split() for line in _ctr(place, "images", "ls").splitlines()[1:]]
    named = {fields[2] for fields in listed if not fields[0].startswith("sha256:")}
    old = [fields[0] for fields in listed if fields[0].startswith("sha256:") and fields[2] not in named]
    if old:
        _ctr(place, "images", "rm", *old)


def _ctr(place: Place, *arguments: str) -> str:
    return _run(["ctr", "--address", str(place.containerd_socket), "--namespace", "k8s.io", *arguments])


def _known(place: Place) -> Images:
    try:
        known: Images = json.loads(_record(place).read_text())
    except FileNotFoundError:
        return {}
    return known


def _record(place: Place) -> Path:
    return place.containerd_root / "imported.json"


def _buildah(place: Place, *arguments: str) -> list[str]:
    return ["buildah", "--root", str(place.image_store), *arguments]


def _run(command: list[str], *, stdin: str = "", environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, input=stdin, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout
