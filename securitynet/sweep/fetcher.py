"""The process that brings weights: `python -m securitynet.sweep.fetcher`, asked by the driver. It imports no torch."""

from __future__ import annotations

from pathlib import Path

from securitynet.sweep.serve import Message, Owner, answered


def main() -> None:
    """Answer until told to stop."""
    owner = Owner()
    while not (message := owner.next()).get("stop"):
        owner.answer(answered(fetched, message))


def fetched(message: Message) -> Message:
    """Bring the weights of the entry in `message` into the cache; where they are there already, check them."""
    from securitynet.download import Files, fetch
    from securitynet.entry import Entry

    weights = fetch(Entry.from_record(message["entry"]), Files(Path(message["cache"]), message["offline"], progress=False))
    return {"size": weights.path.stat().st_size}


if __name__ == "__main__":
    main()
