"""securitynet: evaluate the security and privacy of public image classifiers.

Importing this package imports neither torch nor datasets; each name is fetched when it is first used.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from securitynet._version import __version__ as __version__

if TYPE_CHECKING:
    from securitynet.catalog import list_models, load_catalog, load_results
    from securitynet.endpoint import Endpoint
    from securitynet.entry import Entry
    from securitynet.errors import SecurityNetError
    from securitynet.evaluation import evaluate
    from securitynet.loaders import load_model
    from securitynet.results.result import Result
    from securitynet.results.row import Row
    from securitynet.target import Target

_HOME = {
    "Endpoint": "securitynet.endpoint",
    "Entry": "securitynet.entry",
    "Result": "securitynet.results.result",
    "Row": "securitynet.results.row",
    "SecurityNetError": "securitynet.errors",
    "Target": "securitynet.target",
    "evaluate": "securitynet.evaluation",
    "list_models": "securitynet.catalog",
    "load_catalog": "securitynet.catalog",
    "load_results": "securitynet.catalog",
    "load_model": "securitynet.loaders",
}
__all__ = [
    "Endpoint",
    "Entry",
    "Result",
    "Row",
    "SecurityNetError",
    "Target",
    "evaluate",
    "list_models",
    "load_catalog",
    "load_model",
    "load_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        near = difflib.get_close_matches(name, __all__, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(__all__)}" if not name.startswith("_") else ""
        raise AttributeError(f"module 'securitynet' has no attribute {name!r}{hint}", name=name)
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
