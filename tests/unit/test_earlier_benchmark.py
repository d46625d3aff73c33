"""The page for users of the earlier benchmark module: each of its names has a counterpart, and each example runs."""

import inspect
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

import trainer.benchmark
from trainer.benchmark.box_plot import box_plot
from trainer.benchmark.drawing import draw, draw_means
from trainer.benchmark.suite import Suite
from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.load import read
from trainer.experiment.spec import HyperparamSearch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-the-benchmark-module.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
TIMES = {"avro_lz4": [1.2, 1.3, 1.25], "json_none": [3.3, 3.2, 3.45]}
# The keys of what the earlier function returned for a sample, beside ours, and what they are of SAMPLE.
SAMPLE = [4.0, 0.0, 2.0, 10.0, 4.0]
BOX_PLOT_KEYS = [
    ("count", "n", 5), ("min", "min", 0), ("q1", "q1", 2), ("median", "median", 4), ("q3", "q3", 4),
    ("max", "max", 10), ("iqr", "iqr", 2), ("lower_fence", "low_fence", -1), ("upper_fence", "high_fence", 7),
    ("upper_outliers", "outliers", (10,)), ("mean", "mean", 4), ("variance", "variance", 14),
    ("std_dev", "deviation", 14**0.5),
]  # fmt: skip
PATHS = str | os.PathLike[str]


def a_suite() -> Suite:
    suite = Suite("loading", unit="s")
    for name, times in TIMES.items():
        suite.add(name, *times)
    return suite


def example_with(word: str) -> str:
    (found,) = (each for each in EXAMPLES if word in each)
    return found


def printed(example: str) -> str:
    """What an example writes to the terminal, run as a script is."""
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(example, "example", "exec"), {"__name__": "__main__"})  # noqa: S102
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a user: with a file of the earlier module, and the statistics of a run."""
    monkeypatch.chdir(tmp_path)
    Path("experiment_results.json").write_text(json.dumps({"raw_results": TIMES, "statistical_analysis": {}}))
    a_suite().export("runs/loading/statistics.json")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.splitlines()[-1][:40] for each in EXAMPLES])
def test_each_example_on_the_page_runs_as_it_stands(example: str, folder: Path) -> None:
    assert printed(example) or list(folder.glob("*_now.json"))


def test_a_block_and_its_laps_are_timed() -> None:
    assert re.fullmatch(r"summing took \d+\.\d{3} s\n", printed(example_with("summing")))
    batches, laps = printed(example_with("loader")).splitlines()
    assert batches.startswith("3 batches, ")
    assert laps == "['wait', 'work']"


def test_a_box_plot_is_that_of_the_example() -> None:
    assert printed(example_with("import box_plot")) == "5 1.29 1.3 1.31 (2.1,)\n"


@pytest.mark.parametrize(("earlier", "ours", "value"), BOX_PLOT_KEYS)
def test_each_figure_of_the_earlier_box_plot_is_there_and_named_on_the_page(
    earlier: str, ours: str, value: float
) -> None:
    assert getattr(box_plot(SAMPLE), ours) == pytest.approx(value)
    assert re.search(rf"\| `[^|]*\b{earlier}\b[^|]*` \| (`{ours}`|the same)", PAGE)


def test_the_suite_prints_what_the_page_shows(folder: Path) -> None:
    said = printed(example_with("json none"))
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert shown in said
    assert "Pairs: the mean loading in s of A against that of B" in said
    assert (folder / "pictures" / "box-plots.png").stat().st_size > 1000
    assert (folder / "results" / "suite.json").exists()


@pytest.mark.usefixtures("folder")
def test_a_file_of_the_earlier_module_becomes_a_suite() -> None:
    printed(example_with("raw_results"))
    assert Suite.imported("experiment_results_now.json") == a_suite()


def test_ranks_that_were_counted_apart_are_joined_as_the_page_says() -> None:
    (call,) = re.findall(r"`(suite\.add\(name, \*map.*?)`", PAGE)
    suite, times = Suite("loading"), [1.0, 3.0, 2.0, 5.0, 4.0, 6.0]
    exec(call, {"suite": suite, "name": "avro", "times": times})  # noqa: S102
    assert suite.samples["avro"].values == (3.0, 6.0)


@pytest.mark.usefixtures("folder")
def test_the_statistics_of_a_run_are_what_the_earlier_loop_returned() -> None:
    said = printed(example_with("runs/loading/statistics.json"))
    assert all(f"{name} {tuple(times)}" in said for name, times in TIMES.items())


@pytest.mark.parametrize(
    "name",
    [
        "PerformanceTimer", "elapsed", "get_elapsed_time", "time_operation", "time_dataloader_iteration",
        "calculate_boxplot_stats", "BenchmarkSuite", "add_results", "run_analysis", "generate_comparison",
        "create_visualizations", "export_results", "analyze_experiment_results", "compare_experiments",
        "print_detailed_stats", "print_comparison_results", "print_experiment_summary",
        "create_performance_visualization", "save_results_to_file", "load_results_from_file", "exp_fn",
        "run_multiple_experiments", "initialize_distributed_training", "DistributedDataFetcher",
        "validate_experiment_config", "EXAMPLE_TRAINING_CONFIG", "EXAMPLE_KAFKA_CONFIG", "EXAMPLE_DATA_LOADER_CONFIG",
        "EXPERIMENT_CONFIGS",
    ],
)  # fmt: skip
def test_each_name_of_the_earlier_module_is_in_the_table(name: str) -> None:
    rows = [line for line in PAGE.partition("## Timing")[0].splitlines() if line.startswith("| ")]
    assert [row for row in rows if re.search(rf"\b{name}\b", row.split("|")[1])], name


def test_the_links_of_the_table_lead_to_headings() -> None:
    headings = {
        re.sub(r"[^a-z -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^## (.+)", PAGE, re.M)
    }
    assert set(re.findall(r"\]\(#([a-z-]+)\)", PAGE)) <= headings


def test_the_example_configurations_are_one_file_with_their_figures(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path / "loading.yaml"
    path.write_text(text)
    experiment = read(path)
    assert isinstance(experiment, HyperparamSearch)
    trials = expand(experiment)
    assert len(trials) == 4 * 30
    four = {(t.parameters["data.format"], t.parameters["data.compression"]) for t in trials}
    assert four == {("Avro", "LZ4"), ("Avro", "None"), ("JSON", "LZ4"), ("JSON", "None")}
    training = trials[0].training
    assert training.data.ranges == ("0:0:19999", "1:0:19999", "2:0:19999")
    assert [split.rate for split in training.data.split] == [0.85715, 0.071425, 0.071425]
    assert (training.train.batch_size, training.train.epochs, trials[0].workers) == (192, 1, 3)


def functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every public function and method of the package, by its name."""
    for module in pkgutil.iter_modules(trainer.benchmark.__path__):
        found = import_module(f"trainer.benchmark.{module.name}")
        for name, value in vars(found).items():
            if name.startswith("_") or getattr(value, "__module__", "") != found.__name__:
                continue
            if inspect.isfunction(value):
                yield f"{module.name}.{name}", value
            elif inspect.isclass(value):
                for method, function in inspect.getmembers(value, callable):
                    if not method.startswith("_") and getattr(function, "__module__", "") == found.__name__:
                        yield f"{module.name}.{name}.{method}", function


def paths_taken() -> dict[str, object]:
    """Each parameter of a public function that is a path, with what it takes."""
    return {
        f"{name}({parameter})": hint
        for name, function in functions()
        for parameter, hint in typing.get_type_hints(function).items()
        if parameter != "return" and ("Path" in str(hint) or parameter in ("path", "folder", "file"))
    }


def test_each_path_that_a_public_function_takes_may_be_text() -> None:
    found = paths_taken()
    assert set(found) == {
        "drawing.draw(folder)",
        "drawing.draw_means(path)",
        "suite.Suite.draw(folder)",
        "suite.Suite.export(path)",
        "suite.Suite.imported(path)",
    }
    assert {name: hint for name, hint in found.items() if hint != PATHS} == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, Path])
def test_text_and_paths_lead_to_the_same_files(kind: Callable[[Path], PATHS], tmp_path: Path) -> None:
    suite, found = a_suite(), a_suite().findings()
    assert suite.draw(kind(tmp_path / "a")) == [tmp_path / "a" / "box-plots.png", tmp_path / "a" / "means.png"]
    assert draw(found, kind(tmp_path / "b")) == [tmp_path / "b" / "box-plots.png", tmp_path / "b" / "means.png"]
    means = [(each.name, each.mean) for each in found.treatments if each.mean is not None]
    assert draw_means(found.quantity, means, kind(tmp_path / "c.png")) == tmp_path / "c.png"
    suite.export(kind(tmp_path / "suite.json"))
    assert Suite.imported(kind(tmp_path / "suite.json")) == suite


def test_a_file_that_cannot_be_written_or_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"findings": 1}')
    for act in (
        lambda: a_suite().export(str(tmp_path / "file" / "suite.json")),
        lambda: Suite.imported(str(tmp_path)),
        lambda: Suite.imported(str(tmp_path / "missing")),
        lambda: Suite.imported(str(tmp_path / "file")),
    ):
        with pytest.raises(UserError, match=re.escape(str(tmp_path))) as refusal:
            act()
        assert "\n" not in str(refusal.value)


WITHOUT = """
import sys
sys.modules[{package!r}] = None
from trainer.benchmark.suite import Suite
from trainer.experiment.errors import UserError
suite = Suite("loading", unit="s")
suite.add("a", 1.0, 2.0, 3.0)
suite.add("b", 2.0, 3.5, 4.0)
for call in (suite.analyse, suite.compare, suite.findings, suite.text):
    try:
        call()
    except UserError as error:
        print(call.__name__, error)
for call in (suite.draw, suite.export):
    try:
        call("made")
    except UserError as error:
        print(call.__name__, error)
"""
SCIPY = ["analyse", "compare", "findings", "text", "draw", "export"]


@pytest.mark.parametrize(
    ("package", "calls", "what", "extra"),
    [
        ("scipy", SCIPY, "comparing treatments", "statistics"),
        ("statsmodels", SCIPY[1:], "comparing treatments", "statistics"),
        ("matplotlib", ["draw"], "drawing", "statistics"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_has_it(
    package: str, calls: list[str], what: str, extra: str, tmp_path: Path
) -> None:
    advice = f"install it with `pip install 'trialrun[{extra}]'`"
    sentence = f"{what}: the package {package} is required, found none; {advice}"
    assert script(WITHOUT.format(package=package), tmp_path).splitlines() == [f"{call} {sentence}" for call in calls]


def script(code: str, folder: Path) -> str:
    """What a script in a folder of a user's says."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_timing_box_plots_and_results_need_no_extra(tmp_path: Path) -> None:
    code = """
import sys
for package in ("numpy", "scipy", "statsmodels", "matplotlib", "pandas", "torch"):
    sys.modules[package] = None
from trainer.benchmark.box_plot import box_plot
from trainer.benchmark.suite import Suite
from trainer.benchmark.timer import Timer
with Timer() as timer:
    box = box_plot([1, 2, 4])
suite = Suite("x")
suite.add("a", timer.seconds)
print(box.median, [each.name for each in suite.analyse()])
"""
    assert script(code, tmp_path) == "2.0 ['a']\n"


def test_a_suite_prints_runs_without_a_result_and_a_suite_without_any() -> None:
    suite = a_suite()
    suite.leave_out("json_none", "run 7", "TimedOut")
    suite.leave_out("parquet", "run 1", "Crashed")
    said = suite.text()
    assert "  Runs without a result\n    run 7 of json_none: TimedOut\n    run 1 of parquet: Crashed" in said
    assert re.search(r"– +json_none +3 of 4 ", said)
    assert Suite("loading").text() == "  No run measured loading."


@pytest.mark.parametrize("number", ["float32", "float64", "int32"])
def test_results_may_be_numbers_of_numpys(number: str) -> None:
    np = import_module("numpy")
    suite = Suite("loading")
    suite.add("a", *getattr(np, number)([1, 2, 3]))
    assert suite.samples["a"].values == (1.0, 2.0, 3.0)
    assert {type(value) for value in suite.samples["a"].values} == {float}
