"""The process that suggests points: takes requests on one pipe and answers on another, until the requests end.

Requests and answers are JSON objects, one a line. Several searches are told apart by their keys:

    {"do": "begin", "search": KEY, "experiment": DOCUMENT, "earlier": [LESSON, ...]}
    {"do": "learn", "search": KEY, "lessons": [LESSON, ...]}
    {"do": "suggest", "search": KEY, "number": 7}
    {"do": "forget", "search": KEY}

It says {"event": "ready"} first. A suggestion is answered with "suggested" or "exhausted", and any request that
fails with "failed", of which the others know nothing.
"""

import json
import sys
import traceback
from contextlib import suppress
from typing import Any

import optuna

from trainer.experiment.errors import UserError
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.lessons import from_json
from trainer.suggesting.study import Study


def main(requests: int, answers: int) -> None:
    """Answers the requests that come from one file descriptor on the other."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies = _Studies()
    # Without a reader there is nobody to answer: the one that asked is gone.
    with suppress(BrokenPipeError), open(requests, "rb") as asked, open(answers, "w", buffering=1) as told:
        told.write(json.dumps({"event": "ready"}) + "\n")
        for line in asked:
            answer = studies.answer(json.loads(line))
            if answer is not None:
                told.write(json.dumps(answer) + "\n")


class _Studies:
    """The searches in hand, by their keys."""

    def __init__(self) -> None:
        self._studies: dict[str, Study] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Does what is asked, and returns what is to be told of it."""
        search = request.get("search")
        try:
            found = self._done(**request)
        except (UserError, ValueError) as error:
            return {"event": "failed", "search": search, "error": str(error)}
        except Exception as error:  # one search's trouble is none of the others'
            traceback.print_exc()
            return {"event": "failed", "search": search, "error": f"{type(error).__name__}: {error}"}
        return None if found is None else {"search": search, **found}

    def _done(self, *, do: str, search: str, **given: Any) -> dict[str, Any] | None:
        if do == "begin":
            # As it was accepted: rules that came later are no business of this process.
            experiment = HyperparamSearch.model_validate_json(json.dumps(given["experiment"]))
            self._studies[search] = Study(experiment, [from_json(each) for each in given["earlier"]])
        elif do == "learn":
            self._of(search).learn(from_json(each) for each in given["lessons"])
        elif do == "suggest":
            return self._suggested(search, given["number"])
        elif do == "forget":
            self._studies.pop(search, None)
        else:
            raise ValueError(f"do must be begin, learn, suggest or forget, got {do}")
        return None

    def _suggested(self, search: str, number: int) -> dict[str, Any]:
        found = self._of(search).suggest(number)
        if found is None:
            return {"event": "exhausted", "number": number}
        return {
            "event": "suggested",
            "number": number,
            "parameters": found.parameters,
            "learntFrom": found.learnt_from,
            "why": found.why,
        }

    def _of(self, search: str) -> Study:
        if search not in self._studies:
            raise ValueError(f"search must be one that has begun, got {search!r}")
        return self._studies[search]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
