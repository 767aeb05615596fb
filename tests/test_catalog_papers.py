"""Papers and facts of the catalog: what is shipped, what models repeat of their papers, and every planted error is found."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import securitynet
from securitynet import catalog
from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.families import family_of, name_in_library
from securitynet.importers.pretraining import data_of, method_of
from securitynet.maintenance import records
from securitynet.maintenance.check import check
from securitynet.maintenance.fact_checks import is_page, names_of, unlikely, unlinked
from securitynet.maintenance.papers import papers_of, strayed, unsound_papers, write_derived
from securitynet.paper import COLUMNS, FACTS, VENUES, Paper, derived

CATALOG = Path(str(catalog.__file__)).parent
RESNET = "https://arxiv.org/abs/1512.03385"


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    return catalog.papers()


@pytest.fixture(scope="module")
def models() -> list[dict[str, Any]]:
    return [record for path in sorted((CATALOG / "models").glob("*.jsonl")) for record in records.read(path)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy with few models and no rows, for a quick check."""
    folder = tmp_path / "copy"
    others = [path.name for path in (CATALOG / "models").glob("*.jsonl") if path.stem not in ("akamaster", "convex-adversarial")]
    left_out = shutil.ignore_patterns("builtin", "__pycache__", "*.py", "zhang2024.jsonl", "timm.jsonl", "robustbench.jsonl", *others)
    shutil.copytree(CATALOG, folder, ignore=left_out)
    assert main(["catalog", "build", "--catalog", str(folder)]) == 0
    return folder


def spoilt(papers: dict[str, Paper], url: str, **facts: Any) -> list[str]:
    """The problems of one paper's record with other facts."""
    return list(unsound_papers([("here", papers[url].to_record() | facts)]))


def test_columns_of_models_are_those_of_their_papers(papers: dict[str, Paper], models: list[dict[str, Any]]) -> None:
    for record in models:
        assert derived(record, papers) == record
        assert (record["paper_url"] is None) == bool(record["paper_reason"])
    cited = {record["paper_url"] for record in models} - {None}
    assert cited <= set(papers) and len(cited) >= 250
    assert papers_of(CATALOG) == papers


def test_facts_have_a_text_and_a_passage(papers: dict[str, Paper], models: list[dict[str, Any]]) -> None:
    for paper in papers.values():
        assert set(paper.evidence) == set(FACTS) and all(one["address"] and one["passage"] for one in paper.evidence.values())
    known = [record for record in models if record["paper_url"]]
    whole = [record for record in known if None not in (record["venue"], record["year"], record["countries"], record["num_authors"])]
    assert len(whole) / len(known) >= 0.85


@pytest.mark.parametrize(
    ("number", "venue", "year"),
    [
        ("1707.01083", "CVPR", 2018), ("1807.11626", "CVPR", 2019), ("1512.00567", "CVPR", 2016), ("1707.07012", "CVPR", 2018),
        ("1812.03443", "CVPR", 2019), ("1712.00559", "ECCV", 2018), ("1610.02357", "CVPR", 2017), ("1806.09055", "ICLR", 2019),
        ("1611.05725", "CVPR", 2017), ("1512.03385", "CVPR", 2016),
    ],
)  # fmt: skip
def test_the_year_is_the_venues(papers: dict[str, Paper], number: str, venue: str, year: int) -> None:
    paper = papers[f"https://arxiv.org/abs/{number}"]
    assert (paper.venue, paper.year) == (venue, year)


def test_a_paper_has_one_set_of_facts(models: list[dict[str, Any]]) -> None:
    facts: dict[str, set[str]] = {}
    for record in models:
        if record["paper_url"]:
            facts.setdefault(record["paper_url"], set()).add(json.dumps([record[name] for name in COLUMNS]))
    assert {url for url, found in facts.items() if len(found) > 1} == set()
    assert Counter(record["paper_url"] for record in models if record["source"] == "torchxrayvision") == {
        "https://arxiv.org/abs/2002.02497": 8
    }


@pytest.mark.parametrize(
    ("url", "facts", "words"),
    [
        ("https://arxiv.org/abs/1807.11626", {"year": 2018}, "CVPR 2018 was over before the paper's own arXiv date 2018-07"),
        ("https://arxiv.org/abs/1610.02357", {"year": 2016}, "was over before"),
        ("https://arxiv.org/abs/1806.09055", {"year": 2018}, "ICLR 2018 was over before"),
        ("https://arxiv.org/abs/1712.00559", {"year": 2017}, "ECCV 2017 never took place: it is held in even years"),
        (RESNET, {"venue": "CVRP"}, "venue 'CVRP' is none of"),
        (RESNET, {"venue_type": "ML"}, "venue_type 'ML' of CVPR must be 'CV'"),
        (RESNET, {"arxiv_date": "2016-01-04"}, "is not the month that the number"),
        (RESNET, {"arxiv_date": "10.12.2015"}, "is no date"),
        (RESNET, {"year": None}, "sources says"),
        (RESNET, {"affiliations": None}, "countries ['USA'] without the affiliations that they follow from"),
        (RESNET, {"countries": ("USA", "China")}, "are not sorted"),
        (RESNET, {"sources": "{}"}, "sources must be a JSON object with title"),
    ],
)
def test_errors_of_a_paper_are_found(papers: dict[str, Paper], url: str, facts: dict[str, Any], words: str) -> None:
    assert spoilt(papers, url) == []
    problems = spoilt(papers, url, **facts)
    if facts == {"year": None}:
        assert problems == ["here: year is null, and sources does not say `not found in ...`"]
    else:
        assert any(words in problem for problem in problems), problems


def test_one_country_of_several_authors_is_not_taken_from_a_table(papers: dict[str, Paper]) -> None:
    url = "https://arxiv.org/abs/1802.07088"
    evidence = papers[url].evidence | {"countries": {"address": "https://example.org/table", "passage": "Country Netherlands"}}
    (problem,) = spoilt(papers, url, countries=["Netherlands"], affiliations=None, sources=json.dumps(evidence))
    assert "without the affiliations" in problem
    evidence["countries"]["passage"] = "Country France, Netherlands"
    assert spoilt(papers, url, affiliations=None, sources=json.dumps(evidence)) == []


def test_two_facts_for_one_paper_are_found(papers: dict[str, Paper]) -> None:
    paper = papers[RESNET].to_record()
    other = paper | {"url": "https://openaccess.thecvf.com/resnet.html", "countries": ["China"]}
    (problem,) = unsound_papers([("one", paper), ("two", other)])
    assert problem.startswith("two: countries ('China',) of 'Deep Residual Learning for Image Recognition', which one has as")
    assert list(unsound_papers([("one", paper), ("two", other | {"countries": paper["countries"]})])) == []


def test_a_model_that_strays_from_its_paper_is_found(papers: dict[str, Paper], models: list[dict[str, Any]]) -> None:
    record = next(one for one in models if one["paper_url"] == RESNET)
    assert list(strayed("here", record, papers)) == []
    (problem,) = strayed("here", record | {"year": 2015}, papers)
    assert problem == "here: year 2015 is not its paper's 2016: run `securitynet catalog build`"
    (problem,) = strayed("here", record | {"paper_url": "https://arxiv.org/abs/2999.00001"}, papers)
    assert "is no key of config papers" in problem
    bare = next(one for one in models if one["paper_url"] is None)
    assert "paper_reason does not say why" in next(strayed("here", bare | {"paper_reason": None}, papers))


def test_the_command_derives_and_notes_what_was_not_read(copy: Path) -> None:
    path = copy / "models" / "akamaster.jsonl"
    first, second = records.read(path)
    new = "https://arxiv.org/abs/2401.00001"
    path.write_text(records.text_of([first | {"year": 1999}, second | {"paper_url": new}]), encoding="utf-8")
    assert any("year 1999 is not its paper's 2016" in problem for problem in check(copy))
    assert main(["catalog", "build", "--catalog", str(copy)]) == 0 and check(copy) == []
    unread = papers_of(copy)[new]
    assert records.read(path)[0] == first and (unread.title, unread.venue) == (None, None)
    path.write_text(records.text_of([first, second]), encoding="utf-8")
    assert (copy / "papers" / "unread.jsonl") in write_derived(copy) and new not in papers_of(copy)


def test_own_data_and_spellings_are_found(models: list[dict[str, Any]]) -> None:
    names = names_of(record for path in (CATALOG / "datasets").glob("*.jsonl") for record in records.read(path))
    record = next(one for one in models if one["dataset"] == "ImageNet-21k")
    assert list(unlikely(record, names)) == []
    (problem,) = unlikely(record | {"extra_data": "pretrained on LAION-2B, ImageNet-22k"}, names)
    assert "names the model's own dataset ImageNet-21k" in problem
    (problem,) = unlikely(record | {"family": "vit", "architecture": None}, names)
    assert "family 'vit' is 'vision_transformer'" in problem
    for address in (
        "https://github.com/a/b/blob/main/x.pth",
        "https://drive.google.com/file/d/1/view",
        "https://www.dropbox.com/s/1/x.pt?dl=0",
    ):
        assert is_page(address) and "HTML page" in next(unlikely(record | {"weights_url": address}, names))
    assert not any(is_page(one["weights_url"]) for one in models if one["weights_url"])


def test_equal_weights_without_a_link_are_found(models: list[dict[str, Any]]) -> None:
    by_id = {record["id"]: record for record in models}
    assert list(unlinked((record["id"], record) for record in models)) == []
    for id in ("robustbench/imagenet/corruptions/AlexNet", "timm/legacy_xception.tf_in1k"):
        alone = by_id[id] | {"same_weights_as": None}
        original = by_id[str(by_id[id]["same_weights_as"])]
        problem, *_ = unlinked([("one", original), ("two", alone)])
        assert problem.startswith("two: has the ") and f"of {original['id']}, and is not linked" in problem
    one, two = (by_id[f"medmnist/breastmnist/resnet18_28_{run}"] for run in (1, 2))  # one archive, two members
    assert one["weights_url"] == two["weights_url"] and list(unlinked([("one", one), ("two", two)])) == []


def test_known_copies_are_linked() -> None:
    for name, original in {
        "imagenet/Linf/Standard_R50": "torchvision/resnet50.IMAGENET1K_V1",
        "imagenet/Linf/Salman2020Do_R18": "robust_transfer/resnet18_linf_eps4.0",
        "imagenet/corruptions/Salman2020Do_50_2_Linf": "robust_transfer/wide_resnet50_2_linf_eps4.0",
    }.items():
        assert catalog.entry(f"robustbench/{name}").same_weights_as == original


@pytest.mark.parametrize(
    ("name", "method", "data"),
    [
        ("vit-base-p16_mae-1600e-pre_8xb128-coslr-100e_in1k", "MAE", None),
        ("swin-base-w6_simmim-100e-pre_8xb256-coslr-100e_in1k-192px", "SimMIM", None),
        ("resnet50_mocov3-100e-pre_8xb128-linear-coslr-90e_in1k", "MoCo v3", None),
        ("resnet50_byol-pre_8xb512-linear-coslr-90e_in1k", "BYOL", None),
        ("convnext-v2-base_fcmae-in21k-pre_3rdparty_in1k", "FCMAE", "pretrained on ImageNet-21k"),
        ("vit-base-p16_clip-openai-in12k-pre_3rdparty_in1k", "CLIP", "pretrained on WIT-400M, ImageNet-12k"),
        ("resnet50_8xb32_in1k", None, None),
        ("vit-base-p16_in21k-pre_3rdparty_in1k-384px", None, "pretrained on ImageNet-21k"),
    ],
)
def test_pretraining_is_read_from_the_name(name: str, method: str | None, data: str | None) -> None:
    entry = catalog.entry(f"mmpretrain/{name}") if "8xb32_in1k" not in name else None
    assert (method_of(name), data_of(name, "ImageNet-1k")) == (method, data)
    if entry is not None:
        assert (entry.pretraining, entry.extra_data) == (method, data)
    assert data_of(name, "ImageNet-21k") in (None, "pretrained on WIT-400M, ImageNet-12k")


def test_a_method_of_pretraining_is_no_architecture(models: list[dict[str, Any]]) -> None:
    methods = {"MAE", "SimMIM", "MoCoV2", "MoCoV3", "BYOL", "SwAV", "SimCLR", "SimSiam", "BarlowTwins", "DenseCL", "MFF", "MILAN", "CAE"}
    assert not methods & {str(record["architecture"]) for record in models}
    assert not {method.lower() for method in methods} & {str(record["family"]) for record in models}
    assert sum(record["extra_data"] is not None for record in models if record["source"] == "mmpretrain") == 78


def test_one_table_of_families(models: list[dict[str, Any]]) -> None:
    assert [record["id"] for record in models if family_of(record["family"], name_in_library(record)) != record["family"]] == []
    assert family_of("inceptionv3") == "inception_v3" and family_of("byobnet", "repvgg_a0") == "repvgg" and family_of(None) is None


def test_readers_of_papers(papers: dict[str, Paper]) -> None:
    loaded = securitynet.load_catalog("papers")
    assert set(loaded["url"]) == set(papers)
    assert papers[RESNET] == Paper.from_record(papers[RESNET].to_record())
    with pytest.raises(UsageError, match="unknown column 'venues'"):
        Paper.from_record({"url": RESNET, "venues": "CVPR"})
    assert {paper.venue for paper in papers.values()} - {None} <= set(VENUES)
