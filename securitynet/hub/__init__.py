"""Pushing to the Hub: models, results, the catalog, metrics, the board. Everything that is pushed is one commit, or one pull request.

What is there already is not written twice, what another writer adds meanwhile is kept, and a call that was cut off can be repeated.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securitynet.hub.board import push_board
    from securitynet.hub.catalog import contribute, push_catalog
    from securitynet.hub.contribution import push_evaluation
    from securitynet.hub.metric import push_metric
    from securitynet.hub.model import push_model
    from securitynet.hub.results import push_results
    from securitynet.hub.write import Pushed

_HOME = {
    "Pushed": "securitynet.hub.write",
    "contribute": "securitynet.hub.catalog",
    "push_board": "securitynet.hub.board",
    "push_catalog": "securitynet.hub.catalog",
    "push_evaluation": "securitynet.hub.contribution",
    "push_metric": "securitynet.hub.metric",
    "push_model": "securitynet.hub.model",
    "push_results": "securitynet.hub.results",
}
__all__ = ["Pushed", "contribute", "push_board", "push_catalog", "push_evaluation", "push_metric", "push_model", "push_results"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'securitynet.hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
