"""A Hugging Face Hub on this machine, for tests: it speaks the protocol that the real clients speak.

Models, datasets and spaces; uploads as plain files, LFS and Xet; branches, tags, pull requests, cards, leaderboards.
"""

from hub.serve import serve
from hub.store import Fault, Hub, Request, User

__all__ = ["Fault", "Hub", "Request", "User", "serve"]
