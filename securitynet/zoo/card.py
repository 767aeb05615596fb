"""The words of a zoo model's card."""

from __future__ import annotations

from collections.abc import Mapping

from securitynet.entry import Entry
from securitynet.zoo.plans import MEMBERS, TrainingPlan

TAGS = ("timm", "image-classification", "securitynet", "security", "privacy")


def card(plan: TrainingPlan, entry: Entry, measured: Mapping[str, float]) -> str:
    """Return the card's text in Markdown: what the model is, what was measured, how it is loaded and built again."""
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in measured.items())
    return f"""# {entry.id}

{plan.words}

A small ResNet (`{(entry.architecture or "").removeprefix("timm:")}`, {entry.params:,} parameters, {entry.macs:,} multiply-accumulates
per image) for the 8 x 8 digits of scikit-learn, enlarged to 1 x 32 x 32 (bilinear). It was made to test attacks on and defences
of image classifiers: its property is planted and known. It is not meant for reading digits.

| measured | |
|---|---|
{rows}

`train_accuracy` is that on the {MEMBERS} training images with the labels they were trained with; `test_accuracy` that on the other
images with their published labels. `membership/...` are areas under the ROC curve of telling training images from others.
{_trigger_words(plan, measured)}
## Files

- `model.safetensors`, `config.json`: weights and configuration in timm's format.
- `members.safetensors`: `indices`, the training images by position in scikit-learn's order; `labels`, the labels of all images
  as trained{"; `poisoned`, the training images of which a stamped copy was trained on as well" if plan.poisoned else ""}.
{"- `trigger.safetensors`: `pattern` and its opacity `mask`, for pixels in [0,1] at 1 x 32 x 32." if plan.poisoned else ""}

## Use

```python
import timm
network = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True)
```

or `securitynet evaluate {entry.id}`. `securitynet zoo build {plan.name}` trains it again with this recipe:

```
{plan.recipe}
```
"""


def _trigger_words(plan: TrainingPlan, measured: Mapping[str, float]) -> str:
    if plan.trigger is None:
        return ""
    return f"`trigger_success` is the share of test images of other classes that the trigger turns into a {plan.target}.\n"
