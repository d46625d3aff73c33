"""The suite: results in, rankings, comparisons, pictures and files out, and back in again."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.benchmark.suite import Suite
from trainer.experiment.errors import UserError

MEANS = {"json none": 2.2, "avro lz4": 1.0, "json lz4": 2.4, "avro none": 0.9}


def a_suite(runs: int = 30, seed: int = 0) -> Suite:
    """Load times as they are: skewed, now and then one far off."""
    rng = random.Random(seed)
    suite = Suite("loadSeconds", unit="s")
    for treatment, mean in MEANS.items():
        suite.add(treatment, *(mean * rng.lognormvariate(0, 0.05) for _ in range(runs)))
    return suite


def test_treatments_are_ranked_by_their_mean_and_measured_by_the_best() -> None:
    found = a_suite().findings()
    assert [(each.rank, each.name) for each in found.treatments] == [
        (1, "avro none"),
        (2, "avro lz4"),
        (3, "json none"),
        (4, "json lz4"),
    ]
    best, *others = found.treatments
    assert (best.ratio, best.differs) == (None, None)
    for each in others:
        assert each.ratio is not None
        low, high = each.ratio.ends
        assert low < MEANS[each.name] / MEANS["avro none"] < high
        assert each.differs


def test_where_more_is_better_the_greatest_mean_comes_first() -> None:
    suite = Suite("messagesPerSecond", unit="messages/s", better="Maximize")
    suite.add("slow", 10.0, 11.0)
    suite.add("fast", 20.0, 22.0)
    assert [each.name for each in suite.analyse()] == ["fast", "slow"]


def test_results_may_come_one_at_a_time_and_in_any_order() -> None:
    whole = a_suite(5)
    piecewise = Suite("loadSeconds", unit="s")
    for i in range(5):
        for treatment in MEANS:
            piecewise.add(treatment, whole.samples[treatment].values[i])
    assert piecewise == whole


def test_a_treatment_that_lacks_a_run_is_compared_but_has_no_rank() -> None:
    suite = a_suite(5)
    suite.leave_out("avro none", "trial 7", "Crashed")
    *_, last = found = suite.findings().treatments
    assert (last.name, last.rank, last.differs is not None) == ("avro none", None, True)
    assert [each.rank for each in found] == [1, 2, 3, None]
    assert last.sample.left_out[0].reason == "Crashed"


def test_a_treatment_without_any_result_is_named_and_not_drawn() -> None:
    suite = a_suite(5)
    suite.leave_out("avro none", "trial 7", "Crashed")
    suite.leave_out("parquet", "trial 9", "TimedOut")
    found = suite.findings()
    assert [each.name for each in found.treatments][-1] == "parquet"
    assert "parquet" not in [each.name for each in found.compared]


def test_a_result_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        a_suite(2).add("avro none", float("nan"))


def test_an_exported_suite_is_imported_as_it_was_and_finds_the_same(tmp_path: Path) -> None:
    suite = a_suite(6)
    suite.add("with parameters", 1.0, 1.25, parameters={"data.format": "Avro", "data.window": 60})
    suite.leave_out("avro none", "trial 7", "Crashed")
    suite.export(tmp_path / "suite.json")
    again = Suite.imported(tmp_path / "suite.json")
    assert again == suite
    again.export(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "suite.json").read_bytes()


def test_an_exported_suite_says_how_its_figures_come_about(tmp_path: Path) -> None:
    a_suite(5).export(tmp_path / "suite.json")
    found = json.loads((tmp_path / "suite.json").read_text())
    assert found["schema"] == 1
    method = found["findings"]["method"]
    assert (method["confidence"], method["correction"], method["resamples"]) == (0.95, "Holm", 9999)
    first = found["findings"]["treatments"][0]
    assert (first["sample"]["treatment"], first["box"]["n"]) == ("avro none", 5)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "must be an exported suite"), ('{"schema": 2}', "must be an exported")]
)
def test_what_is_no_suite_is_refused_with_its_path(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as refusal:
        Suite.imported(path)
    assert str(path) in str(refusal.value)
    with pytest.raises(UserError, match="cannot be read"):
        Suite.imported(tmp_path / "missing.json")


def test_the_pictures_are_png_files_of_every_treatment(tmp_path: Path) -> None:
    paths = a_suite(5).draw(tmp_path / "pictures")
    assert [path.name for path in paths] == ["box-plots.png", "means.png"]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert Suite("loadSeconds").draw(tmp_path) == []


def test_pictures_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        a_suite(2).draw(tmp_path / "file")


@pytest.mark.slow
def test_the_example_in_the_documents_runs(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (example,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "statistics.md").read_text(), re.DOTALL)
    (tmp_path / "runs" / "loading").mkdir(parents=True)
    a_suite(2).export(tmp_path / "runs" / "loading" / "statistics.json")
    before = "loaders = {name: lambda: [b'{}'] for name in ('json lz4', 'json none')}\ndef decode(messages): pass\n"
    done = subprocess.run(
        [sys.executable, "-c", before + example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pictures" / "box-plots.png").exists()


@pytest.mark.parametrize("module", ["suite", "box_plot", "findings", "intervals", "text", "drawing"])
def test_each_part_is_imported_alone_and_without_heavy_libraries(module: str) -> None:
    code = (
        f"import sys, trainer.benchmark.{module}\n"
        "heavy = {'torch', 'numpy', 'scipy', 'statsmodels', 'pandas', 'matplotlib'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
