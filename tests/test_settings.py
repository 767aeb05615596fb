"""Settings of attacks as text on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.membership.loss import Loss
from securitynet.attacks.protocols import params_of
from securitynet.attacks.settings import with_settings
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.cli import main
from securitynet.errors import UsageError


def test_every_attack_that_has_it_takes_it() -> None:
    given = ["exhaustive=true", "seconds=60", "budgets=[10,20]", "settings.pool=MNIST", "settings.surrogate_args={}"]
    ladder, loss, knockoff = with_settings([Ladder(), Loss(), Knockoff()], given)
    assert ladder == Ladder(exhaustive=True, seconds=60) and loss == Loss()
    assert isinstance(knockoff, Knockoff) and knockoff.budgets == (10, 20)
    assert (knockoff.settings.pool, knockoff.settings.surrogate_args) == ("MNIST", "{}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seconds", "not of the form KEY=VALUE"),
        ("second=3", "did you mean seconds"),
        ("few=many", "backdoor/ladder cannot take it .it is 20 now"),
        ("few=true", "cannot take it"),
        ("exhaustive=1", "it is false now"),
    ],
)
def test_what_cannot_be_set(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_settings([Ladder()], [text])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "builtin/digits-regular", "--attacks", "membership/noise", "--cache-dir", str(tmp_path), "--json"]
    assert main([*command, "--samples", "20", "--set", "patterns=2"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {json.loads(row["params"])["patterns"] for row in rows if row["family"] == "membership"} == {2}
    assert main([*command, "--set", "nothing=3"]) == 2 and "nothing" in capsys.readouterr().err
    assert params_of(Ladder()) != params_of(with_settings([Ladder()], ["few=3"])[0])
