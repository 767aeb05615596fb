"""Wrong arguments of public functions: a UsageError that says what is right, before anything is loaded or read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import securitynet
from securitynet.catalog import entry
from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.readers import from_arrays, image_set
from securitynet.data.transform import Transform
from securitynet.entry import Entry, check_entry
from securitynet.errors import UsageError
from securitynet.evaluation import verify_model
from securitynet.target import build, query

MODEL = "builtin/digits-overfit"
MODULE = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
SIZE = {"input_size": [1, 8, 8]}
RGB = {"input_size": [3, 8, 8], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
ARRAYS = {"x_test": np.zeros((4, 8, 8), np.uint8), "y_test": np.zeros(4, int)}
PLAIN = Entry(id="a/b", input_size=(1, 8, 8), num_classes=10)
IMAGES = ImageSet("x", None, ArrayImages(ARRAYS["x_test"], ARRAYS["y_test"]))
RULE = Transform((1, 8, 8))

WRONG: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    # evaluate: options
    (securitynet.evaluate, (MODEL,), {"seed": 1.5}, "seed must be a whole number from 0, not 1.5"),
    (securitynet.evaluate, (MODEL,), {"seed": "0"}, "seed must be a whole number from 0, not '0'"),
    (securitynet.evaluate, (MODEL,), {"seed": -1}, "seed must be a whole number from 0, not -1"),
    (securitynet.evaluate, (MODEL,), {"seed": None}, "seed must be a whole number from 0, not None"),
    (securitynet.evaluate, (MODEL,), {"seed": True}, "seed must be a whole number from 0, not True"),
    (securitynet.evaluate, (MODEL,), {"seed": [0, 1]}, "seed must be a whole number from 0"),
    (securitynet.evaluate, (MODEL,), {"seed": np.float32(3)}, "seed must be a whole number"),
    (securitynet.evaluate, (MODEL,), {"samples": 0}, r"samples must be a whole number from 1 or None \(all\), not 0"),
    (securitynet.evaluate, (MODEL,), {"samples": -5}, "samples must be a whole number from 1"),
    (securitynet.evaluate, (MODEL,), {"samples": "all"}, r"or None \(all\), not 'all'"),
    (securitynet.evaluate, (MODEL,), {"samples": 0.1}, "samples must be a whole number"),
    (securitynet.evaluate, (MODEL,), {"batch_size": 0}, r"batch_size must be a whole number from 1 or None \(by the device\), not 0"),
    (securitynet.evaluate, (MODEL,), {"batch_size": -64}, "batch_size must be a whole number from 1"),
    (securitynet.evaluate, (MODEL,), {"batch_size": "64"}, "batch_size must be a whole number"),
    (securitynet.evaluate, (MODEL,), {"offline": "no"}, "offline must be True or False, not 'no'"),
    (securitynet.evaluate, (MODEL,), {"offline": 0}, "offline must be True or False, not 0"),
    (securitynet.evaluate, (MODEL,), {"progress": None}, "progress must be True or False, not None"),
    (securitynet.evaluate, (MODEL,), {"cache_dir": 3}, r"cache_dir must be a path or None \(the default\), not 3"),
    (securitynet.evaluate, (MODEL,), {"cache_dir": ""}, "cache_dir must be a path"),
    (securitynet.evaluate, (MODEL,), {"attacks": 7}, "attacks must be a name, a suite"),
    (securitynet.evaluate, (MODEL,), {"attacks": None}, "attacks must be a name, a suite"),
    (securitynet.evaluate, (MODEL,), {"attacks": {"membership/loss": 1}}, "attacks must be a name, a suite"),
    (securitynet.evaluate, (MODEL,), {"attacks": ["membership/loss", 3]}, "attacks must be a name, a suite"),
    (securitynet.evaluate, (MODEL,), {"attacks": "membership/los"}, "unknown attack 'membership/los'; did you mean membership/loss"),
    (securitynet.evaluate, (MODEL,), {"defences": 3}, r"defences must be a name \('rounding:2'\)"),
    (securitynet.evaluate, (MODEL,), {"defences": [3]}, "defences must be a name"),
    (securitynet.evaluate, (MODEL,), {"defences": None}, "defences must be a name"),
    (securitynet.evaluate, (MODEL,), {"out_model": 3}, "out_model must be a model"),
    (securitynet.evaluate, (MODEL,), {"sample": 100}, "unknown argument 'sample'; did you mean samples"),
    (securitynet.evaluate, (), {}, "missing a required argument: 'model'; its arguments are model, data"),
    (securitynet.evaluate, (MODEL, None, "standard", 0), {}, "too many positional arguments; its arguments are model"),
    # evaluate: the model and the data
    (securitynet.evaluate, (None,), {}, "model must be an id, a path, an Entry, a Target, an Endpoint or a torch module, not None"),
    (securitynet.evaluate, (17,), {}, "model must be an id"),
    (securitynet.evaluate, ("",), {}, "model must be an id"),
    (securitynet.evaluate, (torch.nn.Linear,), {}, "not the class Linear"),
    (securitynet.evaluate, ({"id": "a/b"},), {}, "model must be an id"),
    (securitynet.evaluate, ([MODEL],), {}, "model must be an id"),
    (securitynet.evaluate, (MODEL, 3), {}, "data must be a path, a Hub id, a Dataset, an ImageSet, arrays or Datasets by part, or None"),
    (securitynet.evaluate, (MODEL, ""), {}, "data must be a path"),
    (securitynet.evaluate, (MODEL, ARRAYS["x_test"]), {}, "data must be a path"),
    (securitynet.evaluate, (MODEL, (ARRAYS["x_test"], ARRAYS["y_test"])), {}, "data must be a path"),
    (securitynet.evaluate, (MODEL, {}), {}, "data must be a path"),
    (securitynet.evaluate, (MODEL, {0: ARRAYS["x_test"]}), {}, "data must be a path"),
    (securitynet.evaluate, (MODEL, {"foo": ARRAYS["x_test"]}), {}, "data: holds foo; expected are x_train, y_train, x_test, y_test"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "test_x": ARRAYS["x_test"]}), {}, "x_test and test_x may both be x_test; keep one"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "x_test": np.zeros((4, 8, 8))}), {}, "x_test holds float64, images must be uint8"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "x_test": "abc"}), {}, "x_test holds <U3, images must be uint8"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "x_test": np.zeros((4, 64), np.uint8)}), {}, r"x_test has shape \(4, 64\)"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "y_test": [0, 1]}), {}, "x_test has 4 images, y_test 2 labels"),
    (securitynet.evaluate, (MODEL, {**ARRAYS, "y_test": [0.5] * 4}), {}, "y_test holds float64, labels must be integers"),
    (securitynet.evaluate, (MODEL, {"x_test": ARRAYS["x_test"]}), {}, "y_test is missing beside x_test"),
    # preparation of the pixels
    (securitynet.evaluate, (MODULE, ARRAYS), {}, "input_size is missing"),
    (securitynet.evaluate, (MODULE, ARRAYS), {"preprocessing": "imagenet"}, "preprocessing must be a mapping of columns of an entry"),
    (securitynet.evaluate, (MODULE, ARRAYS), {"preprocessing": [1, 8, 8]}, "preprocessing must be a mapping"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input": [1, 8, 8]}}, "unknown column 'input'; did you mean input_size"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input_size": 8}}, "input_size must be a list, not 8"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input_size": [8, 8]}}, r"input_size must be \[channels, height, width\]"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input_size": [0, 8, 8]}}, r"input_size must be \[channels, height, width\]"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input_size": [1, 8.0, 8]}}, "input_size must be list:int64"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {"input_size": [32, 32, 3]}}, r"must begin with the channels: \[3, 32, 32\]"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "std": [0.2, 0, 0.2]}}, r"std must be above 0, not \[0.2, 0, 0.2\]"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "std": [0.2, -0.2, 0.2]}}, "std must be above 0"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "std": [0.2, 0.2]}}, r"std has 2 numbers; one per channel \(3\)"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "mean": [0.5] * 4}}, r"mean has 4 numbers; one per channel \(3\)"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "mean": [0.5]}}, "std is missing beside mean"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "std": [0.5]}}, "mean is missing beside std"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "mean": [], "std": []}}, "mean has 0 numbers"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "mean": "0.5"}}, "mean must be a list, not '0.5'"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "mean": ["a", "b", "c"]}}, "mean must be list:float64"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "mean": [float("nan"), 0.1, 0.1]}}, "mean must be a list of numbers"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "std": [float("inf")] * 3}}, "std must be a list of numbers"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "mean": [123.7, 116.3, 103.5]}}, "for pixels 0..255 give scale 255"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "scale": 0.0}}, "scale must be a number above 0"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**RGB, "scale": -255.0}}, "scale must be a number above 0"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "resize": 0}}, "resize must be a number of pixels above 0"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "resize": -1}}, "resize must be a number of pixels above 0"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "resize": "256"}}, "resize must be int64"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "crop": "middle"}}, "crop 'middle' is not one of center, squash, border"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "interpolation": "cubic"}}, "is not one of nearest, bilinear, bicubic"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "channel_order": "rgb"}}, "'rgb' is not one of RGB, BGR"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "channels": 3}}, "channels is 3, but input_size"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "grey_to_rgb": 1}}, "grey_to_rgb must be bool"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "num_classes": 0}}, "num_classes must be a whole number from 1"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "num_classes": 10, "labels": ["a"]}}, "labels has 1 names"),
    (securitynet.evaluate, (MODULE,), {"preprocessing": {**SIZE, "num_classes": 3, "class_list": [3]}}, "outputs from 0 to 2"),
    # the others
    (verify_model, (MODEL,), {"samples": 0}, "verify_model: samples must be"),
    (verify_model, (MODEL,), {"seeds": 1}, "unknown argument 'seeds'; did you mean seed"),
    (verify_model, (3,), {}, "model must be an id"),
    (securitynet.load_model, (3,), {}, "model must be an id, a path"),
    (securitynet.load_model, (MODULE,), {}, "model must be an id, a path"),
    (securitynet.load_model, (MODEL,), {"entry": 3}, "entry must be a mapping of columns"),
    (securitynet.load_model, (MODEL,), {"entry": {"std": [0.0]}}, "std must be above 0"),
    (securitynet.load_model, (MODEL,), {"offline": "yes"}, "offline must be True or False"),
    (securitynet.load_model, (MODEL,), {"cache": "x"}, "unknown argument 'cache'; did you mean cache_dir"),
    (image_set, (MODEL,), {}, "entry must be an Entry, not 'builtin/digits-overfit'"),
    (image_set, (PLAIN,), {"data": 3}, "data must be a path, a Hub id, or None, not 3"),
    (image_set, (PLAIN,), {"data": "x.npz", "samples": 0}, "samples must be a whole number from 1"),
    (image_set, (PLAIN,), {"data": "x.npz", "seed": "a"}, "seed must be a whole number"),
    (image_set, (Entry(id="a/b", input_size=(1, 8, 8), mean=(0.5,), std=(0.0,)),), {"data": "x.npz"}, "a/b: std must be above 0"),
    (from_arrays, (PLAIN, 3), {}, "arrays must be a mapping"),
    (draw, (IMAGES, RULE, 10), {"seed": 0.5}, "seed must be a whole number"),
    (draw, (IMAGES, RULE, 10), {"samples": -1}, "samples must be a whole number from 1"),
    (draw, (IMAGES, RULE, 0), {}, "num_classes must be a whole number from 1"),
    (draw, (ARRAYS, RULE, 10), {}, "images must be an ImageSet, not a dict"),
    (query, (MODULE, IMAGES, None), {}, "target must be a Target"),
    (build, (Entry(id="a/b", input_size=(3, 8, 8), crop="middle"), MODULE), {}, "a/b: crop 'middle' is not one of"),
    (entry, (3,), {}, "id must be an id of the catalog, not 3"),
    (securitynet.list_models, (3,), {}, "pattern must be text or None, not 3"),
    (securitynet.list_models, (), {"dataset": ["CIFAR-10"]}, "dataset must be text or None"),
    (securitynet.load_catalog, (None,), {}, "config must be one of models, papers"),
    (securitynet.load_results, (), {"attack": 1}, "attack must be text or None, not 1"),
    (Entry.from_record, ("a/b",), {}, "a record must be a mapping of columns, not 'a/b'"),
    (securitynet.Endpoint, (len,), {"input_size": 3, "classes": 10}, "endpoint: input_size must be"),
    (securitynet.Endpoint, (len,), {"input_size": (3, 8, 8), "classes": 0}, "endpoint: classes must be a whole number from 1"),
    (securitynet.Endpoint, (len,), {"input_size": (3, 8, 8), "classes": 2, "preparation": 3}, "endpoint: preparation must be a mapping"),
    (securitynet.Endpoint, (len,), {"input_size": (3, 8, 8), "classes": 2, "limits": 64}, "endpoint: limits must be Limits"),
]


@pytest.mark.parametrize(("function", "given", "named", "message"), WRONG, ids=map(str, range(len(WRONG))))
def test_wrong_arguments(
    function: Callable[..., Any],
    given: tuple[Any, ...],
    named: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def begun(*_: Any, **__: Any) -> Any:
        raise AssertionError("work began")

    for place in ("securitynet.loaders.describe", "securitynet.loaders.load", "securitynet.evaluation.images_of"):
        monkeypatch.setattr(place, begun)
    with pytest.raises(UsageError, match=message) as caught:
        function(*given, **named)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 481 and caught.value.__cause__ is None


def test_right_arguments_pass(tmp_path: Path) -> None:
    numbers = {"seed": np.int64(1), "samples": np.uint8(20), "batch_size": torch.tensor(4)}
    drawn = draw(IMAGES, RULE, 10, seed=np.int32(3), samples=None)
    assert drawn.seed == 3 and type(drawn.seed) is int
    result = verify_model(MODEL, cache_dir=tmp_path, **numbers)  # type: ignore[arg-type]
    assert len(result.outputs["test"].labels) <= 20 and result.splits.seed == 1
    for one in ({**SIZE, "mean": [0.5], "std": [0.5]}, RGB, {**RGB, "scale": 255.0, "mean": [123.7], "std": [1.0]}):
        check_entry(Entry.from_record({"id": "a/b", **one}))
