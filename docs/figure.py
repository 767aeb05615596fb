"""Draw docs/evaluate.svg, the picture in the README, from a real run: python docs/figure.py"""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

import securitynet
from securitynet.cli._tables import result_view

WIDTH = 84


def main() -> None:
    """Evaluate the overfit model of the built-in zoo and keep what the terminal shows."""
    console = Console(record=True, width=WIDTH, force_terminal=True)
    console.print("$ securitynet evaluate builtin/digits-overfit", style="bold")
    console.print(result_view(securitynet.evaluate("builtin/digits-overfit"), WIDTH))
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="securitynet"), flags=re.DOTALL)  # no fonts from the network
    Path(__file__).with_name("evaluate.svg").write_text(drawing.replace("Fira Code", "monospace"), encoding="utf-8")


if __name__ == "__main__":
    main()
