"""`trialrun`, `kubectl trialrun`, or `python -m trainer`: the command line.

A command's module is imported only when it is called.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from trainer import arguments, streams
from trainer.experiment.errors import UserError
from trainer.experiment.redact import redacted
from trainer.packages import missing_for

_NEXT = """\
Trialrun runs hyperparameter searches and scale tests and reports what it measured.

  {program} init > search.yaml    a commented file to start from
  {program} list search.yaml      the trials it makes
  {program} run search.yaml       run them here
  {program} --help                everything else
"""
_NEXT_ON_A_CLUSTER = """\
Trialrun runs hyperparameter searches and scale tests on this cluster and reports what it measured.

  {program} apply search.yaml     an experiment, as `kubectl apply`, with the code of a program
  {program} status NAME           how it stands, and why it waits
  {program} watch NAME            the same while it runs
  {program} logs NAME             what a trial says
  {program} best NAME             the best trial
  {program} fetch NAME            the results as a folder, with a report
  {program} --help                everything else
"""


def console() -> int:
    """What the installed command `trialrun` calls: a command in a process of its own."""
    output = streams.open_all()
    code = main(sys.argv[1:])
    try:
        streams.close_all(output)
    except UserError as error:
        return _mistake(error)
    return code


def main(words: list[str]) -> int:
    """Runs one command; a user's mistake becomes a sentence on stderr and exit code 2, an interruption code 130."""
    if not words:
        print((_NEXT_ON_A_CLUSTER if arguments.is_plugin() else _NEXT).format(program=arguments.program()), end="")
        return 0
    options = parser().parse_args(words)
    try:
        if "context" in options:
            from trainer.kubectl import choose

            choose(options.context, options.kubeconfig)
        code: int = options.func(options)
    except UserError as error:
        return _mistake(error)
    except ModuleNotFoundError as error:
        if (missing := missing_for(error)) is None:
            raise
        return _mistake(missing)
    except OSError as error:
        if error.filename is None:
            raise
        return _mistake(UserError(f"{os.fsdecode(error.filename)}: cannot be used: {error.strerror}"))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return code


def _mistake(error: UserError) -> int:
    print(f"trialrun: {redacted(str(error))}", file=sys.stderr)
    return 2


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = arguments.Parser(
        prog=arguments.program(),
        description="Runs hyperparameter searches and scale tests of PyTorch models, and reports what it measured.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = arguments.command(commands, "run", "run an experiment on this machine, or go on with one")
    run.add_argument("file", type=arguments.path, metavar="FILE", help="an experiment file, as `init` prints one")
    run.add_argument(
        "--jobs",
        type=arguments.jobs,
        default=1,
        metavar="N",
        help="trials at a time; 1, the default, is the baseline; auto: as many as there are cores or GPUs for",
    )
    run.add_argument(
        "--launcher",
        choices=("local", "spark"),
        default="local",
        help="what trains: this machine, the default, or Spark",
    )
    run.add_argument(
        "--out", type=arguments.path, metavar="DIR", help="where results go (default: runs/<experiment's name>)"
    )
    run.add_argument(
        "--replay",
        metavar="RUN",
        help="run the trials of another run of FILE again, each to the step it came to: a baseline for a search that "
        "learns or stops early; RUN is its folder, or hps/NAME on a cluster",
    )
    run.add_argument("--fresh", action="store_true", help="throw away what DIR holds and start over")
    run.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    run.set_defaults(func=_lazily("run"))

    listing = arguments.command(commands, "list", "print an experiment's trials without running them")
    listing.add_argument("file", type=arguments.path, metavar="FILE", help="an experiment file")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(func=_lazily("list_trials"))

    suggest = arguments.command(commands, "suggest", "print which point a search would try next, and why")
    suggest.add_argument("file", type=arguments.path, metavar="FILE", help="an experiment file")
    suggest.add_argument(
        "--out", type=arguments.path, metavar="DIR", help="where its results are (default: runs/<experiment's name>)"
    )
    suggest.add_argument("--json", action="store_true", help="print it as JSON")
    suggest.set_defaults(func=_lazily("suggest"))

    report = arguments.command(commands, "report", "make the report of a run again")
    report.add_argument("folder", type=arguments.path, metavar="DIR", help="the folder of a run, such as runs/NAME")
    report.add_argument(
        "--by",
        type=arguments.name,
        metavar="METRIC",
        help="rank the trials of a search by another metric that they recorded, on a page beside the report",
    )
    report.add_argument(
        "--direction", choices=("Minimize", "Maximize"), help="whether less or more of that metric is better"
    )
    report.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    report.set_defaults(func=_lazily("report"))

    compare = arguments.command(
        commands, "compare", "compare runs: which is better, what was changed, time, speedup, cost, metrics"
    )
    compare.add_argument(
        "a", metavar="A", help="the baseline: a run's folder, or hps/NAME, sct/NAME or NAME on a cluster"
    )
    compare.add_argument("b", metavar="B", help="what is compared with it, named in the same way")
    compare.add_argument("more", nargs="*", metavar="C", help="further runs to compare with A")
    arguments.cluster(compare, "the cluster's experiments are")
    compare.add_argument("--html", type=arguments.path, metavar="FILE", help="also write a page with plots")
    compare.add_argument("--json", action="store_true", help="print the comparison as JSON")
    compare.set_defaults(func=_lazily("compare"))

    export = arguments.command(commands, "export", "write a run's trials as a table, for Optuna, or for TensorBoard")
    export.add_argument("source", metavar="SOURCE", help="a run's folder, or hps/NAME, sct/NAME or NAME on a cluster")
    arguments.cluster(export, "the cluster's experiment is")
    export.add_argument("--csv", type=arguments.path, metavar="FILE", help="a table, a row for each trial")
    export.add_argument("--parquet", type=arguments.path, metavar="FILE", help="the same with typed columns")
    export.add_argument(
        "--optuna", type=arguments.path, metavar="FILE", help="a study, which Optuna opens as sqlite:///FILE"
    )
    export.add_argument(
        "--tensorboard", type=arguments.path, metavar="FOLDER", help="event files, for `tensorboard --logdir FOLDER`"
    )
    export.set_defaults(func=_lazily("export"))

    dashboard = arguments.command(commands, "dashboard", "open Optuna's dashboard on a run, also while it runs")
    dashboard.add_argument(
        "folder", type=arguments.path, metavar="DIR", help="the folder of a run, such as runs/NAME"
    )
    dashboard.add_argument(
        "--port",
        type=arguments.port,
        default=8080,
        metavar="N",
        help="where it listens on this machine (default %(default)s; 0 for any that is free)",
    )
    dashboard.set_defaults(func=_lazily("dashboard"))

    apply = arguments.command(
        commands, "apply", "apply an experiment to a cluster, with a ConfigMap made of its code folder"
    )
    apply.add_argument("path", type=arguments.path, metavar="FILE", help="an experiment file")
    arguments.cluster(apply, "the experiment goes", "the file's, or kubectl's")
    apply.set_defaults(func=_lazily("apply"))

    status = _of_experiment(commands, "status", "say how an experiment on a cluster stands, and why it waits")
    status.add_argument("--json", action="store_true", help="print the object's status as JSON")
    status.set_defaults(func=_lazily("status"))

    watch = _of_experiment(
        commands, "watch", "show an experiment on a cluster while it runs, as `run` shows one here"
    )
    watch.set_defaults(func=_lazily("watch"))

    logs = _of_experiment(commands, "logs", "print the log of a trial on a cluster")
    logs.add_argument(
        "trial",
        nargs="?",
        metavar="TRIAL",
        help="its index, its id or the beginning of that (default: the running trial that began last)",
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what it says, until it ends")
    logs.add_argument(
        "--rank", type=arguments.index, default=0, metavar="N", help="of several ranks, which one (default 0)"
    )
    logs.set_defaults(func=_lazily("logs"))

    best = _of_experiment(commands, "best", "print the best trial of a search on a cluster")
    best.add_argument("--json", action="store_true", help="print it as JSON")
    best.set_defaults(func=_lazily("best"))

    fetch = _of_experiment(commands, "fetch", "bring a cluster experiment's results into a folder here")
    fetch.add_argument(
        "folder", type=arguments.path, nargs="?", metavar="DIR", help="where to (default: runs/NAME-cluster)"
    )
    fetch.add_argument(
        "--image",
        type=arguments.name,
        help="what reads the output volume; it needs Python (default: the trials', of a program's the trainer's)",
    )
    fetch.set_defaults(func=_lazily("fetch"))

    stop = _of_experiment(commands, "stop", "start no new trials of an experiment on a cluster; running ones finish")
    stop.set_defaults(func=_lazily("stop"))

    rerun = _of_experiment(
        commands, "rerun", "run failed and missing trials of an experiment on a cluster again, or go on with it"
    )
    rerun.set_defaults(func=_lazily("rerun"))

    init = arguments.command(
        commands, "init", "print a commented experiment file to start from, to be kept as search.yaml"
    )
    init.add_argument("--program", metavar="COMMAND", help='for a program of your own, as in "python train.py"')
    init.set_defaults(func=_lazily("init"))

    schema = arguments.command(commands, "schema", "print a JSON Schema of experiment files, for editors")
    schema.set_defaults(func=_lazily("schema"))

    train = arguments.command(commands, "train", "train one configuration; under torchrun, one rank of it")
    train.add_argument("file", type=arguments.path, metavar="FILE", help="an experiment file")
    train.add_argument(
        "--trial", metavar="ID", help="a trial that `list` shows, by id (default: `training` as it is)"
    )
    train.add_argument(
        "--out", type=arguments.path, metavar="DIR", help="where artefacts go (default: runs/<name>-train)"
    )
    train.add_argument("--json", action="store_true", help="print rank 0's report as JSON on stdout")
    train.set_defaults(func=_lazily("train"))

    pod = arguments.command(commands, "pod", "what a trial's container runs: one rank, told by TRIALRUN_TRIAL")
    _add_places(pod)
    pod.set_defaults(func=_lazily("pod"))

    baseline = arguments.command(
        commands, "baseline", "what a baseline's container runs: a whole search, told by TRIALRUN_BASELINE"
    )
    _add_places(baseline)
    baseline.set_defaults(func=_lazily("baseline"))

    predict = arguments.command(commands, "predict", "predict with the weights of a run")
    predict.add_argument(
        "folder", type=arguments.path, metavar="DIR", help="a trial's folder, such as runs/NAME/trials/ID"
    )
    predict.add_argument(
        "--rows", type=arguments.path, metavar="CSV", help="rows to predict from (default: the run's test set)"
    )
    predict.add_argument("--json", action="store_true", help="one JSON object a line")
    predict.set_defaults(func=_lazily("predict"))

    from trainer.data import commands as data

    data.add(commands)
    return parser


def _of_experiment(commands: "arguments.Subparsers", name: str, does: str) -> argparse.ArgumentParser:
    """Adds a command about an experiment on a cluster."""
    command = arguments.command(commands, name, does)
    command.add_argument(
        "experiment", metavar="EXPERIMENT", help="hps/NAME, sct/NAME, or NAME for the one of that name"
    )
    arguments.cluster(command, "the experiment is")
    return command


def _add_places(parser: argparse.ArgumentParser) -> None:
    """What a container is given."""
    parser.add_argument(
        "--message",
        type=arguments.path,
        default=Path("/dev/termination-log"),
        help="where its report goes (default %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=arguments.path,
        default=Path("/data"),
        help="where the volume with data is mounted (default %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=arguments.path,
        default=Path("/output"),
        help="where the volume for artefacts is mounted (default %(default)s)",
    )


def commands() -> set[str]:
    """The names of all commands."""
    actions = parser()._subparsers
    assert actions is not None  # noqa: S101
    return {name for action in actions._group_actions for name in (action.choices or ())}


def _lazily(command: str) -> Any:
    def call(options: argparse.Namespace) -> int:
        from importlib import import_module

        # Read before anything heavy is imported: a mistake in it is told at once, and where PyTorch is missing too.
        if "file" in options:
            from trainer.experiment.load import read, read_ours

            options.experiment = (read_ours if command == "train" else read)(options.file)
        function = import_module(f"trainer.commands.{command}").main
        code: int = function(options)
        return code

    return call


if __name__ == "__main__":
    sys.exit(console())
