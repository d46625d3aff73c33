"""`python -m trainer data publish` and `data serve-export`: samples to a topic, now or when somebody asks."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from trainer import arguments
from trainer.experiment.errors import UserError
from trainer.experiment.kafka import Compression, Format, offset_range

if TYPE_CHECKING:
    from trainer.data.kafka.arrays import SampleSource
    from trainer.data.kafka.publish import Published, Sending
    from trainer.experiment.training import Data

_IMAGE = 784


def add(commands: "arguments.Subparsers") -> None:
    """Add both commands to those of `data`."""
    publish = arguments.command(
        commands, "publish", "write samples to the Kafka topics that an experiment file reads"
    )
    publish.add_argument(
        "file",
        type=arguments.path,
        nargs="?",
        metavar="FILE",
        help="an experiment file with source kafka; or use --topic",
    )
    publish.add_argument("--topic", help="without FILE: the topic to make")
    publish.add_argument("--brokers", help="host:port, several with commas (default: those of FILE)")
    _add_samples(publish)
    _add_writing(publish)
    publish.add_argument(
        "--partitions", type=arguments.count, metavar="N", default=1, help="without FILE: of the topic (default 1)"
    )
    publish.add_argument("--replace", action="store_true", help="delete topics of these names first")
    publish.add_argument("--json", action="store_true", help="print one JSON object in place of text")
    publish.set_defaults(func=_publish)

    serve = arguments.command(commands, "serve-export", "a service that publishes a data set when it is asked to")
    serve.add_argument("--port", type=int, metavar="N", default=8080, help="where it listens (default 8080)")
    serve.add_argument("--host", default="127.0.0.1", help="the address it listens on (default 127.0.0.1)")
    serve.add_argument("--brokers", help="the only brokers that it publishes to (default: whichever it is asked)")
    serve.add_argument(
        "--ranges",
        type=arguments.count,
        metavar="N",
        default=1,
        help="partitions, and so ranges, of a topic (default 1)",
    )
    _add_samples(serve)
    _add_writing(serve)
    serve.set_defaults(func=_serve)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="origin",
        type=arguments.path,
        metavar="FILE",
        help="an experiment file, whose data set is published",
    )
    parser.add_argument("--cache", type=arguments.path, metavar="DIR", help="where data sets are kept")
    parser.add_argument(
        "--samples",
        type=arguments.count,
        metavar="N",
        help="without --from: how many to make up (default: as FILE needs)",
    )
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="seeds samples that are made up (default 0)")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=get_args(Format), default="Avro", help="without FILE (default Avro)")
    parser.add_argument(
        "--compression", choices=get_args(Compression), default="None", help="without FILE (default None)"
    )
    parser.add_argument(
        "--batch-bytes",
        type=arguments.count,
        metavar="N",
        default=1_000_000,
        help="of a batch at most (default 1000000)",
    )
    parser.add_argument(
        "--linger-ms", type=int, metavar="N", default=50, help="how long a batch is waited for (default 50)"
    )


def _publish(args: argparse.Namespace) -> int:
    published = []
    for data, samples, counts in _wanted(args):
        done = _published(data, samples, counts, _sending(args), replace=args.replace)
        published.append(done)
        if not args.json:
            _tell(done)
    if args.json:
        print(json.dumps({"topics": [each.document() for each in published]}))
    return 0


def _serve(args: argparse.Namespace) -> int:
    from trainer.data.kafka.layout import divided
    from trainer.data.kafka.service import Service, serve

    samples, like = _samples(args, None)
    name = "random" if args.origin is None else _name(args.origin)

    def publish(brokers: str, topic: str, replace: bool) -> "Published":
        data = _data(args, brokers, topic, like)
        return _published(data, samples, divided(len(samples), args.ranges), _sending(args), replace=replace)

    return serve(Service(name, args.brokers, publish), args.host, args.port)


def _wanted(args: argparse.Namespace) -> list[tuple["Data", "SampleSource", Sequence[int]]]:
    """What to publish: the settings of each topic, its samples, and how many each partition gets."""
    from trainer.data.kafka.layout import divided

    if (args.file is None) == (args.topic is None):
        raise UserError(
            "data publish: an experiment file or --topic is needed, got " + ("both", "neither")[args.file is None]
        )
    if args.file is None:
        if args.brokers is None:
            raise UserError("data publish: --brokers is needed with --topic, got none")
        samples, like = _samples(args, None)
        data = _data(args, args.brokers, args.topic, like)
        return [(data, samples, divided(len(samples), args.partitions))]
    found: list[tuple[Data, SampleSource, Sequence[int]]] = []
    for data in _topics(args.file, args.brokers):
        counts = _needed(data)
        samples, _ = _samples(args, data)
        if len(samples) < sum(counts):
            raise UserError(
                f"{args.file}: data.ranges need {sum(counts):,} samples, got {len(samples):,}; give more by "
                "--samples or --from, or shorten the ranges"
            )
        found.append((data, samples, counts))
    return found


def _topics(file: Path, brokers: str | None) -> list["Data"]:
    """The data of each topic that a file's trials read, one for each."""
    from trainer.experiment.expand import expand
    from trainer.experiment.load import read_ours

    wanted: dict[str, Data] = {}
    for trial in expand(read_ours(file)):
        data = trial.training.data
        if data.source != "kafka" or data.export is not None:
            raise UserError(f"{file}: source kafka with ranges is needed to publish for it, got {data.source}")
        known = wanted.setdefault(data.topic_name, data)
        if (known.format, known.compression) != (data.format, data.compression):
            raise UserError(
                f"{file}: a topic has one format and compression, but {data.topic_name} is read as several; write "
                "{format} and {compression} into data.topic"
            )
    return [data if brokers is None else data.model_copy(update={"brokers": brokers}) for data in wanted.values()]


def _needed(data: "Data") -> list[int]:
    """How many messages each partition must have for `data.ranges`."""
    ranges = [offset_range(text) for text in data.ranges]
    counts = [0] * (1 + max(each.partition for each in ranges))
    for each in ranges:
        counts[each.partition] = max(counts[each.partition], each.end + 1)
    return counts


def _samples(args: argparse.Namespace, data: "Data | None") -> tuple["SampleSource", dict[str, Any]]:
    """The samples to publish, and the fields of `data` that say what they look like."""
    from trainer.data.build import prepare
    from trainer.data.cache import default_cache
    from trainer.data.dataset import open_dataset
    from trainer.data.kafka.arrays import OfDataset, made_up
    from trainer.experiment.load import read_ours
    from trainer.experiment.training import Data

    if args.origin is not None:
        origin = read_ours(args.origin).spec.training.data
        if data is not None and (origin.window * len(origin.columns), origin.task) != (
            data.window * len(data.columns),
            data.task,
        ):
            raise UserError(
                f"--from {args.origin}: samples as {args.file} reads them are needed ({data.task}, {data.window} x "
                f"{len(data.columns)}), got {origin.task}, {origin.window} x {len(origin.columns)}"
            )
        dataset = open_dataset(prepare(origin, args.cache or default_cache()))
        said = {
            "window": origin.window,
            "columns": list(origin.columns),
            "task": origin.task,
            "classes": origin.classes,
        }
        return OfDataset(dataset), said
    like: dict[str, Any] = {"window": _IMAGE, "columns": ["pixel"], "task": "Classification", "classes": 10}
    if data is None and args.samples is None:
        raise UserError("--samples: how many to make up is needed without --from, got none")
    shaped = data or Data.model_validate_json(json.dumps({"source": "synthetic", **like}))
    count = args.samples or sum(_needed(shaped))
    return made_up(shaped, count, args.seed), like


def _data(args: argparse.Namespace, brokers: str, topic: str, like: dict[str, Any]) -> "Data":
    """What a topic of these samples is read with."""
    from pydantic import ValidationError

    from trainer.experiment.error_messages import sentences
    from trainer.experiment.training import Data

    fields = {
        "source": "kafka",
        "brokers": brokers,
        "topic": topic,
        "ranges": ["0:0:0"],
        "format": args.format,
        "compression": args.compression,
        **like,
    }
    try:
        return Data.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise UserError("\n".join(sentences(Data, error))) from error


def _published(
    data: "Data", samples: "SampleSource", counts: Sequence[int], sending: "Sending", *, replace: bool
) -> "Published":
    from trainer.data.kafka.publish import publish
    from trainer.data.progress import meter

    with meter(f"messages sent to {data.topic_name}") as progress:
        return publish(data, samples, counts, replace=replace, sending=sending, progress=progress)


def _sending(args: argparse.Namespace) -> "Sending":
    from trainer.data.kafka.publish import LARGEST_BATCH, Sending

    if not 1 <= args.batch_bytes <= LARGEST_BATCH:
        raise UserError(
            f"--batch-bytes: must be 1 to {LARGEST_BATCH:,}, the most that brokers take, got {args.batch_bytes}"
        )
    if args.linger_ms < 0:
        raise UserError(f"--linger-ms: must be 0 or more, got {args.linger_ms}")
    return Sending(args.batch_bytes, args.linger_ms)


def _tell(done: "Published") -> None:
    rate = done.payload_bytes / 1e6 / done.seconds
    for name, value in (
        ("topic", done.topic),
        ("ranges", " ".join(done.ranges)),
        ("messages", f"{done.messages:,} in {done.format}, compression {done.compression}"),
        ("payload", f"{done.payload_bytes:,} bytes in {done.seconds:.1f} s, {rate:.1f} MB/s"),
        ("batches", f"up to {done.sending.batch_bytes:,} bytes, waited for {done.sending.linger_ms} ms"),
        ("checksum", done.checksum),
    ):
        print(f"{name:9} {value}")


def _name(file: Path) -> str:
    from trainer.experiment.load import read

    return read(file).name
