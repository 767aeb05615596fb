"""What makes two models the same: everything that decides their outputs."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from securitynet.cache import digest
from securitynet.content import Contents, counted, fed

PRIVATE = frozenset(vars(nn.Module())) | {"training"}  # parameters, buffers, parts and hooks


@dataclass(frozen=True)
class Identity:
    """`sha256` of what decides the outputs. `unidentified` names a part that cannot be identified: then it is like no other."""

    sha256: str
    unidentified: str | None = None


def state_sha256(module: nn.Module) -> str:
    """sha256 over the names, shapes, types and bytes of the module's state dict, in order."""
    hasher = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hasher.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            fed(hasher, tensor)
        else:  # extra state, of the part's own making
            hasher.update(repr(tensor).encode())
    return hasher.hexdigest()


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a module's state dict, by name."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def fingerprint(module: nn.Module) -> str:
    """Return the sha256 of identity()."""
    return identity(module).sha256


def identity(module: nn.Module) -> Identity:
    """Return the identity of a module: printed structure, tensors, and code and attributes of its parts outside torch.

    Two wrappers that differ in a number, a function's code, its closure or the globals that it reads are two modules. What
    answering itself changes in private attributes (counters) does not count, nor do hooks: most only look on. A part whose
    content cannot be read (a session, a connection, a random generator, code that reads files or the network) makes the module
    unidentified: two such modules are never the same, not even one and itself.
    """
    contents = Contents(_content)
    content = _content(module, "", contents)
    if contents.unidentified is None:
        return Identity(content)
    return Identity(digest(content, secrets.token_hex(16)), contents.unidentified)


def _content(module: nn.Module, place: str, contents: Contents) -> str:
    """The content of a module, or of one that stands in an attribute, a closure, a list."""
    parts = [(f"{place}.{name}".strip("."), part) for name, part in module.named_modules()]
    own = [(name, part) for name, part in parts if not type(part).__module__.startswith("torch.")]
    code = [contents.of(kind, kind.__qualname__) for kind in dict.fromkeys(type(part) for _, part in own)]
    attributes = [[name, _attributes(part, name, contents)] for name, part in own]
    functions = [[name, contents.of(functions, name)] for name, part in parts if (functions := _functions(part))]
    return digest(repr(module), state_sha256(module), code, attributes, functions)


def _attributes(module: nn.Module, place: str, contents: Contents) -> list[list[Any]]:
    """Name and content of what a module keeps beside its parameters, buffers and parts."""
    declared = getattr(module, "declared_identity", None)
    if declared is not None:
        return [["declared", declared]]
    kept = sorted((name, value) for name, value in vars(module).items() if name not in PRIVATE and name not in counted(type(module)))
    return [[name, contents.of(value, f"{place}.{name}".strip("."))] for name, value in kept]


def _functions(part: nn.Module) -> list[tuple[str, Any]]:
    """The functions that a part of torch's was given, which decide its outputs and need not stand in its print."""
    if not type(part).__module__.startswith("torch."):
        return []
    return [(name, value) for name, value in vars(part).items() if callable(value) and not isinstance(value, nn.Module)]
