"""Writes report.html: one file that needs no network and no script."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.atomic import write_text
from trainer.experiment.expand import Trial
from trainer.experiment.record import Record
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import Summary
from trainer.report import overview, scale, trial_table
from trainer.report.markup import Markup, element, joined
from trainer.report.results import Results

if TYPE_CHECKING:
    from trainer.report.canvas import Chart
    from trainer.report.treatments import Statistics

NAME = "report.html"
# Even what escaping let through could load nothing and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def is_page(path: Path) -> bool:
    """Whether a file is a page of ours: all begin in the same way.

    Raises:
        OSError: it can't be read.
    """
    start = document("", ()).partition("<title>")[0].encode()
    with path.open("rb") as file:
        return file.read(len(start)) == start


def write_page(
    folder: Path,
    experiment: Experiment,
    trials: Sequence[Trial],
    records: Iterable[Record],
    summary: Summary,
    statistics: "Statistics | None" = None,
) -> Path:
    """Write the page of an experiment into its folder, whole or not at all, and return its path.

    Learning curves are read from the folder; everything else comes from `records`, `summary` and `statistics`.

    Raises:
        OSError: the folder cannot be written.
    """
    write_text(folder / NAME, page(Results(experiment, trials, records, summary), folder, statistics))
    return folder / NAME


def page(results: Results, folder: Path, statistics: "Statistics | None" = None) -> str:
    """The page's HTML."""
    sections = (
        overview.header(results),
        overview.best(results),
        *_scale(results),
        overview.failures(results),
        *_treatments(statistics),
        *_charts(results, folder),
        overview.comparison(results),
        trial_table.trials(results),
        trial_table.environments(results),
        trial_table.method(results),
    )
    return document(f"{results.summary.experiment}: report", sections)


def document(title: str, sections: Iterable[Markup | None]) -> str:
    """A whole page of these sections."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))),
    )
    body = element("body", element("main", *sections))
    return joined([Markup("<!doctype html>\n"), Markup(f'<html lang="en">{head}{body}</html>\n')])


def figure(chart: "Chart") -> Markup:
    """A chart with its heading and its text; the text alone where there is no picture."""
    if chart.svg is None:
        return element(
            "div", element("h3", chart.title), element("p", chart.text, class_="absent"), class_="no-chart"
        )
    return element("figure", element("h3", chart.title), chart.svg, element("figcaption", chart.text))


def _charts(results: Results, folder: Path) -> list[Markup]:
    # matplotlib takes long to import, and only a page needs it.
    from trainer.report import curves, learnt_plots, plots, time_plots

    groups: list[tuple[str, list[Chart]]] = []
    if found := learnt_plots.learnt(results):
        groups.append(("What was learnt", found))
    if results.metric is not None:
        charts = [plots.objective_by_trial(results), *plots.objective_by_parameter(results)]
        groups.append(("Objective", charts))
    if results.summary.scale is None:  # whose cells are trained for their time and memory, often for a single epoch
        groups.append(("Learning curves", curves.learning_curves(results, folder)))
    groups.append(("Time", [time_plots.time_per_trial(results), time_plots.timeline(results)]))
    return [_group(heading, charts) for heading, charts in groups]


def _scale(results: Results) -> list[Markup]:
    """What a scale test is about; nothing for a search."""
    found = results.summary.scale
    if found is None:
        return []
    from trainer.report import scale_plots

    charts = [scale_plots.time_by_size(found), scale_plots.memory_by_size(found)]
    return [_group("Time and memory against size", charts), *scale.sections(found)]


def _treatments(statistics: "Statistics | None") -> list[Markup]:
    """What repeats are for; nothing without them."""
    if statistics is None:
        return []
    from trainer.report import treatment_page, treatment_plots

    drawn = treatment_plots.of_objective(statistics), treatment_plots.of_loading(statistics)
    return treatment_page.sections(statistics, *(list(map(figure, charts)) for charts in drawn))


def _group(heading: str, charts: Iterable["Chart"]) -> Markup:
    return element("section", element("h2", heading), element("div", *map(figure, charts), class_="charts"))
