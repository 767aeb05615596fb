"""pytorchcv's own table of weights, which says what networks it has."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files as resource_files


@cache
def table() -> Mapping[str, Mapping[str, str]]:
    """Return the library's table of weights by model name; a name that stands there twice keeps the line with a checksum."""
    place = resource_files("pytorchcv.models.common").joinpath("model_metainfos.csv")
    with place.open(encoding="utf-8") as file:
        return {row["model_name"]: row for row in csv.DictReader(file) if row["checksum"] != "NA"}
