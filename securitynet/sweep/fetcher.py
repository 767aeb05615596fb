"""The process that brings weights: `python -m securitynet.sweep.fetcher`, asked by the driver. It imports no torch."""

from __future__ import annotations

from pathlib import Path

from securitynet.sweep.serve import Message, Owner, answered, stand_by


def main() -> None:
    """Answer until told to stop."""
    stand_by()
    owner = Owner()
    while not (message := owner.next()).get("stop"):
        owner.answer(answered(fetched, message))


def fetched(message: Message) -> Message:
    """Bring the weights of the entry in `message` into the cache; where they are there already, check them.

    Return {"reached": whether they came over the network}, with "later" as well where their server wants to be asked again.
    """
    from securitynet.download import Files, at_hand, fetch
    from securitynet.download.http import Later
    from securitynet.entry import Entry
    from securitynet.sweep.faults import NETWORK

    entry = Entry.from_record(message["entry"])
    files = Files(Path(message["cache"]), message["offline"], progress=False, hold=message["hold"])
    here = at_hand(entry, files)
    try:
        fetch(entry, files)
    except Later as later:
        return {"error": str(later), "fault": NETWORK, "later": later.seconds, "reached": True}
    return {"reached": not here}


if __name__ == "__main__":
    main()
