"""TensorBoard itself on exported event files: its list of runs, and what its HParams tab is answered."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from trainer.__main__ import main
from unit.exported import the_default_search


@pytest.mark.slow
def test_its_hparams_tab_ranks_trials_as_the_summary_does(tmp_path: Path) -> None:
    case, events = the_default_search(), tmp_path / "events"
    assert main(["export", str(case.leave(tmp_path / "run")), "--tensorboard", str(events)]) == 0
    command = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", str(events)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", "0"], stdout=log, stderr=log)
    try:
        (address,) = eventually(lambda: re.findall(r" at (http://127\.0\.0\.1:\d+)/", (tmp_path / "log").read_text()))

        def asked(path: str, question: dict[str, Any] | None = None) -> Any:
            body = None if question is None else json.dumps(question).encode()
            request = urllib.request.Request(f"{address}/data/{path}", body, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
                return json.load(answer)

        eventually(lambda: len(asked("runs")) == 19)
        question = {
            "allowedStatuses": ["STATUS_SUCCESS"],
            "colParams": [{"metric": {"tag": "final/validMse", "group": ""}, "order": "ORDER_ASC"}],
            "startIndex": 0,
            "sliceSize": 100,
        }
        groups = asked("plugin/hparams/session_groups", question)["sessionGroups"]
    finally:
        server.terminate()
        server.wait()
    summary = case.summary()
    assert len(groups) == summary.counts.succeeded
    assert [group["name"] for group in groups[:5]] == [leader.id for leader in summary.leaders]
    assert summary.best is not None
    assert groups[0]["hparams"] == summary.best.parameters
