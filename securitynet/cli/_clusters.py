"""The options of a sweep on several workers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securitynet.sweep.cluster import Cluster


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("several workers")
    group.add_argument(
        "--engine",
        choices=("serial", "ray", "slurm"),
        default="serial",
        help="ray: workers on a cluster (securitynet[ray]); slurm: shards as an array of jobs (securitynet[slurm])",
    )
    group.add_argument("--workers", type=int, default=2, metavar="N", help="models at once with ray, shards with slurm (default 2)")
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="HOST:PORT, or local (default: $RAY_ADDRESS, else the head here, else one is started)"
    )
    group.add_argument("--worker-cpus", type=float, metavar="X", help="CPUs that a worker reserves on Ray (default 1 for each process)")
    group.add_argument(
        "--worker-gpus", type=float, metavar="X", help="GPUs, or the part of one, that it reserves (default 1 for each process, if any)"
    )
    group.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of sbatch, such as partition=gpu, gpus_per_node=1, time=720 (minutes); repeat it",
    )


def cluster(args: argparse.Namespace) -> Cluster:
    """Return the Ray cluster that the options name."""
    from securitynet.sweep.cluster import Cluster

    return Cluster(args.workers, args.ray_address, args.worker_cpus, args.worker_gpus)
