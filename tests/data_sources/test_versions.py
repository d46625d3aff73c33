"""Sets in a cache that version 0.1 and this one share: either reads what the other wrote; none is built twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_sources.builders import csv_lines, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.experiment.training import LATER, Data
from version_0_1 import Version01

# Prepares the sets in a cache and prints each one's folder, its hash and how many samples it has.
PREPARES = """
import json, sys
from pathlib import Path
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.experiment.training import Data
for line in sys.stdin:
    found = open_dataset(prepare(Data.model_validate_json(line), Path(sys.argv[1])))
    counts = [len(part) for part in (found.train, found.valid, found.test)]
    print(json.dumps([found.path.name, found.manifest.hash, counts]))
"""


@pytest.fixture
def sets(tmp_path: Path) -> list[Data]:
    """Sets of every source that needs no network, as 0.1 could ask for them."""
    rows = str(write_csv(tmp_path / "rows.csv", csv_lines(300)))
    arrays = tmp_path / "arrays.npz"
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((120, 4, 2)).astype(np.float32), draw.standard_normal(120).astype(np.float32)
    np.savez(arrays, X_train=x[:80], y_train=y[:80], X_val=x[80:100], y_val=y[80:100], X_test=x[100:], y_test=y[100:])
    csv: dict[str, Any] = {"source": "csv", "path": rows, "window": 5}
    return [
        some_data(),
        some_data(valid_fraction=0.2, normalize="ZScore"),
        some_data(source="sp500", rows=1258, window=60),
        some_data(**csv),
        some_data(**csv, task="Classification", classes=3),
        some_data(**csv, columns=("Open", "Close"), target="Open"),
        some_data(source="npz", path=str(arrays), window=4, columns=("a", "b"), normalize="None"),
    ]


def files(cache: Path) -> dict[str, int]:
    """When each file was written, but for what this version notes beside a set."""
    found = (path for path in cache.glob("*/*") if path.name not in ("stamps.json", "concerns.json"))
    return {f"{path.parent.name}/{path.name}": path.stat().st_mtime_ns for path in found}


def prepared(data: Data, cache: Path) -> list[Any]:
    found = open_dataset(prepare(data, cache))
    return [found.path.name, found.manifest.hash, [len(part) for part in (found.train, found.valid, found.test)]]


def prepared_by_0_1(version_0_1: Version01, sets: list[Data], cache: Path) -> list[Any]:
    told = []
    for data in sets:
        document = data.document()
        for name in LATER["data"]:
            del document[str(Data.model_fields[name].alias)]
        told.append(json.dumps(document))
    done = version_0_1.python("-c", PREPARES, cache, stdin="\n".join(told))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("first", ["0.1", "0.2"])
def test_either_version_takes_the_sets_that_the_other_built(
    version_0_1: Version01, sets: list[Data], first: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    if first == "0.1":
        before = prepared_by_0_1(version_0_1, sets, cache)
        written = files(cache)
        after = [prepared(data, cache) for data in sets]
    else:
        before = [prepared(data, cache) for data in sets]
        written = files(cache)
        assert {path.name for path in cache.glob("*/*.json")} >= {"manifest.json", "stamps.json", "concerns.json"}
        after = prepared_by_0_1(version_0_1, sets, cache)
    assert before == after
    assert len({name for name, _, _ in before}) == len(sets)
    assert files(cache) == written, "none was built again"
    assert prepared_by_0_1(version_0_1, sets, cache) == [prepared(data, cache) for data in sets] == before


def test_a_set_that_0_1_could_not_have_asked_for_has_a_name_of_its_own(
    version_0_1: Version01, tmp_path: Path
) -> None:
    rows = str(write_csv(tmp_path / "rows.csv", csv_lines(300)))
    cache, csv = tmp_path / "cache", {"source": "csv", "path": rows, "window": 5}
    ((of_0_1, *_),) = prepared_by_0_1(version_0_1, [some_data(**csv)], cache)
    for more in ({"features": "Changes"}, {"predict": "Difference"}, {"lookback": "Past"}):
        assert prepared(some_data(**csv, **more), cache)[0] != of_0_1
