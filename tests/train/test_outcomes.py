"""However a rank ends, its report says so in a word and a sentence."""

import errno
import mmap
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from train.builders import a_context, a_training
from train.ranks import on_ranks, run_all, run_own, run_until_killed
from trainer.data.errors import DataUnavailable
from trainer.experiment.errors import UserError
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.record import RankReport, decode_report, encode_report, naive_name
from trainer.experiment.training import Training
from trainer.training.distributed import PEER_TIMEOUT, is_loss_of_peer
from trainer.training.loop import Diverged
from trainer.training.trial import outcome_of, run_rank, sentence

TOLD = {"dataHash", "validationHash"}  # the hashes that our trainer tells


def report_of(training: Training, cache: Path, folder: Path, error: BaseException | None = None) -> RankReport:
    def on_epoch(_: dict[str, float]) -> None:
        if error is not None:
            raise error

    return run_rank(training, a_context(folder, cache), started=time.time(), on_epoch=on_epoch)


def raised(action: object) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        action()  # type: ignore[operator]
    return caught.value


def torch_takes_all_memory() -> NoReturn:
    torch.empty(10**15)
    raise AssertionError


def numpy_takes_all_memory() -> NoReturn:
    np.empty(10**15)
    raise AssertionError


def mmap_takes_all_memory() -> NoReturn:
    mmap.mmap(-1, 2**50)
    raise AssertionError


def a_cause_takes_all_memory() -> NoReturn:
    try:
        np.empty(10**15)
    except MemoryError as error:
        raise RuntimeError("the batch could not be made") from error
    raise AssertionError


def test_a_success_is_reported_with_all_its_figures(cache: Path, tmp_path: Path) -> None:
    begun = time.time()
    report = report_of(a_training(), cache, tmp_path)
    assert report.outcome is Outcome.SUCCEEDED
    assert (report.error, report.lost_peer, report.rank) == ("", False, 0)
    measured = {"validMse", "validMae", "validR2", "testMse", "testMae", "testR2"}
    assert set(report.metrics) == {"trainLoss", *measured, *map(naive_name, measured), *TOLD}
    assert (report.samples, report.epochs) == (121, 3)
    assert report.dataset_bytes == 121 * (5 * 5 * 4 + 4)
    assert report.clock >= int(begun * 1000)
    assert 0 < report.seconds.train < time.time() - begun
    assert report.environment is not None
    assert report.environment.threads == 1
    assert report.environment.packages["torch"] == torch.__version__
    assert decode_report(encode_report(report)).metrics == report.metrics


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Diverged("the training loss became nan in epoch 3"), Outcome.DIVERGED),
        (DataUnavailable("data.path: x cannot be read"), Outcome.DATA_UNAVAILABLE),
        (UserError("train.device: no such thing"), Outcome.INVALID_CONFIG),
        (ValueError("train.batchSize must be at least workers"), Outcome.INVALID_CONFIG),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), Outcome.DEVICE_OOM),
        (RuntimeError("CUDA error: out of memory"), Outcome.DEVICE_OOM),
        (MemoryError(), Outcome.HOST_OOM),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Outcome.HOST_OOM),
        (raised(torch_takes_all_memory), Outcome.HOST_OOM),
        (raised(numpy_takes_all_memory), Outcome.HOST_OOM),
        (raised(mmap_takes_all_memory), Outcome.HOST_OOM),
        (raised(a_cause_takes_all_memory), Outcome.HOST_OOM),
        (ExceptionGroup("workers", [KeyError("x"), MemoryError()]), Outcome.HOST_OOM),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), Outcome.DEVICE_OOM),
        (ValueError("std::bad_alloc is a word"), Outcome.INVALID_CONFIG),
        (OSError(errno.ENOSPC, "No space left on device"), Outcome.CRASHED),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), Outcome.CRASHED),
        (KeyError("x"), Outcome.CRASHED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_of_the_training_becomes_its_outcome(
    error: Exception, outcome: Outcome, cache: Path, tmp_path: Path
) -> None:
    report = report_of(a_training(), cache, tmp_path, error)
    assert report.outcome is outcome
    assert report.error == sentence(error)
    assert report.metrics.keys() == TOLD  # what it rests on is known before it trains
    assert report.memory is not None
    assert EXIT_CODES[report.outcome] != 0
    assert not report.lost_peer
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_says_so(cache: Path, tmp_path: Path) -> None:
    report = report_of(a_training(train={"learningRate": 1e30, "optimizer": "SGD"}), cache, tmp_path)
    assert report.outcome is Outcome.DIVERGED
    assert report.error.startswith("the training loss became ")
    assert "in epoch" in report.error


def test_data_that_is_not_there_is_named(cache: Path, tmp_path: Path) -> None:
    report = report_of(a_training(data={"source": "csv", "path": "/nowhere/rows.csv"}), cache, tmp_path)
    assert report.outcome is Outcome.DATA_UNAVAILABLE
    assert report.error.startswith("data.path: a readable file is needed, got /nowhere/rows.csv")


def test_a_gpu_that_is_not_there_is_a_mistake_of_the_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    report = report_of(a_training(train={"device": "CUDA"}), cache, tmp_path)
    assert report.outcome is Outcome.INVALID_CONFIG
    assert "train.device is CUDA, but torch finds no GPU here; use Auto or CPU" in report.error


def test_a_sentence_is_one_line_without_torchs_stack() -> None:
    assert sentence(RuntimeError("a\nb\nException raised from c at d.cpp:1\nframe #0: e")) == "RuntimeError: a b"
    assert sentence(UserError("one\ntwo")) == "one two"
    assert sentence(MemoryError()) == "MemoryError"
    assert outcome_of(MemoryError()) is Outcome.HOST_OOM


def test_all_ranks_diverge_together_and_blame_nobody(cache: Path, tmp_path: Path) -> None:
    training = a_training(train={"learningRate": 1e30, "optimizer": "SGD"})
    reports = [report for (report,) in on_ranks(2, run_all, [tmp_path], cache, [training])]
    assert [report.outcome for report in reports] == [Outcome.DIVERGED] * 2
    assert [report.lost_peer for report in reports] == [False] * 2


def test_a_batch_smaller_than_the_ranks_is_a_mistake_on_each(cache: Path, tmp_path: Path) -> None:
    reports = [report for (report,) in on_ranks(2, run_all, [tmp_path], cache, [a_training(train={"batchSize": 1})])]
    assert [report.outcome for report in reports] == [Outcome.INVALID_CONFIG] * 2
    assert reports[1].error.endswith("train.batchSize must be at least workers (2), got 1")


def test_a_rank_with_other_data_than_rank_0_says_so_and_rank_0_that_it_lost_a_peer(
    cache: Path, tmp_path: Path
) -> None:
    trainings = [a_training(data={"seed": seed}) for seed in (0, 1)]
    lead, other = on_ranks(2, run_own, tmp_path, cache, trainings)
    assert (other.outcome, other.lost_peer) == (Outcome.DATA_UNAVAILABLE, False)
    assert other.error.startswith("data: all workers must train on the same data set, but rank 1 has ")
    assert (lead.outcome, lead.lost_peer) == (Outcome.CRASHED, True), lead.error


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_whose_peer_is_killed_report_its_loss_at_once(ranks: int, cache: Path, tmp_path: Path) -> None:
    training = a_training(train={"epochs": 100_000, "batchSize": 8})
    *others, killed = on_ranks(ranks, run_until_killed, tmp_path, cache, training)

    assert killed == -9
    for report, seconds in others:
        assert (report.outcome, report.lost_peer) == (Outcome.CRASHED, True), report.error
        assert seconds < PEER_TIMEOUT.total_seconds() / 4


# As gloo 2.15 and NCCL write them, some found by killing, stopping and withholding a rank.
@pytest.mark.parametrize(
    "text",
    [
        "[../gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:427. This is typically caused",
        "[../gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:41886: Connection reset by peer. This is",
        "[../gloo/transport/tcp/pair.cc:600] Write error [10.0.0.1]:2: Broken pipe",
        "[../gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 3000ms for recv operation to complete",
        "Wait timeout",
        "wait timeout after 3000ms, keys: /default_pg/here/1",
        "Timed out after 4 seconds waiting for clients. 1/2 clients joined.",
        "The client socket has timed out after 3000ms while trying to connect to (10.0.0.1, 29533).",
        "Application timeout caused pair closure",
        "NCCL error: remote process exited or there was a network error, NCCL version 2.27",
    ],
)
def test_a_rank_that_is_gone_or_silent_is_a_lost_peer(text: str) -> None:
    assert is_loss_of_peer(RuntimeError(text))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at ../gloo/transport/tcp/device.cc:83] ifa != nullptr. Unable to find address"),
        RuntimeError("[enforce fail at ../gloo/pair.cc:464] op.preamble.length <= op.nbytes. 1000 vs 8. Received"),
        RuntimeError("The server socket has failed to listen on any local network address. port: 29500, EADDRINUSE"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        BrokenPipeError("Broken pipe"),
        ValueError("Connection closed by peer"),
    ],
    ids=str,
)
def test_a_ranks_own_error_is_not_a_lost_peer_even_where_it_speaks_of_gloo(error: Exception) -> None:
    assert not is_loss_of_peer(error)
