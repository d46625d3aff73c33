"""What Trialrun did not make stays: no command replaces, changes or deletes it, and a refused one leaves nothing."""

import argparse
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import Sweep
from local.cli import command, environment, kill, start, trainer, write_search
from trainer import arguments
from trainer.__main__ import main, parser
from trainer.experiment.errors import UserError
from trainer.local.folder import MARK, is_run, occupied, require_ours, settle, stored_experiment, taken
from unit.builders import a_document, an_experiment

OF_0_1 = Path(__file__).parents[1] / "data" / "of_0_1" / "search-run"
EXPERIMENT = json.dumps(a_document())


def tree(folder: Path) -> dict[str, object]:
    """All that lies below a folder: links, files with their content, and when each was changed."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = path.readlink()
        else:
            found[str(path)] = (path.read_bytes() if path.is_file() else None, path.lstat().st_mtime_ns)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that is also the user's home."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(place)
    return place


def holds(**files: str) -> Callable[[Path], None]:
    """Makes a folder with these files; `__` stands for a slash, `_DOT_` for a dot at the beginning."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            path = folder / name.replace("__", "/").replace("DOT_", ".").replace("_json", ".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return make


def is_a_link(folder: Path) -> None:
    holds(notes="mine")(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


FOREIGN: dict[str, Callable[[Path], None]] = {
    "a file": holds(notes="mine"),
    "a hidden file": holds(DOT_env="mine"),
    "a lock and a file": holds(DOT_lock="", notes="mine"),
    "names that a run has too": holds(trials__x="mine", summary_json="mine", statistics__x="mine"),
    "the user's own experiment": holds(experiment_json=EXPERIMENT),
    "another program's experiment and lock": holds(experiment_json='{"name": "x"}', DOT_lock=""),
    "experiments that are no mapping": holds(experiment_json="[1]", DOT_lock=""),
    "a folder called like the mark": holds(DOT_trialrun__x="mine"),
    "a link to a folder": is_a_link,
    "a file in the way": lambda folder: folder.write_text("mine"),
    "a file above": lambda folder: folder.parent.rmdir() or folder.parent.write_text("mine"),  # type: ignore[func-returns-value]
    "a link that leads nowhere": lambda folder: folder.symlink_to("nowhere"),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("words", ["run", "run --fresh", "train"])
def test_a_folder_that_is_not_ours_is_refused_and_stays_as_it_is(
    words: str, foreign: Callable[[Path], None], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search, folder = write_search(here), here / "place" / "out"
    folder.parent.mkdir()
    foreign(folder)
    before = tree(here)
    verb, *more = words.split()
    assert main([verb, str(search), *more, "--out", "place/out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("trialrun: place/out: ")
    assert "name another folder" in said
    assert tree(here) == before


@pytest.mark.parametrize("place", [".", "~", "/", "/proc", "/dev/null", "/proc/nowhere/out"])
@pytest.mark.parametrize("words", ["run", "run --fresh", "train"])
def test_the_current_folder_home_the_root_and_a_system_are_refused(
    words: str, place: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = write_search(here)
    before, root = tree(here), sorted(Path("/").iterdir())
    verb, *more = words.split()
    assert main([verb, str(search), *more, "--out", str(Path(place).expanduser())]) == 2
    said = capsys.readouterr().err
    assert "name another folder" in said
    assert "Traceback" not in said
    assert "holds" in said or "cannot be written" in said
    left = tree(here)
    for path in set(left) - set(before):
        assert "/.cache" in path, "data sets are built where they are kept"
    assert {path: left[path] for path in before} == before
    assert sorted(Path("/").iterdir()) == root


def options_of(commands: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in commands._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from options_of(one)
        else:
            yield commands.prog, action


def test_a_path_is_never_empty_in_any_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert not [action.dest for _, action in options_of(parser()) if action.type is Path]
    places = {action.dest for _, action in options_of(parser()) if action.type is arguments.path}
    assert {
        "file",
        "folder",
        "out",
        "html",
        "cache",
        "data",
        "rows",
        "origin",
        "files",
        "message",
        "output",
    } <= places
    for words in (["run", "x.yaml", "--out", ""], ["report", ""], ["compare", "a", "b", "--html", " "],
                  ["fetch", "hps/x", ""], ["train", "x.yaml", "--out="], ["run", ""]):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "must name a file or a folder, got nothing" in capsys.readouterr().err


def test_a_folder_of_version_0_1_is_ours(tmp_path: Path) -> None:
    for lacks in ("", "results.jsonl"):  # one that was refused had none; every one had a lock
        folder = tmp_path / f"without-{lacks}"
        shutil.copytree(OF_0_1, folder)
        (folder / ".lock").touch()
        (folder / lacks).unlink() if lacks else None
        (folder / "notes").write_text("mine")
        with occupied(folder):
            settle(folder, stored_experiment(folder), fresh=True)
        assert {each.name for each in folder.iterdir()} == {MARK, ".lock", "experiment.json", "notes"}
        assert is_run(folder)


def test_starting_over_deletes_what_a_run_leaves_and_follows_no_link(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "out"
    holds(x="mine")(elsewhere)
    with occupied(folder):
        settle(folder, an_experiment(), fresh=False)
    (folder / "trials").symlink_to(elsewhere)
    (folder / "report.html").symlink_to(elsewhere / "x")
    holds(statistics__x="ours", summary_json="ours", notes="mine")(folder)
    with occupied(folder):
        settle(folder, an_experiment(), fresh=True)
    assert {each.name for each in folder.iterdir()} == {MARK, ".lock", "experiment.json", "notes"}
    assert (elsewhere / "x").read_text() == "mine"


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a link to an empty folder"])
def test_what_comes_to_nothing_leaves_all_as_it_was(there: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "out"
    if there != "nothing":
        folder.parent.mkdir(parents=True)
        (tmp_path / "empty").mkdir()
        folder.symlink_to(tmp_path / "empty") if "link" in there else folder.mkdir()
    before = set(tree(tmp_path))
    with suppress(KeyboardInterrupt), occupied(folder):
        assert (folder / MARK).exists()
        raise KeyboardInterrupt
    assert set(tree(tmp_path)) == before
    with taken(folder):
        (folder / "weights").write_text("ours")
    require_ours(folder)
    assert {each.name for each in folder.iterdir()} == {MARK, "weights"}


def test_one_that_is_turned_away_leaves_what_the_other_holds(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with occupied(folder):
        with pytest.raises(UserError, match="another run is using it"), occupied(folder):
            raise AssertionError("both are in")
        assert {each.name for each in folder.iterdir()} == {MARK, ".lock"}
    assert not folder.exists()


REFUSED = {
    "an invalid field": lambda text: text.replace("epochs: 2", "epochs: 0"),
    "data that is not there": lambda text: text.replace(
        "source: synthetic, rows: 200", "source: csv, path: none.csv"
    ),
    "too few rows": lambda text: text.replace("rows: 200", "rows: 20").replace("window: 5", "window: 19"),
    "points that are the same": lambda text: text.replace("[0.1, 0.01, 0.001]", "[0.1, 0.1]"),
}


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_a_refused_run_leaves_nothing(spoil: Callable[[str], str], here: Path) -> None:
    search = write_search(here)
    search.write_text(spoil(search.read_text()))
    assert main(["run", str(search), "--out", "new/out"]) == 2
    assert {each.name for each in here.iterdir()} <= {search.name, ".cache"}


def test_a_run_that_is_refused_keeps_the_results_that_it_was_to_throw_away(here: Path) -> None:
    search, out = write_search(here), here / "out"
    shutil.copytree(OF_0_1, out)
    (out / "fork-server.log").write_text("what an earlier run said\n")
    before = tree(out)
    search.write_text(search.read_text().replace("rows: 200", "rows: 20"))
    assert main(["run", str(search), "--out", "out", "--fresh"]) == 2
    assert tree(out) == before


@pytest.mark.slow
def test_a_launcher_that_refuses_leaves_nothing_and_throws_nothing_away(tmp_path: Path) -> None:
    test, out = tmp_path / "scale.yaml", tmp_path / "new" / "out"
    document = a_document(kind="ScaleTest", name="scale", axes={"multipliers": [1]}, cell={"memoryLimit": "20Mi"})
    test.write_text(json.dumps(document))
    refused = trainer("run", test, "--out", out)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert list(tmp_path.iterdir()) == [test]
    shutil.copytree(OF_0_1, out)
    (out / "fork-server.log").write_text("what an earlier run said\n")
    before = tree(out)
    assert trainer("run", test, "--out", out, "--fresh").returncode == 2
    assert tree(out) == before


@pytest.mark.torture
@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_leaves_a_folder_that_is_ours(tmp_path: Path, sweep: Sweep) -> None:
    for number, seed in enumerate(sweep.seeds(sample=3, full=40)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        runner = start("run", write_search(folder, epochs=200), "--out", folder / "out")
        try:
            runner.wait(timeout=0.3 + 5.0 * ((number * 0.618 + seed * 1e-6) % 1.0))
        except subprocess.TimeoutExpired:
            kill(runner, signal.SIGKILL if seed % 2 else signal.SIGINT)
        else:
            runner.communicate()
        require_ours(folder / "out")


# --- files that a command is told to write


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_search(tmp_path_factory.mktemp("search"))


WRITES = {
    "compare --html": lambda _: ["compare", str(OF_0_1), str(OF_0_1), "--html"],
    "data export": lambda search: ["data", "export", str(search)],
}


def at(path: Path, kind: str) -> None:
    """Something of the user's."""
    if kind == "a folder":
        holds(x="mine")(path)
    elif kind == "a link to a file":
        path.with_name("elsewhere").write_text("mine")
        path.symlink_to("elsewhere")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.write_text({"a page": "<!doctype html>\n<html><head></head></html>", "text": "mine"}[kind])


@pytest.mark.parametrize("kind", ["text", "a page", "a folder", "a link to a file", "a pipe"])
@pytest.mark.parametrize("words", WRITES.values(), ids=WRITES)
def test_a_file_that_somebody_else_made_stays(
    words: Callable[[Path], list[str]], kind: str, here: Path, search: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at(here / "out", kind)
    before = [(path, path.lstat().st_mtime_ns) for path in sorted(here.rglob("*"))]
    assert main([*words(search), "out"]) == 2
    said = capsys.readouterr()
    assert said.out == "", "it is told before the work"
    assert said.err.startswith("trialrun: out: ")
    assert [(path, path.lstat().st_mtime_ns) for path in sorted(here.rglob("*"))] == before


@pytest.mark.parametrize("words", WRITES.values(), ids=WRITES)
def test_what_the_command_made_itself_is_replaced_also_where_a_link_leads_to_it(
    words: Callable[[Path], list[str]], here: Path, search: Path
) -> None:
    assert main([*words(search), "new/out"]) == 0
    first = (here / "new" / "out").stat().st_ino
    (here / "link").symlink_to("new/out")
    assert main([*words(search), "link"]) == 0
    assert (here / "link").is_symlink()
    assert (here / "new" / "out").stat().st_ino != first
    assert {each.name for each in (here / "new").iterdir()} == {"out"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", WRITES.values(), ids=WRITES)
def test_a_device_stays_one(words: Callable[[Path], list[str]], search: Path) -> None:
    assert main([*words(search), "/dev/null"]) == 2
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "file/out"])
@pytest.mark.parametrize("words", WRITES.values(), ids=WRITES)
def test_where_nothing_can_be_written_it_is_said_in_a_sentence(
    words: Callable[[Path], list[str]], place: str, here: Path, search: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "file").write_text("mine")
    assert main([*words(search), place]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"trialrun: {place}")
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [*WRITES.values(), lambda _: ["report"]], ids=[*WRITES, "report"])
def test_a_disk_without_room_is_said_and_what_stood_there_stays(
    words: Callable[[Path], list[str]], tmp_path: Path, search: Path
) -> None:
    """The system refuses files larger than a few KB, as a full disk does."""
    import resource

    out = tmp_path / "out"
    if words(search) == ["report"]:
        shutil.copytree(OF_0_1, out)
    assert subprocess.run([*command(*words(search)), out], env=environment(), check=False).returncode == 0
    before = tree(tmp_path)
    refused = subprocess.run(
        [*command(*words(search)), out],
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
        check=False,
    )
    assert refused.returncode == 2, refused.stderr
    assert "File too large" in refused.stderr
    assert "Traceback" not in refused.stderr
    left = tree(tmp_path)
    assert left.keys() == before.keys(), "no half file is left"
    assert {path: content for path, content in left.items() if "summary" not in path and path != str(out)} == {
        path: content for path, content in before.items() if "summary" not in path and path != str(out)
    }
