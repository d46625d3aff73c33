"""`python -m trainer data …`: what can be done with data sets. Imports numpy only when a command needs it."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import arguments
from trainer.atomic import require_replaceable
from trainer.data.kafka import commands as kafka
from trainer.experiment.errors import UserError

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset
    from trainer.experiment.training import Data


def add(subparsers: "arguments.Subparsers") -> None:
    """Add `data` and its subcommands; each sets `func`, which takes the parsed arguments and returns an exit code."""
    data = arguments.command(subparsers, "data", "build, show, export, fetch, upload and publish data sets")
    commands = data.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build = arguments.command(commands, "build", "build the data set of an experiment file, or find it built")
    build.add_argument(
        "file", type=arguments.path, metavar="FILE", help="an experiment file; its training.data is built"
    )
    build.add_argument(
        "--data", type=arguments.path, metavar="DIR", help="where relative paths begin (default: here)"
    )
    _add_cache(build)
    _add_json(build)
    build.set_defaults(func=_build)

    scale = arguments.command(commands, "scale", "write a multiple of an experiment file's training set as shards")
    scale.add_argument(
        "file", type=arguments.path, metavar="FILE", help="an experiment file; its training.data is taken"
    )
    scale.add_argument("--multiplier", type=_multiplier, required=True, metavar="N", help="how many times over")
    _add_cache(scale)
    _add_json(scale)
    scale.set_defaults(func=_scale)

    show = arguments.command(commands, "show", "say what a data set is, and check every byte of it")
    show.add_argument("folder", type=arguments.path, metavar="DIR", help="the folder that `data build` printed")
    _add_json(show)
    show.set_defaults(func=_show)

    export = arguments.command(commands, "export", "write the data set of an experiment file as .npz")
    export.add_argument("file", type=arguments.path, metavar="FILE", help="an experiment file")
    export.add_argument("out", type=arguments.path, metavar="OUT.npz", help="the file to write")
    _add_cache(export)
    export.set_defaults(func=_export)

    fetch = arguments.command(commands, "fetch", "fetch rows from Yahoo Finance into a CSV file")
    fetch.add_argument("--tickers", nargs="+", required=True, metavar="TICKER", help="symbols, such as AAPL MSFT")
    fetch.add_argument("--period", default="5y", help="how far back: 90d, 6mo, 5y, ytd or max (default 5y)")
    fetch.add_argument("--interval", default="1d", help="1m 5m 15m 30m 1h 1d 1wk or 1mo (default 1d)")
    fetch.add_argument("--out", type=arguments.path, required=True, metavar="ROWS.csv", help="the file to write")
    fetch.set_defaults(func=_fetch)

    upload = arguments.command(commands, "upload", "copy files to a volume of a cluster, for spec.pod.dataClaim")
    upload.add_argument(
        "files", type=arguments.path, nargs="+", metavar="FILE", help="a relative path stays as it is"
    )
    upload.add_argument(
        "--claim", type=arguments.name, required=True, metavar="NAME", help="the PersistentVolumeClaim"
    )
    arguments.cluster(upload, "the claim is")
    upload.add_argument("--image", type=arguments.name, help="the trainer's image (default: the operator's)")
    upload.set_defaults(func=_upload)

    kafka.add(commands)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=arguments.path,
        metavar="DIR",
        help="where data sets are kept (default ~/.cache/trialrun/data)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of text")


def _build(args: argparse.Namespace) -> int:
    if args.data is not None:
        args.file = args.file.absolute()
        args.cache = args.cache.absolute() if args.cache else None
        os.chdir(args.data)
    _print(_prepared(args), as_json=args.json)
    return 0


def _scale(args: argparse.Namespace) -> int:
    from trainer.data.dataset import open_dataset
    from trainer.data.progress import meter
    from trainer.data.scale import write_scaled

    data = _prepared(args)
    with meter("samples written") as progress:
        folder = write_scaled(data, args.multiplier, progress)
    _print(open_dataset(folder), as_json=args.json)
    return 0


def _multiplier(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a whole number > 1, got {text}")
    return int(text)


def _show(args: argparse.Namespace) -> int:
    from trainer.data.dataset import open_dataset
    from trainer.data.shards import verify

    dataset = open_dataset(args.folder)
    verify(args.folder, dataset.manifest.shards)
    _print(dataset, as_json=args.json)
    return 0


def _export(args: argparse.Namespace) -> int:
    from trainer.data.export import export, require_free

    require_free(args.out)
    dataset = _prepared(args)
    export(dataset, args.out)
    counts = dataset.manifest.counts
    print(f"{args.out}  {counts.train} train, {counts.valid} valid, {counts.test} test samples")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from trainer.data.sources.table import check_distinct
    from trainer.data.sources.yahoo import RECEIPT, ROWS, fetch, is_fetched

    asked = _asked(args)
    check_distinct(asked)
    out: Path = args.out
    receipt_path = out.with_name(out.name + ".json")
    require_replaceable(out, lambda rows: is_fetched(rows, receipt_path))
    require_replaceable(receipt_path, lambda _: out.exists())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the files only need to be renamed.
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            receipt = fetch(asked.tickers, asked.period, asked.interval, Path(folder), sleep=_announced_sleep)
            Path(folder, RECEIPT).replace(receipt_path)
            Path(folder, ROWS).replace(out)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written ({error.strerror or error}); choose another file") from error
    for ticker, rows in receipt.rows.items():
        left_out = receipt.incomplete[ticker]
        print(f"{ticker:8} {rows:8,} rows" + (f", {left_out} incomplete ones left out" if left_out else ""))
    print(f"{out}  SHA-256 {receipt.sha256}, fetched {receipt.fetched}")
    print("use it with  data: {source: csv, path: …}")
    return 0


def _upload(args: argparse.Namespace) -> int:
    from trainer.experiment.pod import Pod
    from trainer.volume.copy import opened
    from trainer.volume.pod import trainer_image

    names = [_name_there(path) for path in args.files]
    image = args.image or trainer_image()
    with opened(args.claim, args.namespace, Pod(image=image), writable=True) as volume:
        for path, name in zip(args.files, names, strict=True):
            volume.put(path, name)
            print(f"{path}  {path.stat().st_size:,} bytes, as /data/{name} where {args.claim} is spec.pod.dataClaim")
    return 0


def _name_there(path: Path) -> str:
    """Where a file goes on the volume: a relative path means the same file here and in a pod."""
    if not path.is_file():
        raise UserError(f"{path}: a file is needed, found {'a folder' if path.is_dir() else 'none'}")
    if ".." in path.parts:
        raise UserError(f"{path}: must not lead upwards; go to the folder above, or give an absolute path")
    return path.name if path.is_absolute() else str(path)


def _asked(args: argparse.Namespace) -> "Data":
    """What to fetch, checked by the same rules as an experiment file."""
    from pydantic import ValidationError

    from trainer.experiment.error_messages import sentences
    from trainer.experiment.training import Data

    try:
        return Data.model_validate_json(
            json.dumps(
                {
                    "source": "yfinance",
                    "tickers": args.tickers,
                    "period": args.period,
                    "interval": args.interval,
                }
            )
        )
    except ValidationError as error:
        raise UserError("\n".join(f"--{sentence}" for sentence in sentences(Data, error))) from error


def _announced_sleep(seconds: float) -> None:
    print(f"Yahoo did not answer; asking again in {seconds:g} s", file=sys.stderr, flush=True)
    time.sleep(seconds)


def _prepared(args: argparse.Namespace) -> "Dataset":
    """The data set of the experiment file in `args.file`, built with a progress display where that takes long."""
    from trainer.data.build import prepare
    from trainer.data.cache import default_cache
    from trainer.data.concerns import kept
    from trainer.data.dataset import open_dataset
    from trainer.data.progress import meter
    from trainer.experiment.load import read_ours

    data = read_ours(args.file).spec.training.data
    with meter("samples built") as progress:
        dataset = open_dataset(prepare(data, args.cache or default_cache(), progress))
    for concern in kept(dataset.path):
        print(f"warning: {concern}", file=sys.stderr)
    return dataset


def _print(dataset: "Dataset", *, as_json: bool) -> None:
    manifest = dataset.manifest
    if as_json:
        print(json.dumps({"folder": str(dataset.path), **manifest.document()}))
        return
    source = ", ".join(f"{name} {value}" for name, value in manifest.source.items() if name not in ("name", "sha256"))
    counts, classes = manifest.counts, f", {manifest.classes} classes" if manifest.classes else ""
    for name, value in (
        ("folder", dataset.path),
        ("source", f"{manifest.source['name']} ({source})" if source else manifest.source["name"]),
        ("samples", f"{counts.train:,} train, {counts.valid:,} valid, {counts.test:,} test"),
        ("window", f"{manifest.window} rows of {', '.join(manifest.columns)}"),
        ("target", f"{manifest.target or 'as labelled in the file'}, {manifest.task}{classes}"),
        ("bytes", f"{manifest.bytes:,}"),
        ("hash", manifest.hash),
        ("built", manifest.created),
    ):
        print(f"{name:8} {value}")
