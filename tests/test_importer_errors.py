"""A released table that is malformed is refused whole, with the line and the cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from released_table import PROJECTS, bring, contents, table, text_of, write_catalog

from securitynet.errors import DataError, UsageError
from securitynet.importers.securitynet_2024 import PROJECT_COLUMNS, import_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog whose entries say nothing yet that the table could say, but for one venue."""
    return write_catalog(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("## Benchmark Models", "## Benchmarks", r"line 6: a table under the unknown heading 'Benchmarks'"),
        ("## New Models", "## Security Research Models", r"line \d+: a second table under 'Security Research Models'"),
        ("| Overfit Gap |", "| Overfitting |", r"line 6: unknown column 'Overfitting'.*Overfit Gap"),
        ("| Overfit Gap |", "| Test Accuracy |", r"line 6: column 'Test Accuracy' .* twice"),
        ("| resnet20_cifar10 |", "| resnet20_cifar10 | more |", r"line 8: 26 cells, the header of 'Benchmark Models' has 25"),
        ("| resnet20_cifar10 |", "resnet20_cifar10 |", r"line 9: a second table under 'Benchmark Models'"),
        ("0.9334", "0.9334%", r"line 8: Test Accuracy is '0.9334%', not a number"),
        ("0.9334", "93.34", r"line 8: Test Accuracy is 93.34, not a fraction"),
        ("0.9334", "", r"line 8: Test Accuracy is '', not a number"),
        ("| 50000 |", "| 50k |", r"line 8: Training Size is '50k', not a whole number"),
        ("| CIFAR-10 |", "| CIFAR-11 |", r"line 8: unknown image dataset 'CIFAR-11'; did you mean CIFAR-10"),
        (
            "| resnet20_cifar10 |",
            "| resnet21_cifar10 |",
            r"line 8: .*resnet21_cifar10, which models/pytorchcv.jsonl does not have",
        ),
        ("| vgg16_bn |", "| resnet20_cifar10 |", r"line 9: pytorchcv/resnet20_cifar10 stands on line 8 already"),
        ("https://github.com/osmr", "https://github.com/somebody", r"line 8: Weights .* is none of the known places"),
        ("| benchmark |", "| leisure |", r"line 8: .*purpose 'leisure' is not one of benchmark"),
        ("resnet_periodic_cosine", "resnet_often_cosine", r"line \d+: Model Name .* is not of the form"),
        (":--- | :---", "x | :---", r"line 7: the header of 'Benchmark Models' is not followed by its line of dashes"),
        ("[Link](https://github.com/a/b.git)", "later", r"line \d+: Weights is 'later', not a link"),
        ("0.0666 ", "0.0666|", r"line 8: 26 cells"),
    ],
)
def test_a_malformed_table_is_refused_whole(folder: Path, old: str, new: str, words: str) -> None:
    text = text_of()
    assert old in text
    before = contents(folder)
    with pytest.raises(DataError, match=words):
        bring(folder, text.replace(old, new, 1))
    assert contents(folder) == before and not (folder / "results").exists()


def test_a_missing_table_or_column_or_file_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="no table under the heading 'New Models'"):
        bring(folder, text_of().partition("## New Models")[0])
    lacking = text_of().replace(table(PROJECT_COLUMNS, PROJECTS), table(PROJECT_COLUMNS[:-1], PROJECTS))
    with pytest.raises(DataError, match=r"line \d+: 'New Models' lacks the column 'Note'"):
        bring(folder, lacking)
    with pytest.raises(UsageError, match="nowhere: No such file"):
        import_table(folder / "nowhere", folder)
