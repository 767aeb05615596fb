"""The command line as somebody new meets it: lists, pipes, narrow screens, wrong calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from securitynet import cli
from securitynet.attacks.described import attack, attacks, suites
from securitynet.attacks.resolve import _module, names, resolve, taken_by, variants
from securitynet.cli._plain import described, table

MODEL = "builtin/digits-regular"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run in this process; argparse's exit is the code, too."""
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    done = capsys.readouterr()
    return code, done.out, done.err


def test_what_is_read_from_source_is_what_the_modules_hold() -> None:
    assert [one.name for one in attacks()] == names()
    for one in attacks():
        made = variants(_module(one.name))
        assert {taken_by(each) for each in made} <= set(one.needs[0].split(" or ")), one.name
        assert one.suites == tuple(getattr(_module(one.name), "SUITES", ())) and one.sentence
        assert all(setting.name in type(each).__dataclass_fields__ for each in made for setting in one.settings)
    resolved = {type(each).__module__.rpartition(".")[2] for each in resolve("membership:full")}
    assert resolved == {name.partition("/")[2] for name in suites()["membership:full"]}


def test_settings_are_shown_with_type_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "attacks", "membership/top_gap")
    assert code == 0 and "k        int   2" in out
    code, out, _ = run(capsys, "attacks", "membership/*", "--json")
    records = json.loads(out)
    assert code == 0 and {record["name"] for record in records} == {name for name in names() if name.startswith("membership/")}
    assert attack("membership/lira").needs == ("outputs", "reference models")


def test_lists_are_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for command in ("attacks", "suites", "defences", "datasets"):
        code, out, _ = run(capsys, command)
        assert code == 0 and out.strip()
        code, out, _ = run(capsys, command, "--json")
        assert code == 0 and json.loads(out)
    code, out, _ = run(capsys, "list", "-q", "timm/resnet50*")
    assert code == 0 and all(line.startswith("timm/resnet50") for line in out.splitlines())
    code, out, _ = run(capsys, "list", "--dataset", "cifar10", "--sort", "params", "--limit", "3", "--json")
    params = [record["params"] for record in json.loads(out)]
    assert code == 0 and len(params) == 3 and params == sorted(params, reverse=True)


def test_a_narrow_screen_loses_columns_and_cuts_no_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in (("attacks",), ("suites",), ("defences",), ("datasets",), ("list", "--dataset", "CIFAR-10")):
        _, out, _ = run(capsys, *command)
        assert all(len(line) <= 80 or len(line.split()) == 1 for line in out.splitlines()), command
        assert "..." not in out and "…" not in out
    text = table(("id", "a", "b"), [("x" * 70, "1", "2" * 50)], room=75)
    assert text.splitlines()[1:3] == ["x" * 70, " " * 37 + "  1"] and "left out: b" in text
    assert described([("name", "some words that go on")], 26) == "name  some words that go\n      on\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -c 'from securitynet.cli import main; import sys; sys.exit(main())' list -q"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, env={**os.environ}
    )
    assert done.stdout.splitlines()[-1] == "0" and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


WRONG = [
    (("evaluat",), "did you mean evaluate"),
    (("list", "--datas", "x"), "did you mean --dataset"),
    (("list", "--limit", "0"), "positive"),
    (("list", "--sort", "size"), "unknown"),
    (("evaluate", "--attacks", "membership/loss"), "MODEL is missing"),
    (("evaluate", MODEL, "--attacks", "membership/los"), "did you mean membership/loss"),
    (("evaluate", MODEL, "--attacks", "membership:ful"), "membership:full"),
    (("evaluate", "builtin/digits-regula"), "builtin/digits-regular"),
    (("evaluate", MODEL, "--dtype", "fp8"), "fp16"),
    (("evaluate", MODEL, "--overwrite", "maybe"), "known: only-missing"),
    (("evaluate", MODEL, "--output", "/proc/none/x"), "cannot be written"),
    (("evaluate", MODEL, "surplus"), "unexpected argument"),
    (("sweep", "stauts"), "did you mean status"),
    (("push", "modle"), "did you mean model"),
    (("attacks", "membership/lirra"), "did you mean membership/lira"),
    (("datasets", "cifar11"), "known"),
    (("findings", "nowhere.jsonl"), "nowhere.jsonl"),
    (("verify",), "MODEL is missing"),
    (("show",), "required"),
]


@pytest.mark.parametrize(("call", "hint"), WRONG, ids=[" ".join(call) for call, _ in WRONG])
def test_wrong_calls_are_one_line_and_exit_with_2(capsys: pytest.CaptureFixture[str], call: tuple[str, ...], hint: str) -> None:
    code, out, err = run(capsys, *call)
    assert code == 2 and not out and hint in err and len(err.splitlines()) == 1 and "Traceback" not in err


@pytest.mark.slow
def test_names_are_checked_before_torch_is_imported() -> None:
    script = "import sys; from securitynet.cli import main; code = main(sys.argv[1:]); sys.exit(10 * ('torch' in sys.modules) + code)"
    for call in (["evaluate", MODEL, "--attacks", "membership/los"], ["evaluate", "builtin/digits-regula"], ["attacks"], ["list", "-q"]):
        done = subprocess.run([sys.executable, "-c", script, *call], capture_output=True, text=True, env={**os.environ})
        assert done.returncode in (0, 2), (call, done.stderr)  # with torch it would be 10 or 12


def test_options_with_several_values_may_be_repeated() -> None:
    args = cli.parser().parse_args(["evaluate", "--set", "a=1", "b=2", "--set", "c=3", "--attacks", "x", MODEL])
    cli.place_model(args, cli.parser())
    assert args.set == ["a=1", "b=2", "c=3"] and args.attacks == ["x"] and args.model == MODEL


@pytest.mark.slow
def test_the_model_may_stand_after_options_with_several_values(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cache = ("--cache-dir", str(tmp_path), "--json")
    code, out, _ = run(capsys, "evaluate", *cache, "--attacks", "membership/loss", "membership/entropy", MODEL)
    assert code == 0 and {row["attack"] for row in json.loads(out)["rows"] if row["family"] == "membership"} >= {"membership/entropy"}
    code, out, _ = run(capsys, "evaluate", MODEL, *cache, "--attacks", "membership/loss", "membership/margin", "--overwrite", "never")
    status = {row["attack"]: row["status"] for row in json.loads(out)["rows"]}
    assert code == 0 and status["membership/loss"] == "ok" and status["membership/margin"] == "skipped"
    elsewhere = ("--cache-dir", str(tmp_path / "empty"))
    code, _, err = run(capsys, "evaluate", MODEL, *elsewhere, "--attacks", "membership/loss", "--overwrite", "never")
    assert code == 2 and "not stored" in err
    dates = []
    for overwrite in ("only-missing", "always"):
        code, out, _ = run(capsys, "evaluate", MODEL, *cache, "--attacks", "membership/loss", "--overwrite", overwrite)
        dates.append([(row["value"], row["seconds"]) for row in json.loads(out)["rows"] if row["attack"] == "membership/loss"])
    assert [value for value, _ in dates[0]] == [value for value, _ in dates[1]] and dates[0] != dates[1], "it ran again"
