"""The yfinance source: the real package against a local replay of Yahoo, refusals included."""

import csv
import json

import numpy as np
import pytest
import yfinance
from yfinance.data import SingletonMeta, YfData

from data_sources.builders import run, some_data
from data_sources.yahoo_replay import LoopbackSession, replay
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.data.errors import DataUnavailable
from trainer.data.export import export
from trainer.data.sources.yahoo import fetch
from trainer.experiment.errors import UserError
from trainer.experiment.training import Data

# yfinance uses keywords that the newest pandas means to remove. The warning is about its code, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning:yfinance")


@pytest.fixture(scope="session", autouse=True)
def cookies_of_tests(tmp_path_factory):
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def yahoo():
    """The replay, with yfinance's one session for the whole process turned to it."""
    with replay() as server, LoopbackSession(server.port) as session:
        SingletonMeta._instances.pop(YfData, None)
        YfData(session=session)
        yield server
        SingletonMeta._instances.pop(YfData, None)


def rows_of(path):
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def test_seven_tickers_and_five_years_become_an_npz(tmp_path, yahoo):
    data = Data(source="yfinance")
    dataset = open_dataset(prepare(data, tmp_path / "cache"))
    export(dataset, tmp_path / "out.npz")
    assert dataset.manifest.tickers == ("AAPL", "MSFT", "TSLA", "JPM", "AMZN", "XOM", "JNJ")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        assert file["X_train"].shape == (7 * 879, 60, 5)
        assert file["X_test"].shape == (7 * 201, 60, 5)
        assert file["mu"].shape == (7, 5)
    assert {ticker for ticker, _ in yahoo.asked} == set(dataset.manifest.tickers)
    assert {tuple(query["range"]) for _, query in yahoo.asked} <= {("5y",), ("1d",)}


def test_fetched_rows_are_kept_and_reused(tmp_path, yahoo):
    data = some_data(source="yfinance", tickers=("AAPL",))
    first = prepare(data, tmp_path)
    asked = len(yahoo.asked)
    assert prepare(some_data(source="yfinance", tickers=("AAPL",), window=9), tmp_path) != first
    assert prepare(data, tmp_path) == first
    assert len(yahoo.asked) == asked
    (folder,) = tmp_path.glob("yfinance-rows-*")
    receipt = json.loads((folder / "fetched.json").read_text())
    assert receipt["rows"] == {"AAPL": 1304}
    assert receipt["fetched"].endswith("+00:00")
    assert open_dataset(first).manifest.source["sha256"] == receipt["sha256"]


def test_kept_rows_that_were_changed_are_refused(tmp_path, yahoo):  # noqa: ARG001
    data = some_data(source="yfinance", tickers=("AAPL",))
    prepare(data, tmp_path)
    (path,) = tmp_path.glob("yfinance-rows-*/rows.csv")
    path.write_text(path.read_text().replace("AAPL", "AAPL", 1) + "\n")
    with pytest.raises(
        DataUnavailable, match=r"rows kept from Yahoo are not as they were fetched .* delete the folder"
    ):
        prepare(data, tmp_path)


def test_prices_are_adjusted_and_keep_every_bit(tmp_path, yahoo):
    fetch(["AAPL"], "5y", "1d", tmp_path)
    quote = yahoo._result("AAPL", hourly=False)["indicators"]["quote"][0]
    first = rows_of(tmp_path / "rows.csv")[0]
    assert first["Date"] == "2019-11-22"
    assert float(first["Close"]) == pytest.approx(quote["close"][0] * 0.9, rel=1e-12)
    assert first["Close"] == repr(float(first["Close"]))
    assert float(first["Volume"]) == quote["volume"][0]


def test_rows_with_holes_are_left_out_and_counted(tmp_path, yahoo):
    yahoo.holes = {5: ["open"], 9: ["open", "high", "low", "close", "volume"]}
    receipt = fetch(["AAPL"], "5y", "1d", tmp_path)
    assert receipt.rows == {"AAPL": 1302}
    assert receipt.incomplete == {"AAPL": 1}


def test_hours_are_kept_in_utc(tmp_path, yahoo):  # noqa: ARG001
    fetch(["AAPL"], "1mo", "1h", tmp_path)
    assert rows_of(tmp_path / "rows.csv")[0]["Date"] == "2019-11-22T14:30:00+00:00"


def test_a_429_becomes_a_sentence_after_waiting_longer_each_time(tmp_path, yahoo):
    yahoo.refusals = 10**6
    waits = []
    with pytest.raises(DataUnavailable) as caught:
        fetch(["AAPL"], "5y", "1d", tmp_path, sleep=waits.append)
    assert str(caught.value) == (
        "data.source yfinance: Yahoo refused AAPL (period 5y, interval 1d): HTTP 429, too many requests, 4 times; "
        "wait an hour, or use source csv with rows you have, or sp500, which needs no network"
    )
    assert waits == [2, 4, 8]
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_that_passes_is_not_noticed(tmp_path, yahoo):
    yahoo.refusals = 2
    waits = []
    assert fetch(["AAPL"], "5y", "1d", tmp_path, sleep=waits.append).rows == {"AAPL": 1304}
    assert waits == [2]


def test_an_unreachable_network_becomes_a_sentence(tmp_path, yahoo):
    with LoopbackSession(1) as nowhere:
        YfData(session=nowhere)
        waits = []
        with pytest.raises(
            DataUnavailable, match=r"Yahoo could not be reached for AAPL .* tried 4 times \(.*\); check"
        ):
            fetch(["AAPL"], "5y", "1d", tmp_path, sleep=waits.append)
    assert waits == [2, 4, 8]
    assert yahoo.asked == []


@pytest.mark.parametrize("time_zone_failures", [0, 2])
def test_a_ticker_that_yahoo_does_not_know_becomes_a_sentence(tmp_path, yahoo, monkeypatch, time_zone_failures):
    # yfinance asks another address for the first two tickers whose time zone it cannot find.
    monkeypatch.setattr(yfinance.base, "_tz_info_fetch_ctr", time_zone_failures)
    yahoo.unknown = {"NOPE"}
    with pytest.raises(DataUnavailable, match=r"Yahoo has no rows of NOPE \(period 5y, interval 1d\): .*; correct"):
        fetch(["AAPL", "NOPE"], "5y", "1d", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [b"<html>Will be right back</html>", b"<html>", b'{"chart": {}}', b"[]", b"null"])
def test_an_answer_that_makes_no_sense_becomes_a_sentence(tmp_path, yahoo, answer):
    yahoo.answer = answer
    with pytest.raises(DataUnavailable, match="AAPL"):
        fetch(["AAPL"], "5y", "1d", tmp_path, sleep=lambda _: None)


def test_fetch_leaves_yfinance_as_it_was(tmp_path, yahoo):  # noqa: ARG001
    before = yfinance.config.debug.hide_exceptions
    fetch(["AAPL"], "5y", "1d", tmp_path)
    assert yfinance.config.debug.hide_exceptions is before


def test_a_column_that_yahoo_does_not_have_is_refused(tmp_path, yahoo):  # noqa: ARG001
    with pytest.raises(DataUnavailable, match=r"source yfinance: columns .* Dividends missing; found Open, High"):
        prepare(some_data(source="yfinance", tickers=("AAPL",), columns=("Close", "Dividends")), tmp_path)


def test_the_fetch_command_writes_a_file_that_source_csv_reads(tmp_path, yahoo, capsys):  # noqa: ARG001
    out = tmp_path / "sub" / "rows.csv"
    assert run("fetch", "--tickers", "AAPL", "XOM", "--period", "5y", "--out", out) == 0
    assert "AAPL        1,304 rows\n" in capsys.readouterr().out
    manifest = open_dataset(prepare(some_data(source="csv", path=str(out)), tmp_path / "cache")).manifest
    assert manifest.tickers == ("AAPL", "XOM")
    assert json.loads((tmp_path / "sub" / "rows.csv.json").read_text())["tickers"] == ["AAPL", "XOM"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["rows.csv", "rows.csv.json"]


def test_the_fetch_command_refuses_what_an_experiment_would(tmp_path):
    with pytest.raises(UserError, match=r"^--period: must be .*, got .5 years."):
        run("fetch", "--tickers", "AAPL", "--period", "5 years", "--out", tmp_path / "a.csv")
    with pytest.raises(UserError, match="each ticker may be there once, got A twice"):
        run("fetch", "--tickers", "A", "A", "--out", tmp_path / "a.csv")
