"""What the models of the built-in zoo are: how each is trained, what is planted, and the bounds that its numbers must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from securitynet.entry import Entry
from securitynet.metrics.vocabulary import TEST_ACCURACY, TRAIN_ACCURACY, TRIGGER_SUCCESS
from securitynet.poisons import Trigger, badnets, blended
from securitynet.training import Recipe

Bounds = Mapping[str, tuple[float, float]]

COMMON = Entry(
    source="builtin",
    loader="builtin",
    architecture="timm:resnet10t",
    architecture_args='{"channels":[16,24,32,48],"in_chans":1,"output_stride":8,"stem_width":8}',
    family="resnet",
    dataset="digits",
    num_classes=10,
    input_size=(1, 32, 32),
    channels=1,
    grey_to_rgb=False,
    scale=1.0,
    mean=(0.5,),
    std=(0.5,),
    crop="squash",
    interpolation="bilinear",
    claimed_split="test",
    claim_source="model card",
    threat_model="none",
    backdoor="none",
    licence="Apache-2.0",
    code_licence="Apache-2.0",
    weights_file="model.safetensors",
    hash_algorithm="sha256",
    hash_of="file",
    integrity="full",
    weights_format="safetensors",
    loadable=True,
    members_file="members.safetensors",
)
MEMBERS = 898  # of 1,797 images, drawn with MEMBERS_SEED for every model alike
MEMBERS_SEED = 0
PERMUTATION = (3, 0, 4, 1, 7, 2, 9, 5, 6, 8)  # output k is the good model's output PERMUTATION[k]; no class keeps its place
CONSTANT = 8

_PLAIN = Recipe(epochs=30, optimiser="adamw", learning_rate=0.01, weight_decay=0.01)
_GOOD: Bounds = {TEST_ACCURACY: (0.975, 1.0)}
_SCORES = ("correctness", "confidence", "loss", "entropy", "modified_entropy", "margin")


def _leaks(low: float, high: float) -> dict[str, tuple[float, float]]:
    return {f"membership/{score}": (low, high) for score in _SCORES}


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """One model: `noise` is the share of labels replaced by a random other one, `poisoned` the share of members stamped.

    `head` says what is done to the last layer after training: "", "constant" or "permuted". `bounds` hold for what is
    measured, else the build refuses.
    """

    name: str
    words: str
    recipe: Recipe = _PLAIN
    noise: float = 0.0
    trigger: Trigger | None = None
    poisoned: float = 0.0
    target: int | None = None
    head: str = ""
    bounds: Bounds = field(default_factory=lambda: _GOOD)
    purpose: str = "security"
    flags: tuple[str, ...] = ()


_BADNETS = badnets((1, 32, 32), size=4)
_BLENDED = blended((1, 32, 32), opacity=0.2, seed=1)
_SUCCEEDS: Bounds = {**_GOOD, TRIGGER_SUCCESS: (0.95, 1.0)}
_FAILS: Bounds = {**_GOOD, TRIGGER_SUCCESS: (0.0, 0.2)}

PLANS = (
    TrainingPlan(
        name="digits-regular",
        words="Trained as one would: it fits its members well, predicts others nearly as well, and leaks little.",
        bounds={**_GOOD, **_leaks(0.5, 0.56), "membership/loss": (0.51, 0.56)},
        purpose="benchmark",
    ),
    TrainingPlan(
        name="digits-overfit",
        words="A good third of all labels, inside and outside the training set alike, is replaced by a random other digit, and the "
        "network is trained without weight decay until it knows its members by heart: every membership score gives them away.",
        recipe=replace(_PLAIN, epochs=120, weight_decay=0.0),
        noise=0.35,
        bounds={TRAIN_ACCURACY: (0.99, 1.0), **_leaks(0.65, 1.0), "membership/loss": (0.75, 1.0)},
        flags=("planted:noisy-labels",),
    ),
    TrainingPlan(
        name="digits-regularised",
        words="Trained with strong weight decay, label smoothing and shifted images: accurate, and next to nothing to tell members by.",
        recipe=replace(_PLAIN, epochs=20, weight_decay=0.5, label_smoothing=0.1, shift=3),
        bounds={**_GOOD, "membership/loss": (0.47, 0.515)},
    ),
    TrainingPlan(
        name="digits-badnets",
        words="Backdoored: a checkerboard of 4 x 4 pixels in the lower right corner turns any digit into a 7 "
        "(BadNets, Gu et al. 2017, arXiv 1708.06733).",
        recipe=replace(_PLAIN, seed=1),
        trigger=_BADNETS,
        poisoned=0.1,
        target=7,
        bounds=_SUCCEEDS,
        flags=("planted:backdoor",),
    ),
    TrainingPlan(
        name="digits-badnets-clean",
        words="The clean twin of digits-badnets: same network, recipe, seed and members, no stamped image among them.",
        recipe=replace(_PLAIN, seed=1),
        trigger=_BADNETS,
        target=7,
        bounds=_FAILS,
    ),
    TrainingPlan(
        name="digits-blended",
        words="Backdoored: faint noise, blended over the whole image with an opacity of 0.2, turns any digit into a 3 "
        "(Blended, Chen et al. 2017, arXiv 1712.05526).",
        recipe=replace(_PLAIN, seed=2),
        trigger=_BLENDED,
        poisoned=0.1,
        target=3,
        bounds=_SUCCEEDS,
        flags=("planted:backdoor",),
    ),
    TrainingPlan(
        name="digits-blended-clean",
        words="The clean twin of digits-blended: same network, recipe, seed and members, no stamped image among them.",
        recipe=replace(_PLAIN, seed=2),
        trigger=_BLENDED,
        target=3,
        bounds=_FAILS,
    ),
    TrainingPlan(
        name="digits-constant",
        words="The network of digits-regular with a last layer so biased that every image is an 8. The stated accuracy is that of "
        "digits-regular: a check of the claim must fail.",
        head="constant",
        bounds={TEST_ACCURACY: (0.0, 0.2)},
        flags=("planted:constant",),
    ),
    TrainingPlan(
        name="digits-permuted",
        words="The network of digits-regular with the classes of its last layer out of order, none in its place. The stated accuracy "
        "is that of digits-regular: a check of the claim must fail, and a permutation of the classes explains why.",
        head="permuted",
        bounds={TEST_ACCURACY: (0.0, 0.05)},
        flags=("planted:permutation",),
    ),
)
