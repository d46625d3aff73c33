"""How names, numbers, times and error texts are written for people, in the terminal and on the page alike."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from trainer.experiment.redact import redacted
from trainer.experiment.spec import Scalar

_LONG = 12  # characters of a number


def number(value: float) -> str:
    """A measured figure, to five significant digits; what was counted, such as bytes, whole."""
    return f"{value:.0f}" if 1e5 <= abs(value) < 2**53 and float(value).is_integer() else f"{value:.5g}"


def setting(value: Scalar) -> str:
    """A parameter's value, spelt as the file spells it; text without its quotes."""
    return one_line(value) if isinstance(value, str) else json.dumps(value)


def brief(value: Scalar) -> str:
    """The same where many stand beside each other: of the digits of a number that was suggested, the first six."""
    text = setting(value)
    return f"{value:.6g}" if isinstance(value, float) and len(text) > _LONG else text


def settings(parameters: Mapping[str, Scalar], names: Mapping[str, str]) -> str:
    """Parameters in one line: learningRate 0.001  hiddenSize 64. `names` maps a path to its short name."""
    return "  ".join(f"{names.get(path, path)} {brief(value)}" for path, value in parameters.items())


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each path's last part, or the whole path where two would read the same."""
    paths = list(paths)
    last = Counter(path.rpartition(".")[2] for path in paths)
    return {path: short if last[short := path.rpartition(".")[2]] == 1 else path for path in paths}


def duration(seconds: float) -> str:
    """A measured time: 0.42 s, 41.2 s, 3 min 07 s, 2 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def clock(seconds: float) -> str:
    """A time that counts down, in whole seconds rounded up: 0:00:03."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def memory(size: float) -> str:
    """Bytes, in binary units: 412 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def count(amount: int, noun: str) -> str:
    """1 trial, 18 trials."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """The parts as a sentence names them: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def at_once(slots: int) -> str:
    """How many trials run at the same time."""
    return "one at a time" if slots == 1 else f"{slots} at once"


def one_line(text: str, limit: int = 1000) -> str:
    """`text` without secrets, line breaks and anything else that a terminal might obey."""
    line = " ".join("".join(c if c.isprintable() else " " for c in redacted(text)).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
