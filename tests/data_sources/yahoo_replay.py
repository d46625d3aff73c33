"""A stand-in for Yahoo Finance on 127.0.0.1: what the real yfinance package asks, answered as Yahoo does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from curl_cffi import requests

DAY = 86_400
# 2019-11-22, 14:30 UTC, when New York's exchange opens in winter.
FIRST = 1_574_433_000
RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]


class Replay:
    """What the server answers, and what it was asked: (ticker, query) of each chart."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.unknown: set[str] = set()
        self.refusals = 0
        self.answer: bytes | None = None
        self.holes: dict[int, list[str]] = {}

    def chart(self, ticker: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        self.asked.append((ticker, query))
        if self.refusals:
            self.refusals -= 1
            return 429, b"Edge: Too Many Requests"
        if ticker in self.unknown:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return 404, json.dumps({"chart": {"result": None, "error": error}}).encode()
        if self.answer is not None:
            return 200, self.answer
        hourly = query["interval"] == ["1h"]
        return 200, json.dumps({"chart": {"result": [self._result(ticker, hourly)], "error": None}}).encode()

    def _result(self, ticker: str, hourly: bool) -> dict[str, Any]:
        days = [FIRST + DAY * day for day in range(1826) if (day + 4) % 7 < 5]
        times = [day + 3600 * hour for day in days[:20] for hour in range(6)] if hourly else days
        rng = np.random.default_rng(list(ticker.encode()))
        close = 100 * np.cumprod(1 + 0.01 * rng.standard_normal(len(times)))
        quote: dict[str, list[float | None]] = {
            "open": (close * 0.999).tolist(),
            "high": (close * 1.01).tolist(),
            "low": (close * 0.99).tolist(),
            "close": close.tolist(),
            "volume": rng.integers(10**6, 10**8, len(times)).tolist(),
        }
        for row, names in self.holes.items():
            for name in names:
                quote[name][row] = None
        zone = {"timezone": "EST", "gmtoffset": -18_000}
        hours = [{**zone, "start": day, "end": day + 6 * 3600 + 1800} for day in days[:20]]
        meta = {
            "currency": "USD", "symbol": ticker, "exchangeName": "NMS", "instrumentType": "EQUITY",
            "firstTradeDate": FIRST, "regularMarketTime": times[-1], "exchangeTimezoneName": "America/New_York",
            "regularMarketPrice": float(close[-1]), "priceHint": 2, "validRanges": RANGES, **zone,
            "currentTradingPeriod": dict.fromkeys(("pre", "regular", "post"), hours[-1]),
            "dataGranularity": "1h" if hourly else "1d", "range": "5y",
        }  # fmt: skip
        if hourly:
            meta["tradingPeriods"] = [[one] for one in hours]
        indicators: dict[str, Any] = {"quote": [quote]}
        if not hourly:
            # A dividend since: Yahoo's adjusted close lies below the close of earlier days.
            indicators["adjclose"] = [{"adjclose": [None if c is None else c * 0.9 for c in quote["close"]]}]
        return {"meta": meta, "timestamp": times, "indicators": indicators}


@contextmanager
def replay() -> Iterator[Replay]:
    """Serve on a free port of the loopback interface."""
    state = Replay()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if "/v8/finance/chart/" in address.path:
                status, body = state.chart(address.path.rsplit("/", 1)[1], parse_qs(address.query))
            elif address.path.rsplit("/", 1)[-1] in state.unknown:
                # The summary that yfinance asks for when a ticker's time zone is not known.
                status, body = 404, b'{"quoteSummary": {"result": null, "error": {"code": "Not Found"}}}'
            else:
                # Cookie, crumb and consent pages.
                status, body = 200, b"crumb"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class LoopbackSession(requests.Session):
    """The session that yfinance uses, with every address turned into one of the replay server's."""

    def __init__(self, port: int) -> None:
        super().__init__(impersonate="chrome")
        self._port = port

    def request(self, method: str, url: str, **options: Any) -> Any:
        return super().request(method, url.replace("https://", f"http://127.0.0.1:{self._port}/"), **options)
