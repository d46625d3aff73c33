"""The comparison of two ledgers as one HTML file that needs no network and no script."""

from collections.abc import Iterator, Sequence

from trainer.report import compare_plots, compare_scale_plots
from trainer.report import compare_words as words
from trainer.report.compare_facts import Pair
from trainer.report.markup import Markup, element, table
from trainer.report.page import document, figure
from trainer.report.wording import one_line

_METHOD = (
    ("A and B", "A is the baseline, B is what is compared with it."),
    ("Wall time", "From the acceptance of the experiment to its last record; pauses between runs left out."),
    ("Elapsed ratio", "The wall time of A divided by that of B: above 1, B was faster."),
    ("Relative difference", "|A − B| divided by the larger of |A| and |B|, over every metric of every trial."),
    (
        "Cost",
        (
            "What was allocated to pods for as long as they ran, at the prices in the file of B. Of a run outside of "
            "pods: what pods like those of B would have cost in its time."
        ),
    ),
)
_SEARCH_METHOD = (
    (
        "Speedup",
        (
            "The elapsed ratio of two that are comparable: the same trials with the same seeds, which ended alike, "
            "on the same hardware and software, and A ran one trial at a time. Otherwise there is none."
        ),
    ),
    ("Slots", "The most trials that ran at the same moment, times the workers of each."),
    ("Efficiency", "The speedup, divided by how many times as many slots B had as A."),
    (
        "Training ratio",
        "The training seconds of all trials of B, divided by A's. Above 1, B's slowed each other down.",
    ),
)
_SCALE_METHOD = (
    ("Time of a cell", "From the start of its process to its end; the mean over its repeats."),
    (
        "Peak memory",
        (
            "The largest of any of a cell's ranks, as its limit counts it: what the kernel charged its cgroup with, "
            "or resident memory where it had none."
        ),
    ),
)


def page(pair: Pair) -> str:
    """The page's HTML."""
    if pair.is_scale_test:
        charts = [compare_scale_plots.time_by_size(pair), compare_scale_plots.memory_by_size(pair)]
    else:
        charts = [
            compare_plots.time_by_trial(pair),
            compare_plots.objective_by_trial(pair),
            compare_plots.slot_time(pair),
        ]
    sections = (
        _header(pair),
        _differences(pair),
        *(_scale(pair) if pair.is_scale_test else ()),
        _section("Metrics", _listed(words.agreement(pair))),
        _section("In pictures", element("div", *map(figure, charts), class_="charts")),
        _section("Side by side", table("What each side is by itself", ("", "A", "B"), words.sides(pair))),
        _method(pair),
    )
    return document(f"{_name(pair)}: comparison", sections)


def _header(pair: Pair) -> Markup:
    kind = "scale tests" if pair.is_scale_test else "hyperparameter searches"
    roles = (("A, the baseline", pair.a.source), ("B, compared with it", pair.b.source))
    return element(
        "header",
        element("p", f"Comparison of two {kind}", class_="kind"),
        element("h1", _name(pair)),
        element("p", words.verdict(pair), class_="lead"),
        *(element("p", f"{role}: {one_line(source)}") for role, source in roles),
        _gained(pair),
    )


def _gained(pair: Pair) -> Markup | None:
    rows = words.gained(pair)
    tiles = (
        element(
            "div",
            element("dt", name, title=how),
            element("dd", value, **({"class_": "absent"} if value == words.WITHHELD else {})),
        )
        for name, value, how in rows
    )
    return element("dl", *tiles, class_="figures") if rows else None


def _differences(pair: Pair) -> Markup | None:
    """What keeps the two apart, and what ate the gain."""
    found, remark = words.differences(pair), words.remark(pair)
    said: list[Markup] = []
    if found:
        why = "" if pair.is_scale_test else "That is why there is no speedup. "
        said += [element("p", f"{why}Here is B, there is A."), _listed(found)]
    if remark is not None:
        said.append(element("p", remark))
    return _section("What differs" if found else "What ate the gain", *said) if said else None


def _scale(pair: Pair) -> Iterator[Markup]:
    only = words.carried_by_one(pair)
    sizes = table("By worker count", ("", "A", "B"), words.sizes(pair), numbers=(1, 2))
    told = _listed(only) if only else element("p", "What one side carries, the other carries too.")
    carried = element("div", element("h3", "Carried by one side alone"), told)
    yield _section("The largest size that each side carried", element("div", sizes, carried, class_="beside"))
    grid = [words.cell_row(cell) for cell in pair.facts.cells]
    yield _section("Cells", table("Cell by cell", words.CELL_HEADS, grid, numbers=(0, 1, 3, 4, 5, 7, 8, 9)))


def _method(pair: Pair) -> Markup:
    entries = (*_METHOD, *(_SCALE_METHOD if pair.is_scale_test else _SEARCH_METHOD))
    listed = (part for name, text in entries for part in (element("dt", name), element("dd", text)))
    return _section("How the figures are computed", element("dl", *listed, class_="method"))


def _name(pair: Pair) -> str:
    """The experiment's name, or both where they have two."""
    return " and ".join(dict.fromkeys(side.results.summary.experiment for _, side in pair.sides))


def _section(heading: str, *content: Markup) -> Markup:
    return element("section", element("h2", heading), *content)


def _listed(sentences: Sequence[str]) -> Markup:
    return element("ul", *(element("li", one_line(sentence)) for sentence in sentences))
