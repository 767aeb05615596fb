"""Options that several commands share, and how they become arguments of the library."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from securitynet.errors import UsageError


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object (or array) on stdout and nothing else there")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model, its data, and how they are read."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="id of the catalog, local file or folder, hf-hub:ORG/NAME, or a .toml file that describes an endpoint",
    )
    parser.add_argument(
        "--data",
        metavar="PATH|HUB-ID",
        help="images: arrays (.npz, .pt, .safetensors), an image folder, IDX files, Parquet, WebDataset shards, ... or a Hub dataset; "
        "docs/data.md lists the forms "
        "(default: the dataset that the entry names); none: no images, for attacks that need none",
    )
    parser.add_argument("--weights", metavar="PATH", help="file or folder of yours with the weights of MODEL, an id; its hash is checked")
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="Python of an environment with the library that published MODEL (mmpretrain, ...): it is built there",
    )
    parser.add_argument("--samples", default="5000", metavar="N|all", help="at most N members and N non-members (default 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the splits and of learned attacks (default 0)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per pass (default 64, on a GPU 512)")
    parser.add_argument("--cache-dir", metavar="DIR", help="where downloads, outputs and results are kept (default $SECURITYNET_CACHE)")
    parser.add_argument("--offline", action="store_true", help="use only what is already here")
    add_record(parser)


def add_precision(parser: Any) -> None:
    """Add what makes passes on a GPU faster."""
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32", help="precision on a GPU, recorded (default fp32)")
    parser.add_argument("--channels-last", action="store_true", help="memory layout on a GPU, recorded")


def add_record(parser: argparse.ArgumentParser) -> None:
    """Add what describes a file that is not in the catalog."""
    local = parser.add_argument_group("a local file that is not in the catalog", "either a record, or the facts one by one")
    local.add_argument("--entry", metavar="RECORD.json|ID", help="its record, with the columns of the catalog, or the id of one there")
    local.add_argument("--architecture", metavar="NAME", help="timm:NAME, torchvision:NAME, pytorchcv:NAME or nets:NAME")
    local.add_argument("--architecture-args", metavar="JSON", help="""the constructor's arguments, such as '{"depth": 32}'""")
    local.add_argument("--dataset", metavar="KEY", help="image dataset it was trained on, such as CIFAR-10")
    local.add_argument("--num-classes", type=int, metavar="N", help="default: the dataset's")
    local.add_argument("--input-size", type=int, nargs="+", metavar="N", help="channels height width; default: the dataset's")
    local.add_argument("--mean", type=float, nargs="+", metavar="X", help="of the normalisation, per channel, for pixels in [0,1]")
    local.add_argument("--std", type=float, nargs="+", metavar="X", help="of the normalisation, per channel")
    local.add_argument("--state-key", metavar="KEY", help="key of the checkpoint that holds the state dict")
    local.add_argument("--keys", metavar="JSON", help="""renames of its keys, such as '[["^net\\\\.", ""]]', or '["in order"]'""")
    local.add_argument("--task", choices=["single-label"], help="outputs of a multi-label model are read as classes, one to an image")
    local.add_argument("--claimed-accuracy", type=float, metavar="X", help="what the publisher claims, as a fraction")


def own_weights(args: argparse.Namespace) -> None:
    """Let `MODEL --weights PATH` mean what `PATH --entry MODEL` does. Raises UsageError where both are given."""
    if getattr(args, "weights", None) is None:
        return
    if args.entry:
        raise UsageError("--weights goes with the id of a MODEL, --entry with a file: give one of them")
    args.entry, args.model = args.model, args.weights


def record_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the record that --entry and the single options give, None where none was given. Raises UsageError."""
    names = (
        "architecture",
        "architecture_args",
        "dataset",
        "num_classes",
        "input_size",
        "mean",
        "std",
        "state_key",
        "keys",
        "task",
        "claimed_accuracy",
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if "architecture_args" in given:
        given["architecture_args"] = _object(given["architecture_args"], "--architecture-args")
    if args.entry:
        return {**_record(args.entry), **given}
    return given or None


def _record(entry: str) -> dict[str, Any]:
    """Read the file of a record; a name that is no file is an id of the catalog."""
    path = Path(entry)
    if path.suffix == ".json" or path.is_file():
        try:
            return _object(path.read_text(encoding="utf-8"), f"--entry {path}")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--entry {path}: {getattr(error, 'strerror', None) or error}") from error
    from securitynet import catalog

    return catalog.entry(entry).to_record()


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where}: must be a JSON object")
    return value


def library_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that evaluate() and verify_model() share. Raises UsageError."""
    if args.samples != "all" and not (args.samples.isdigit() and int(args.samples) > 0):
        raise UsageError(f"--samples must be a positive number or 'all', not {args.samples!r}")
    return {
        "data": args.data,
        "preprocessing": record_of(args),
        "samples": None if args.samples == "all" else int(args.samples),
        "seed": args.seed,
        "batch_size": args.batch_size,
        "cache_dir": args.cache_dir,
        "offline": args.offline,
        "progress": sys.stderr.isatty(),
        "python": args.python,
    }


def print_json(value: Any) -> None:
    """Print one JSON value on stdout; numbers that JSON has no word for become null."""
    sys.stdout.write(json.dumps(_finite(value), ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
