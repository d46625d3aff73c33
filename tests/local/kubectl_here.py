"""Stands in for kubectl: claims are folders here, and what a pod would run runs here on the folder of its claim.

Called as `python kubectl_here.py STATE VERB …`. STATE holds claims/, pods/, and status.json, sever; and
deployments.json and the like, which are what it has of a kind.
"""

import json
import subprocess
import sys
from pathlib import Path


def main(state: Path, arguments: list[str]) -> int:
    verb, *rest = [each for each in arguments if not each.startswith(("--namespace", "--output", "--selector"))]
    if verb == "get" and rest[0] == "persistentvolumeclaim":
        return found((state / "claims" / rest[1]).is_dir(), f"persistentvolumeclaims {rest[1]!r}")
    if verb == "get" and (held := state / f"{rest[0].partition('.')[0]}.json").exists():
        print(held.read_text())
        return 0
    if verb == "create":
        manifest = json.load(sys.stdin)
        (state / "pods").mkdir(exist_ok=True)
        (state / "pods" / manifest["metadata"]["name"]).write_text(json.dumps(manifest))
        (state / "created.json").write_text(json.dumps(manifest))
        return 0
    if verb == "get":
        print(json.dumps({"status": json.loads((state / "status.json").read_text())}))
        return 0
    if verb == "delete":
        (state / "pods" / rest[1]).unlink()
        return 0
    assert verb == "exec", arguments
    return execute(state, rest[rest.index("--") - 1], rest[rest.index("-c") + 1 :])


def execute(state: Path, pod: str, command: list[str]) -> int:
    """Runs a script on the pod's claim; where STATE has `sever`, of its input or output only so many bytes arrive."""
    manifest = json.loads((state / "pods" / pod).read_text())
    volumes = {each["name"]: each for each in manifest["spec"]["volumes"]}
    claim = state / "claims" / volumes["volume"]["persistentVolumeClaim"]["claimName"]
    (state / "alive").touch()
    script = command[0].replace("/tmp/alive", str(state / "alive"))  # noqa: S108 - the pod's
    arguments = [each.replace("/volume", str(claim)) for each in command[1:]]
    severed = state / "sever"
    most = int(severed.read_text()) if severed.exists() else None
    sending = len(arguments) == 1
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        input=sys.stdin.buffer.read() if sending else sys.stdin.buffer.read(most),
        stdout=subprocess.PIPE,
        check=False,
    )
    sys.stdout.buffer.write(done.stdout[:most] if sending else done.stdout)
    return done.returncode


def found(there: bool, what: str) -> int:
    if not there:
        print(f"Error from server (NotFound): {what} not found", file=sys.stderr)
    return 0 if there else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
