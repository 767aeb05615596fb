"""What makes two models the same: everything that decides their answers."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn

from securitynet.cache import digest

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.Size)


def state_sha256(module: nn.Module) -> str:
    """sha256 over names, shapes, types and bytes of the module's state dict, in order."""
    hasher = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hasher.update(name.encode())
        _feed(hasher, tensor)
    return hasher.hexdigest()


def fingerprint(module: nn.Module) -> str:
    """sha256 of a module's printed structure and tensors, and of the code and plain attributes of its parts outside torch.

    Two wrappers that differ only in a number they were given are two modules. Code that is reached in other ways (a global
    that forward() reads, say) is not seen.
    """
    own = [(name, part) for name, part in module.named_modules() if not type(part).__module__.startswith("torch.")]
    code = {f"{kind.__module__}.{kind.__qualname__}": _source(kind) for kind in {type(part) for _, part in own}}
    attributes = [[name, _attributes(part)] for name, part in own]
    return digest(repr(module), state_sha256(module), code, attributes)


def _attributes(module: nn.Module) -> list[list[str]]:
    """Name and content of what a module keeps beside its parameters, buffers and parts."""
    return [[name, _content(value)] for name, value in sorted(vars(module).items()) if name != "training" and not name.startswith("_")]


def _content(value: Any) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        return _feed(hashlib.sha256(), torch.as_tensor(value)).hexdigest()
    if isinstance(value, list | tuple | set | frozenset):
        return f"{type(value).__name__}{[_content(item) for item in value]}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_content(key)}: {_content(item)}' for key, item in value.items())}}}"
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {value.__code__.co_code.hex()} {value.__code__.co_consts!r} {_content(value.__defaults__)}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _feed(hasher: Any, tensor: torch.Tensor) -> Any:
    """Give a hasher the shape, type and bytes of a tensor, without copying them; return it."""
    data = tensor.detach().cpu().contiguous()
    hasher.update(f"{tuple(data.shape)}{data.dtype}".encode())
    if data.numel():
        hasher.update(data.flatten().view(torch.uint8).numpy())
    return hasher


def _source(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # defined in an interactive session: the name is all there is
        return cls.__qualname__
