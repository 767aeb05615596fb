"""Membership attacks of the Adversarial Robustness Toolbox and of SACRO-ML, as functions from arrays to scores.

Members come first, a larger score means member. Needs the extra `peers`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.inference.membership_inference import (
    LabelOnlyDecisionBoundary,
    MembershipInferenceBlackBox,
    MembershipInferenceBlackBoxRuleBased,
)
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from sacroml.attacks.likelihood_attack import LIRAAttack
from sacroml.attacks.model_pytorch import PytorchModel
from sacroml.attacks.utils import get_shadow_model, logit

from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.references import References, ReferenceSettings
from securitynet.references.fit import Alone
from securitynet.references.networks import blueprint, create, logits_of
from securitynet.target import Outputs, Target
from securitynet.training import train

Array = NDArray[np.float64]
Pair = tuple[np.ndarray, np.ndarray]  # what belongs to members, and to non-members


class Float(torch.nn.Module):
    """The module under float32: since NumPy 2 the toolbox's HopSkipJump asks about float64 images, which a float32 network refuses."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module(pixels.float())


def estimator(target: Target, cast: bool = True) -> PyTorchClassifier:
    """Return the toolbox's wrapper of the model; it answers with logits, as the model does."""
    return PyTorchClassifier(
        Float(target.module) if cast else target.module,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(target.entry.input_size or ()),
        nb_classes=target.num_classes,
        clip_values=(0.0, 1.0),
    )


def art_rule(target: Target, images: np.ndarray, labels: np.ndarray) -> Array:
    """Return 1 for members and 0 for others [n]."""
    return np.asarray(MembershipInferenceBlackBoxRuleBased(estimator(target)).infer(images, labels), dtype=np.float64)


def art_network(target: Target, returned: tuple[Pair, Pair], labels: tuple[Pair, Pair] | None, seed: int) -> Array:
    """Fit on (members, non-members) of the first pair, score the second; both are answers of the model. `labels` likewise, or none."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    attack = MembershipInferenceBlackBox(estimator(target))
    (members, non_members), scored = returned
    known: Any = labels[0] if labels else (None, None)
    attack.fit(y=known[0], test_y=known[1], pred=members, test_pred=non_members)
    y = np.concatenate(labels[1]) if labels else None
    return np.asarray(attack.infer(None, y, pred=np.concatenate(scored), probabilities=True)[:, 0], dtype=np.float64)


def art_boundary(target: Target, images: np.ndarray, labels: np.ndarray, iterations: int, evaluations: int, cast: bool = True) -> Array:
    """Return a monotone function of each image's distance [n]; the threshold is given, so that nothing is asked to calibrate it."""
    np.random.seed(0)
    attack = LabelOnlyDecisionBoundary(estimator(target, cast), distance_threshold_tau=1.0)
    cut = {"max_iter": iterations, "max_eval": evaluations, "init_eval": min(100, evaluations), "verbose": False}
    return np.asarray(attack.infer(images, labels, probabilities=True, **cut)[:, 1], dtype=np.float64)


def sacro_lira(outputs: Outputs, references: References, mode: str, fixed: bool, folder: Path) -> Array:
    """Return SACRO-ML's likelihood on given reference models [n]: its own code from probabilities to scores."""
    attack = LIRAAttack(str(folder), write_report=False, mode=mode, fix_variance=fixed)
    rows = np.arange(len(outputs.labels))
    confidence = np.exp(references.statistic(log_likelihood))
    held = [dict[int, list[float]]() for _ in range(2)]
    for row in rows:
        for side in (0, 1):
            held[side][row] = [logit(p) for p in confidence[row, references.held[row] == side]]
    scores, _ = attack._compute_scores(outputs.labels, np.exp(outputs.log_probabilities), held[0], held[1])
    return np.array(scores)[:, 1]


class Shadow(PytorchModel):
    """SACRO-ML's wrapper around a network that is built and trained as our reference models are."""

    def __init__(self, settings: ReferenceSettings, input_size: tuple[int, ...], classes: int) -> None:
        self.settings, self.sizes = settings, (input_size, classes)
        super().__init__(self._fresh(0), batch_size=256)

    def _fresh(self, seed: int) -> torch.nn.Module:
        return create(blueprint(self.settings.architecture, self.settings.architecture_args, *self.sizes), seed)

    def clone(self) -> Shadow:
        return Shadow(self.settings, *self.sizes)

    def set_params(self, **options: Any) -> Shadow:
        """SACRO-ML numbers its models from 0; those are seeds that the model under test may have been trained with."""
        self.settings = replace(self.settings, seed=1_000_000 + int(options["random_state"]))
        return self

    def fit(self, X: np.ndarray, y: np.ndarray, batch_size: int | None = None) -> Shadow:
        recipe = replace(self.settings.recipe, seed=self.settings.seed)
        self.model = self._fresh(recipe.seed)
        train(self.model, torch.from_numpy(X), torch.from_numpy(y), recipe, Alone(torch.device("cpu")))  # type: ignore[arg-type]
        return self


def sacro_attack(shadow: Shadow, images: Pair, outputs: tuple[Outputs, Outputs], mode: str, folder: Path) -> Array:
    """Run SACRO-ML's LiRA as it comes, its own shadow models included (kept in `folder`); return its scores [n]."""
    count = shadow.settings.count
    attack = LIRAAttack(str(folder), write_report=False, n_shadow_models=count, mode=mode, report_individual=True)
    members, non_members = [(pixels, one.labels, np.exp(one.log_probabilities)) for pixels, one in zip(images, outputs, strict=True)]
    attack._run(shadow, *members, *non_members)
    return np.asarray(attack.result["member_prob"])


def sacro_models(count: int, images: np.ndarray, labels: np.ndarray, folder: Path) -> References:
    """Return what the shadow models that sacro_attack left in `folder` answer, as our reference models' answers are kept."""
    held, logits = np.zeros((len(labels), count), dtype=bool), []
    pixels = torch.from_numpy(images).mul(255).round().to(torch.uint8)
    for index in range(count):
        shadow, rows, _ = get_shadow_model(str(folder / "shadow_models"), index)
        held[rows, index] = True
        logits.append(logits_of(shadow.model, pixels, torch.device("cpu")).numpy())
    return References(np.stack(logits), held, labels)
