"""Writes what follows from the models: crds/, the tables of docs/reference.md, and the JSON Schema for editors.

With --check it writes nothing, and says which of them is not what the models say.
"""

import argparse
import sys
from pathlib import Path

from scripts.generate import crds, reference
from trainer.commands import schema

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    """Writes or compares; 1 if a file differs."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.generate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="only compare")
    options = parser.parse_args(arguments)
    stale = [(name, text) for name, text in _files().items() if _read(name) != text]
    for name, text in stale:
        if options.check:
            print(f"{name} is not what the models say: run make generate", file=sys.stderr)
        else:
            (ROOT / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if stale and options.check else 0


def _files() -> dict[str, str]:
    return {**dict(crds.files()), reference.PAGE: reference.page(ROOT), "docs/experiment.schema.json": schema.text()}


def _read(name: str) -> str | None:
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
