"""An interrupted training goes on as if nothing had happened, and never from what is not its own."""

import ast
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from train.builders import a_training, dataset_of, history_in, same_tensors, train_alone, without_times
from train.ranks import Interrupted, on_ranks, run_all, run_interrupted
from trainer.experiment.outcome import Outcome
from trainer.experiment.training import Training
from trainer.training.checkpoint import CHECKPOINT, Checkpoints, Saver, TrainingProgress, save_tensors
from trainer.training.distributed import Ranks
from trainer.training.loop import Result, copy
from trainer.training.models import build
from trainer.training.optimize import Optimizer
from trainer.training.trial import WEIGHTS

_EPOCHS = 5


def a_long_training(**train: Any) -> Training:
    """One whose every part has a state: dropout, moments, a best epoch before its last."""
    return a_training(
        model={"dropout": 0.3, "layers": 2, "hiddenSize": 12},
        train={"epochs": _EPOCHS, "checkpointEvery": 1, "learningRate": 0.05, "batchSize": 25, **train},
    )


def stop_in(epoch: int) -> Any:
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Interrupted

    return on_epoch


def interrupted_in(epoch: int, training: Training, cache: Path, folder: Path) -> Result:
    """Stops before the checkpoint of `epoch` is written, then trains to the end."""
    with pytest.raises(Interrupted):
        train_alone(training, cache, checkpoints=Checkpoints(folder), on_epoch=stop_in(epoch))
    return train_alone(training, cache, checkpoints=Checkpoints(folder))


def assert_same(one: Result, other: Result) -> None:
    assert same_tensors(one.weights, other.weights)
    assert without_times(one.progress.history) == without_times(other.progress.history)
    assert (one.progress.best_epoch, one.progress.best_loss) == (other.progress.best_epoch, other.progress.best_loss)
    assert (one.valid, one.test) == (other.valid, other.test)


def epochs_trained(training: Training, cache: Path, folder: Path) -> list[float]:
    """Those that were trained now, not taken up from a checkpoint."""
    seen = []
    train_alone(training, cache, checkpoints=Checkpoints(folder), on_epoch=lambda row: seen.append(row["epoch"]))
    return seen


@pytest.mark.parametrize("epoch", range(1, _EPOCHS + 1))
def test_a_training_interrupted_in_any_epoch_ends_with_the_same_bits(epoch: int, cache: Path, tmp_path: Path) -> None:
    training = a_long_training()
    undisturbed = train_alone(training, cache)
    assert_same(interrupted_in(epoch, training, cache, tmp_path), undisturbed)
    assert undisturbed.progress.best_epoch == 3


@pytest.mark.parametrize(
    "train",
    [
        {"optimizer": "SGD", "momentum": 0.9},
        {"optimizer": "AdamW", "weightDecay": 0.1, "precision": "Float64"},
        {"checkpointEvery": 2},
    ],
    ids=str,
)
def test_so_does_one_with_other_state_or_rarer_checkpoints(train: Any, cache: Path, tmp_path: Path) -> None:
    training = a_long_training(**train)
    assert_same(interrupted_in(4, training, cache, tmp_path), train_alone(training, cache))


@pytest.mark.parametrize("kind", ["LSTM", "Transformer"])
def test_so_does_every_kind_of_model(kind: str, cache: Path, tmp_path: Path) -> None:
    training = a_training(
        model={"kind": kind, "dropout": 0.3, "layers": 2}, train={"epochs": 3, "checkpointEvery": 1, "batchSize": 50}
    )
    assert_same(interrupted_in(3, training, cache, tmp_path), train_alone(training, cache))


def test_only_the_epochs_after_the_checkpoint_are_trained_again(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_alone(a_long_training(), cache, checkpoints=Checkpoints(tmp_path), on_epoch=stop_in(4))
    assert epochs_trained(a_long_training(), cache, tmp_path) == [4, 5]
    assert epochs_trained(a_long_training(), cache, tmp_path) == []


def test_a_training_that_patience_has_stopped_is_not_taken_up_again(cache: Path, tmp_path: Path) -> None:
    training = a_long_training(epochs=50, patience=2, optimizer="SGD", learningRate=1e-300)
    stopped = train_alone(training, cache, checkpoints=Checkpoints(tmp_path))
    assert stopped.progress.epoch == 3
    assert epochs_trained(training, cache, tmp_path) == []
    assert_same(train_alone(training, cache, checkpoints=Checkpoints(tmp_path)), stopped)


def test_without_checkpoint_every_nothing_is_saved(cache: Path, tmp_path: Path) -> None:
    train_alone(a_training(), cache, checkpoints=Checkpoints(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [{"learningRate": 0.01}, {"epochs": 6}, {"seed": 1}, {"batchSize": 24}],
    ids=str,
)
def test_the_checkpoint_of_another_training_is_not_taken_up(
    other: Any, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_alone(a_long_training(**other), cache, checkpoints=Checkpoints(tmp_path))
    assert epochs_trained(a_long_training(), cache, tmp_path) == [1, 2, 3, 4, 5]
    said = capsys.readouterr().err
    assert said == f"trialrun: {tmp_path / CHECKPOINT} belongs to another training and is not taken up\n"


def test_an_attempt_goes_on_from_the_latest_earlier_one_and_leaves_its_folder_alone(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = a_long_training()
    for folder, epoch in (("1", 2), ("2", 4)):
        with pytest.raises(Interrupted):
            train_alone(training, cache, checkpoints=Checkpoints(tmp_path / folder), on_epoch=stop_in(epoch))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    places = Checkpoints(tmp_path / "3", (tmp_path / "2", tmp_path / "1"))
    resumed = train_alone(training, cache, checkpoints=places)
    assert capsys.readouterr().err == "trialrun: goes on after epoch 3\n"
    assert resumed.resumed_from == 3
    assert {path: path.read_bytes() for path in before} == before
    undisturbed = train_alone(training, cache)
    assert undisturbed.resumed_from == 0
    assert_same(resumed, undisturbed)


def test_where_the_latest_is_damaged_the_one_before_serves(cache: Path, tmp_path: Path) -> None:
    training = a_long_training()
    with pytest.raises(Interrupted):
        train_alone(training, cache, checkpoints=Checkpoints(tmp_path / "1"), on_epoch=stop_in(3))
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / CHECKPOINT).write_bytes((tmp_path / "1" / CHECKPOINT).read_bytes()[:-1])
    places = Checkpoints(tmp_path / "3", (tmp_path / "2", tmp_path / "1"))
    resumed = train_alone(training, cache, checkpoints=places)
    assert resumed.resumed_from == 2
    assert_same(resumed, train_alone(training, cache))


class Disk:
    """A clock, and a disk on which each checkpoint takes its time."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds, self.saves = 0.0, seconds, list[float]()

    def __call__(self) -> float:
        return self.now

    def save(self, *_: Any, **__: Any) -> None:
        self.saves.append(self.now)
        self.now += self.seconds


@pytest.mark.parametrize(("seconds", "between"), [(0.01, 5), (1.0, 20)], ids=["a quick disk", "a slow disk"])
def test_by_the_clock_saving_is_rare_and_takes_a_twentieth_of_the_time_at_most(
    seconds: float, between: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(seconds)
    monkeypatch.setattr("trainer.training.checkpoint.save_tensors", disk.save)
    training = a_long_training(checkpointEvery=0)
    model = build(training.model, window=5, features=5, outputs=1)
    optimizer = Optimizer(training.train, model.parameters(), 0.1)
    saver = Saver(Checkpoints(tmp_path, every_seconds=5.0), training, "data", Ranks(), clock=disk)
    for epoch in range(1, 1001):
        disk.now += 0.25
        saver.epoch_ended(model, optimizer, TrainingProgress(epoch, 0.5, 1, []), copy(model))
    gaps = [later - sooner for sooner, later in pairwise(disk.saves)]
    assert disk.saves[0] == 5.0
    assert len(gaps) > 5
    assert all(between <= gap <= between + seconds + 0.25 for gap in gaps)


def a_saver(folder: Path, *, data: str = "data", ranks: Ranks = Ranks()) -> tuple[Saver, Any]:  # noqa: B008 - frozen
    training = a_long_training()
    model = build(training.model, window=5, features=5, outputs=1)
    optimizer = Optimizer(training.train, model.parameters(), 0.1)
    return Saver(Checkpoints(folder), training, data, ranks), (model, optimizer, copy(model))


def test_nor_is_one_of_other_data_or_another_number_of_ranks(tmp_path: Path) -> None:
    saver, (model, optimizer, best) = a_saver(tmp_path)
    saver.save(model, optimizer, TrainingProgress(3, 0.5, 2, []), best)

    def reached(**other: Any) -> int:
        again, state = a_saver(tmp_path, **other)
        return again.restore(*state, torch.device("cpu")).epoch

    assert reached() == 3
    assert reached(data="other data") == 0

    class Two(Ranks):
        def text_of_rank0(self, text: str, device: torch.device) -> str:  # noqa: ARG002
            return text

    assert reached(ranks=Two(0, 2)) == 0


def test_tensors_of_a_checkpoint_share_no_memory_with_the_training(tmp_path: Path) -> None:
    saver, (model, optimizer, best) = a_saver(tmp_path)
    pointers = [tensor.data_ptr() for tensor in [*model.state_dict().values(), *best.values()]]
    assert len(set(pointers)) == len(pointers)
    saver.save(model, optimizer, TrainingProgress(1, 0.5, 1, []), best)
    again, (other_model, other_optimizer, other_best) = a_saver(tmp_path)
    again.restore(other_model, other_optimizer, other_best, torch.device("cpu"))
    assert same_tensors(other_best, best)
    with torch.no_grad():
        for weight in other_model.parameters():
            weight.add_(1)
    assert same_tensors(other_best, best)


@pytest.mark.parametrize("damage", ["cut off", "emptied", "zeros", "no safetensors"])
def test_a_damaged_checkpoint_is_reported_and_the_training_starts_over(
    damage: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = a_long_training()
    whole = train_alone(training, cache, checkpoints=Checkpoints(tmp_path))
    path = tmp_path / CHECKPOINT
    kept = path.read_bytes()
    spoilt = {
        "cut off": kept[: len(kept) // 2],
        "emptied": b"",
        "zeros": bytes(len(kept)),
        "no safetensors": b"\x80\x04\x95" + kept,
    }
    path.write_bytes(spoilt[damage])

    assert_same(train_alone(training, cache, checkpoints=Checkpoints(tmp_path)), whole)
    said = capsys.readouterr().err
    assert said.startswith(f"trialrun: {path} is damaged (")
    assert said.endswith(") and is not taken up\n")
    assert said.count("\n") == 1
    assert epochs_trained(training, cache, tmp_path) == []


def test_a_process_that_dies_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, (model, optimizer, best) = a_saver(tmp_path)
    saver.save(model, optimizer, TrainingProgress(1, 0.5, 1, []), best)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def dies(_tensors: Any, path: Path, _about: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("trainer.training.checkpoint.save_file", dies)
    with pytest.raises(OSError, match="No space"):
        saver.save(model, optimizer, TrainingProgress(2, 0.5, 1, []), best)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_others_may_read_what_was_saved_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    save_tensors(tmp_path / "saved", {"a": torch.ones(3)})
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "new").stat().st_mode


@pytest.mark.parametrize("shared", [True, False], ids=["one folder", "a folder each"])
def test_two_ranks_resume_the_same_epoch_whether_they_share_a_folder_or_not(
    shared: bool, cache: Path, tmp_path: Path
) -> None:
    training = a_long_training()
    folders = [tmp_path / "whole"] * 2
    whole = [report for (report,) in on_ranks(2, run_all, folders[:1], cache, [training])]

    folders = [tmp_path / ("both" if shared else f"machine-{rank}") for rank in range(2)]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    if not shared:  # what another training left there must not lead rank 1 astray
        train_alone(a_long_training(seed=7), cache, checkpoints=Checkpoints(folders[1]))
    ends = on_ranks(2, run_interrupted, folders, cache, training, 4)

    assert [[report.outcome for report in reports] for reports in ends] == [[Outcome.CRASHED, Outcome.SUCCEEDED]] * 2
    assert ends[0][1].metrics == whole[0].metrics
    assert same_tensors(load_file(folders[0] / WEIGHTS), load_file(tmp_path / "whole" / WEIGHTS))
    resumed, undisturbed = history_in(folders[0]), history_in(tmp_path / "whole")
    assert without_times(resumed) == without_times(undisturbed)


def test_a_checkpoint_that_only_rank_1_has_is_not_taken_up(cache: Path, tmp_path: Path) -> None:
    training = a_long_training(epochs=2)
    alone = tmp_path / "rank-0"
    train_alone(training, cache, checkpoints=Checkpoints(alone))
    folders = [tmp_path / "machine-0", tmp_path / "machine-1"]
    folders[0].mkdir()
    shutil.copytree(alone, folders[1])
    ends = on_ranks(2, run_interrupted, folders, cache, training, 99)
    assert [[report.outcome for report in reports] for reports in ends] == [[Outcome.SUCCEEDED] * 2] * 2
    assert len(history_in(folders[0])) == 2


def test_the_data_set_tells_a_training_from_another(cache: Path) -> None:
    one, other = (dataset_of(a_training(data={"seed": seed}), cache).manifest.hash for seed in (0, 1))
    assert one != other


FORBIDDEN = {"torch.load", "torch.save", "pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}


def names_used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Everything imported, and every attribute that is called, by its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module), node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno


def unpickling(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, line in names_used(tree):
        if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN or name.endswith("object_list"):
            yield f"{path}:{line}: {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        options = {word.arg: word.value for word in node.keywords}
        where, function = f"{path}:{node.lineno}", ast.unparse(node.func)
        refused = isinstance(refusal := options.get("allow_pickle"), ast.Constant) and refusal.value is False
        if function in ("np.load", "numpy.load", "npy.write_array", "np.save") and not refused:
            yield f"{where}: {function} without allow_pickle=False"
        if function in ("yaml.load", "yaml.full_load", "yaml.unsafe_load") and "Safe" not in ast.unparse(node):
            yield f"{where}: {function}"


def test_nothing_in_the_trainer_reads_or_writes_a_pickle() -> None:
    files = sorted(Path("trainer").rglob("*.py"))
    assert len(files) > 30
    assert [finding for path in files for finding in unpickling(path)] == []


def test_the_search_for_pickles_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import pickle\nfrom torch import load\nimport torch\ntorch.load('x')\nnp.load('x')\n")
    assert [finding.partition(": ")[2] for finding in unpickling(path)] == [
        "pickle",
        "torch.load",
        "torch.load",
        "np.load without allow_pickle=False",
    ]
