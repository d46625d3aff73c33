"""yfinance: rows from Yahoo Finance, fetched once and kept as CSV with a manifest of hash and date. Needs yfinance.

Prices are adjusted for splits and dividends, so that a return is what a holder got. What was fetched is reused until
its folder is deleted: Yahoo's answer changes every day, and a search must see the same rows in every trial.
"""

import csv
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError

from trainer.data.errors import DataUnavailable
from trainer.data.once import once
from trainer.data.series import Series
from trainer.data.sources import csv_file
from trainer.data.sources.table import DATE, TICKER, check_columns, check_distinct, file_hash, needed
from trainer.experiment.section import Section
from trainer.experiment.training import Data

COLUMNS = ("Open", "High", "Low", "Close", "Volume")
ROWS, RECEIPT = "rows.csv", "fetched.json"
_TRIES = 4
_FIRST_WAIT_SECONDS = 2.0
_ELSEWHERE = "or use source csv with rows you have, or sp500, which needs no network"


class Receipt(Section):
    """What was asked of Yahoo, when, and what came."""

    tickers: tuple[str, ...]
    period: str
    interval: str
    fetched: str = Field(description="When, UTC.")
    yfinance: str = Field(description="The version of the package that fetched.")
    rows: dict[str, int] = Field(description="Rows per ticker.")
    incomplete: dict[str, int] = Field(
        description="Rows per ticker that Yahoo gave with holes and that were left out."
    )
    sha256: str = Field(description="Of rows.csv.")


@dataclass(frozen=True)
class _Asked:
    ticker: str
    period: str
    interval: str

    def __str__(self) -> str:
        return f"{self.ticker} (period {self.period}, interval {self.interval})"


def asked_tickers(data: Data) -> tuple[str, ...]:
    """The symbols to fetch: those named, else seven large companies."""
    return data.tickers or ("AAPL", "MSFT", "TSLA", "JPM", "AMZN", "XOM", "JNJ")


def identity(data: Data, cache: Path) -> dict[str, JsonValue]:
    """What was asked, and the date and SHA-256 of the rows that came; fetches them where they are not kept yet."""
    receipt = _kept(data, cache)[1]
    return {
        "tickers": list(asked_tickers(data)),
        "period": data.period,
        "interval": data.interval,
        "fetched": receipt.fetched,
        "sha256": receipt.sha256,
    }


def rows(data: Data, cache: Path) -> list[Series]:
    """The rows that were fetched, one series per ticker in the order of data.tickers."""
    check_columns("source yfinance", COLUMNS, needed(data))
    return csv_file.read(_kept(data, cache)[0], data)


def fetch(
    tickers: Sequence[str],
    period: str,
    interval: str,
    folder: Path,
    sleep: Callable[[float], None] = time.sleep,
) -> Receipt:
    """Ask Yahoo for each ticker and write `rows.csv` and `fetched.json` into `folder`.

    A refusal (429) or an unreachable network is tried again after 2, 4 and 8 seconds. DataUnavailable says which
    ticker got what and what to do; then nothing is written.
    """
    frames = []
    incomplete = {}
    with _yahoo() as yfinance:
        for ticker in tickers:
            frame = _patiently(yfinance, _Asked(ticker, period, interval), sleep)
            complete = frame[list(COLUMNS)].dropna()
            incomplete[ticker] = len(frame) - len(complete)
            frames.append(complete)
    with (folder / ROWS).open("w", encoding="utf-8", newline="") as text:
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([TICKER[0], DATE[0], *COLUMNS])
        for ticker, frame in zip(tickers, frames, strict=True):
            moments = _moments(frame.index, interval)
            # repr keeps every bit of a float, so the file says exactly what Yahoo said.
            lines.writerows(
                [ticker, moment, *map(repr, values)]
                for moment, values in zip(moments, frame.to_numpy(float).tolist(), strict=True)
            )
    receipt = Receipt(
        tickers=tuple(tickers),
        period=period,
        interval=interval,
        fetched=datetime.now(UTC).isoformat(timespec="seconds"),
        yfinance=version("yfinance"),
        rows={ticker: len(frame) for ticker, frame in zip(tickers, frames, strict=True)},
        incomplete=incomplete,
        sha256=file_hash(folder / ROWS),
    )
    (folder / RECEIPT).write_text(receipt.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    return receipt


def is_fetched(rows: Path, receipt: Path) -> bool:
    """Whether `rows` are as they were fetched, by the receipt beside them.

    Raises:
        OSError: they can't be read.
    """
    try:
        return Receipt.model_validate_json(receipt.read_bytes()).sha256 == file_hash(rows)
    except (FileNotFoundError, ValueError):
        return False


def _kept(data: Data, cache: Path) -> tuple[Path, Receipt]:
    """The fetched rows and their receipt, fetching where the cache lacks them."""
    check_distinct(data)
    asked = json.dumps([asked_tickers(data), data.period, data.interval])
    folder = cache / f"yfinance-rows-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    once(folder, lambda part: fetch(asked_tickers(data), data.period, data.interval, part))
    path = folder / ROWS
    try:
        receipt = Receipt.model_validate_json((folder / RECEIPT).read_text(encoding="utf-8"))
        intact = receipt.sha256 == file_hash(path)
    except (OSError, ValidationError):
        intact = False
    if not intact:
        raise DataUnavailable(
            f"{folder}: the rows kept from Yahoo are not as they were fetched (the SHA-256 of {ROWS} must be the one "
            f"in {RECEIPT}); delete the folder, and they are fetched anew"
        )
    return path, receipt


@contextmanager
def _yahoo() -> Iterator[Any]:
    """The yfinance package, made to raise what it otherwise logs."""
    try:
        import yfinance
    except ImportError as error:
        raise DataUnavailable(
            "data.source yfinance: the package yfinance is required, found none; install it with "
            f"`pip install 'trialrun[yfinance]'`, {_ELSEWHERE}"
        ) from error
    log = logging.getLogger("yfinance")
    before = (yfinance.config.debug.hide_exceptions, log.level)
    yfinance.config.debug.hide_exceptions = False
    log.setLevel(logging.CRITICAL)
    try:
        yield yfinance
    finally:
        yfinance.config.debug.hide_exceptions, level = before
        log.setLevel(level)


def _patiently(yfinance: Any, asked: _Asked, sleep: Callable[[float], None]) -> Any:
    """The answer for one ticker, a data frame with at least one row; DataUnavailable after the last try."""
    from yfinance.exceptions import YFException, YFRateLimitError

    for attempt in range(1, _TRIES + 1):
        try:
            frame = yfinance.Ticker(asked.ticker).history(period=asked.period, interval=asked.interval, actions=False)
        except YFRateLimitError as error:
            problem = f"Yahoo refused {asked}: HTTP 429, too many requests, {attempt} times; wait an hour"
            cause: Exception = error
        except YFException as error:
            raise DataUnavailable(_no_rows(asked, str(error))) from error
        except OSError as error:
            # curl_cffi's and requests' errors, DNS, refused and broken connections and timeouts, are all OSError.
            if getattr(getattr(error, "response", None), "status_code", None) == 404:
                raise DataUnavailable(_no_rows(asked, "HTTP 404, not found")) from error
            problem = (
                f"Yahoo could not be reached for {asked}, tried {attempt} times ({_brief(error)}); check the network"
            )
            cause = error
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataUnavailable(
                f"data.source yfinance: Yahoo's answer for {asked} could not be understood "
                f"({type(error).__name__}: {error}); try later or a newer yfinance, {_ELSEWHERE}"
            ) from error
        else:
            if frame.empty:
                raise DataUnavailable(_no_rows(asked, "an empty answer"))
            return frame
        if attempt < _TRIES:
            sleep(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
    raise DataUnavailable(f"data.source yfinance: {problem}, {_ELSEWHERE}") from cause


def _no_rows(asked: _Asked, reason: str) -> str:
    return f"data.tickers: Yahoo has no rows of {asked}: {reason}; correct ticker, period or interval"


def _brief(error: OSError) -> str:
    # curl's text ends with the address of a page that lists its error numbers.
    return str(error).split(" See http")[0].rstrip(".")


def _moments(index: Any, interval: str) -> list[str]:
    """Days of the exchange's calendar as dates; times within days in UTC."""
    if interval in ("1d", "1wk", "1mo"):
        return [str(day) for day in index.date]
    return [moment.isoformat() for moment in index.tz_convert("UTC").to_pydatetime()]
