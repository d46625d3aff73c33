"""A real browser without a screen, whose pages note every request, error and complaint."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import debian

WIDE, NARROW = 1400, 400


@dataclass
class Opened:
    """A page as it is shown; `problems` are its errors and complaints, `requests` all that it asked for."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def data(self, chart: str) -> list[dict[str, Any]]:
        """The traces of a chart as Plotly has them, once it is drawn."""
        place = self.page.locator(f'[data-chart="{chart}"]')
        place.scroll_into_view_if_needed()
        self.page.wait_for_selector(f'[data-chart="{chart}"][data-drawn] .main-svg')
        return list(self.page.evaluate("name => document.querySelector(`[data-chart='${name}']`).data", chart))

    def draw_all(self) -> None:
        """Scrolls through the whole page, and waits until every chart is drawn."""
        for place in self.page.locator(".plot").all():
            place.scroll_into_view_if_needed()
            self.page.wait_for_function(
                "place => place.dataset.drawn || place.textContent", arg=place.element_handle()
            )


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts a browser with such arguments. Playwright's loop ends with the module: other tests have their own."""
    debian.require({"chromium": "chromium"}, "the tests of pages")
    launched = []
    with sync_playwright() as playwright:

        def started(*arguments: str) -> Browser:
            launched.append(
                playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", *arguments]
                )
            )
            return launched[-1]

        yield started
        for each in launched:
            each.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Browser:
    """One with WebGL by software: the machines that tests run on have no graphics card."""
    return launch("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens a page's HTML from a file; keywords are those of a browser's context."""
    contexts = []

    def opened(text: str, *, width: int = WIDE, **more: Any) -> Opened:
        file = tmp_path / f"page-{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda said: found.problems.append(said.text) if said.type != "log" else None)
        found.page.on("pageerror", lambda error: found.problems.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(file.as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
