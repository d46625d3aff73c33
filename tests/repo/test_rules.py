"""Rules of the repository that no other tool holds."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("trainer", "operator", "benchmarks", "scripts", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
PROGRAM = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("trainer", "operator")]
READ_THE_ENVIRONMENT = {
    "trainer/data/kafka/secrets.py",
    "operator/trialrun_operator/settings.py",
    "trainer/training/distributed.py",
    "trainer/local/rank.py",
    "trainer/local/keeper.py",
    "trainer/local/programs.py",
    "trainer/commands/baseline.py",
    "trainer/commands/pod.py",
    "trainer/spark/driver.py",
    "trainer/spark/rank.py",
    "trainer/tracking/address.py",
}


# The one place that executes text: the user's own script, in a process of its own.
RUNS_SCRIPTS = r"trainer/local/keeper\.py, line \d+: exec\(code, vars\(main\)\)"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((str(path.relative_to(ROOT)), content.decode()))
    return found


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_nothing_shadows_the_standard_library_operator() -> None:
    assert list((ROOT / "operator").glob("*.py")) == []


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_importing_the_trainer_imports_nothing() -> None:
    body = ast.parse((ROOT / "trainer" / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr]


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    said = {named(path): ast.get_docstring(ast.parse(path.read_text())) or "" for path in SOURCES}
    assert [name for name, text in said.items() if not text.partition("\n")[0].strip()] == []


def unpickled_or_unsafe(path: Path) -> Iterator[str]:
    """The places in a module where something may be unpickled, or YAML be read as more than data."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            wrong = bool({"pickle", "cloudpickle", "dill", "shelve", "joblib"} & set(names))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            wrong = called in ("torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec")
            wrong |= called == "np.load" and "allow_pickle=False" not in ast.unparse(node)
        else:
            continue
        if wrong:
            yield f"{named(path)}, line {node.lineno}: {ast.unparse(node)}"


def test_nothing_is_unpickled_and_yaml_is_read_safely() -> None:
    found = [place for path in PROGRAM for place in unpickled_or_unsafe(path)]
    assert [place for place in found if not re.fullmatch(RUNS_SCRIPTS, place)] == []
    assert len(found) == 1


def test_only_entry_points_read_the_environment() -> None:
    reading = [named(path) for path in PROGRAM if re.search(r"os\.environ|getenv", path.read_text())]
    assert set(reading) <= READ_THE_ENVIRONMENT


def test_there_is_one_version_number() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((ROOT / "helm/trialrun/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_pages_and_examples_name_images_and_wheels_of_this_version() -> None:
    """But for the way back to 0.1, whose images are told apart by their tag."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = re.compile(r"trialrun/(?:operator|trainer):(\d[\w.]*\w)|\btrialrun-(\d[\w.]*)-py3|VERSION=(\d[\w.]*)")
    found = {
        (name, "".join(match.groups("")))
        for name, text in texts()
        if name.endswith((".md", ".yaml")) or name.startswith(("Dockerfile", "examples/"))
        for match in image.finditer(text)
    }
    assert {name for name, _ in found} >= {"docs/install.md", "Dockerfile.operator", "examples/data-job.yaml"}
    assert {each for each in found if each[1] != version} == {("docs/cluster.md", "0.1.0")}


def test_lock_files_carry_hashes_and_no_address() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        content = lock.read_text()
        assert "://" not in content, lock.name
        for pin in re.split(r"\n(?=\S)", content.strip()):
            assert re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==\S+", pin), f"{lock.name}: {pin[:80]}"
            assert "--hash=sha256:" in pin, f"{lock.name}: {pin[:80]}"


def test_no_file_names_a_package_registry_or_a_path_of_someones_machine() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "proxy.golang" + ".org", "registry.npmjs" + ".org"]
    hosts += [
        "repo.maven" + ".apache",
        "repo1.maven" + ".org",
        "deb.debian" + ".org",
        "/" + "root/",
        "/" + "work/main",
    ]
    for name, text in texts():
        for host in hosts:
            assert host not in text, f"{name} names {host}"


def test_no_test_is_skipped_expected_to_fail_or_rerun() -> None:
    marks = re.compile(r"pytest\.(mark\.)?(skip|xfail|flaky|importorskip)|reruns=|unittest\.skip")
    for name, text in texts():
        if name.startswith("tests/") and name != named(Path(__file__)):
            assert not marks.search(text), name


def test_links_in_the_documents_lead_somewhere() -> None:
    for name, text in texts():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
                if "://" not in target:
                    assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


def test_the_documents_name_make_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    for name, text in texts():
        if name.endswith(".md") and not name.startswith("docs/decisions/"):
            for target in re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE):
                assert target in targets, f"{name} names make {target}"


def test_every_command_in_the_documents_is_one() -> None:
    from trainer.__main__ import commands

    for name, text in texts():
        if name.endswith(".md"):
            for command in re.findall(r"python -m trainer ([a-z]+)", text):
                assert command in commands(), f"{name} names python -m trainer {command}"


def test_the_contracts_name_every_part_of_the_trainer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    parts = {f"trainer.{path.stem}" for path in (ROOT / "trainer").iterdir() if path.suffix == ".py" or path.is_dir()}
    parts -= {"trainer.__init__", "trainer.__pycache__", "trainer.experiment", "trainer.scheduling"}
    of_the_operator = next(each for each in contracts if each["name"].startswith("of the trainer the operator knows"))
    assert parts == {name for name in of_the_operator["forbidden_modules"] if name.startswith("trainer.")}
