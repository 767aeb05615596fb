"""What each metric is, once: title, unit, family, role, direction and one sentence for people.

Terminal, pages, findings, cards, leaderboard and the JSON schema of results read it. A new metric is its function, its name and
record here, and its test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OUTCOME, CONTROL, COST = "outcome", "control", "cost"
SHARE, POINTS, IMAGES, NATS, PLAIN = "share", "difference of shares", "images", "nats", "number"

TRAIN_ACCURACY, TEST_ACCURACY, OVERFIT_GAP, QUERIES = "train_accuracy", "test_accuracy", "overfit_gap", "queries"
AUC, BALANCED_ACCURACY, ADVANTAGE = "auc", "balanced_accuracy", "advantage"
RATES = (0.1, 0.01, 0.001)  # false-positive rates at which the true-positive rate is given, and the other way round
AGREEMENT, EXCESS_AGREEMENT, AGREEMENT_ON_ERRORS = "agreement", "excess_agreement", "agreement_on_errors"
ACCURACY, RELATIVE_ACCURACY, KL, TOTAL_VARIATION = "accuracy", "relative_accuracy", "kl", "total_variation"
CONTROL_AGREEMENT, CONTROL_ACCURACY = "control_agreement", "control_accuracy"
NO_QUERY_AGREEMENT, CONSTANT_AGREEMENT, IMAGES_SEEN = "no_query_agreement", "constant_agreement", "images_seen"
TRANSFER_RATE, TRANSFER_RATE_COPY, TRANSFER_RATE_NOISE = "transfer_rate", "transfer_rate_copy", "transfer_rate_noise"
TRANSFER_QUERIES = "transfer_queries"
AGREEMENT_UNDEFENDED, KL_UNDEFENDED = "agreement_undefended", "kl_undefended"
TOTAL_VARIATION_UNDEFENDED = "total_variation_undefended"
POOL_AGREEMENT, POOL_ACCURACY, EXCESS_OVER_POOL = "pool_agreement", "pool_accuracy", "excess_over_pool"
FROZEN_AGREEMENT, FROZEN_ACCURACY = "frozen_agreement", "frozen_accuracy"
DETECTED_AFTER, DETECTION_FALSE_ALARMS, PRICE = "detected_after", "detection_false_alarms", "query_price"
SHARES_NEEDED = (0.5, 0.8, 0.9)  # of the target's accuracy, for which the queries are counted
SCORE, P_VALUE, FLAGGED, TARGET_CLASS = "score", "p_value", "flagged", "target_class"
ANOMALY_INDEX, MASK_L1, TRIGGER_SUCCESS, TRUE_TRIGGER_SUCCESS = "anomaly_index", "mask_l1", "trigger_success", "true_trigger_success"
BACKWARD_IMAGES, TRIGGER_CLASS = "backward_images", "trigger_class"
TRUE_POSITIVE_RATE, FALSE_POSITIVE_RATE, PRECISION = "true_positive_rate", "false_positive_rate", "precision"
CROSS_ENTROPY, BRIER = "cross_entropy", "brier"
ROBUST_ACCURACY, CLEAN_ACCURACY, CORRUPTION_ACCURACY = "robust_accuracy", "clean_accuracy", "corruption_accuracy"
ATTACK_SUCCESS, GRADIENT_IMAGES, MASKING_SIGNS = "attack_success", "gradient_images", "masking_signs"
MINIMUM_NORM, MEAN_NORM, QUANTILES = "minimum_norm", "mean_minimum_norm", (0.1, 0.25, 0.75, 0.9)
SHIFT_P_VALUE, TWINS, NEAR_TWINS = "shift_p_value", "twins", "near_twins"
AUC_REWEIGHTED, OUT_MODEL_AUC, AUC_BEYOND = "auc_reweighted", "out_model_auc", "auc_beyond_out_model"
EPSILON, MU, CANARIES_RIGHT = "epsilon", "mu", "canaries_right"
SHARE_USED, FOLDER_P_VALUE, FOLDER_GAP = "share_used", "folder_p_value", "folder_gap"
CALLED, SET_TPR, SET_FPR = "called_members", "set_tpr", "set_fpr"
BY_COINS = (EPSILON, MU, CANARIES_RIGHT)  # coins decided who is a member: a difference of members and non-members is no doubt


def tpr_at_fpr(fpr: float) -> str:
    """Return the name of the true-positive rate at a false-positive rate."""
    return f"tpr_at_fpr_{fpr:g}"


def tnr_at_fnr(fnr: float) -> str:
    """Return the name of the true-negative rate at a false-negative rate."""
    return f"tnr_at_fnr_{fnr:g}"


def norm_quantile(share: float) -> str:
    """Return the name of a quantile of the smallest perturbations."""
    return f"minimum_norm_q{100 * share:g}"


def queries_for(share: float) -> str:
    """Return the name of the queries that bring a copy to that share of the target's accuracy."""
    return f"queries_for_{100 * share:g}"


@dataclass(frozen=True)
class Metric:
    """One metric. `better` is the direction, `higher` or `lower`, that is better for the model's owner, None where neither is.

    `unit` is share (0 to 1, shown in per cent where people read it), difference of shares, images, nats or number; `whole` says that
    values are whole numbers. `role` is outcome (what an attack achieved), control (what is had without the model) or cost.
    `headline` metrics stand in summaries. `per_budget`: there is one for each budget of queries. `half`: its threshold comes from
    one half of the samples, so it is always of the other half. `tested` metrics enter tests of findings: of those that say the
    same, one.
    """

    name: str
    title: str
    family: str
    role: str
    better: str | None
    sentence: str
    unit: str = SHARE
    whole: bool = False
    headline: bool = False
    per_budget: bool = False
    half: bool = False
    tested: bool = False


def held_out(response: str) -> str:
    """Return the name of the agreement on held-out queries of a surrogate that learned outputs under that response."""
    return f"held_out_{response}"


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _rates() -> list[Metric]:
    """The true-positive rates at low false-positive rates, and their mirror images."""
    found = []
    for rate in RATES:
        said = "Share of members found where that share of the non-members is called a member."
        title = f"TPR at {_percent(rate)} FPR"
        found.append(Metric(tpr_at_fpr(rate), title, "membership", OUTCOME, "lower", said, headline=rate < 0.1, tested=rate == 0.01))
        said = "Share of non-members recognised where that share of the members is called a non-member."
        title = f"TNR at {_percent(rate)} FNR"
        found.append(Metric(tnr_at_fnr(rate), title, "membership", OUTCOME, "lower", said, tested=rate == 0.01))
    return found


def _needed(share: float) -> Metric:
    title, said = f"queries for {_percent(share)} of the accuracy", "Queries after which a copy has that share of the model's accuracy."
    return Metric(queries_for(share), title, "stealing", OUTCOME, "higher", said, IMAGES, whole=True, tested=True)


VERIFY = (
    Metric(TRAIN_ACCURACY, "train accuracy", "verify", OUTCOME, "higher", "Share of training images that the model classifies rightly."),
    Metric(
        TEST_ACCURACY,
        "test accuracy",
        "verify",
        OUTCOME,
        "higher",
        "Share of test images that the model classifies rightly.",
        headline=True,
    ),
    Metric(OVERFIT_GAP, "overfitting level", "verify", OUTCOME, "lower", "Train accuracy minus test accuracy.", POINTS),
    Metric(
        QUERIES, "queries", "verify", COST, "higher", "Images on which the model was queried for all attacks together.", IMAGES, whole=True
    ),
)
CONTROLS = (
    Metric(
        SHIFT_P_VALUE, "p-value of a shift", "verify", CONTROL, None,
        "Chance that members and non-members drawn alike differ so much, whatever the model remembers.", PLAIN,
    ),
    Metric(
        TWINS, "twins", "verify", CONTROL, None,
        "Members that stand among the non-members too, pixel by pixel; both were left out.", IMAGES, whole=True,
    ),
    Metric(
        NEAR_TWINS, "near twins", "verify", CONTROL, None,
        "Members that look like a non-member, by perceptual hash and correlation; both were left out.", IMAGES, whole=True,
    ),
)  # fmt: skip
MEMBERSHIP = (
    Metric(
        AUC, "AUC", "membership", OUTCOME, "lower", "Chance that a member scores higher than a non-member; 0.5 is no leak.", PLAIN,
        headline=True, tested=True,
    ),
    *_rates(),
    Metric(
        BALANCED_ACCURACY, "balanced accuracy", "membership", OUTCOME, "lower",
        "Mean of the shares of members and of non-members recognised, by a threshold from other samples.", half=True,
    ),
    Metric(
        ADVANTAGE, "advantage", "membership", OUTCOME, "lower", "True-positive rate minus false-positive rate at that threshold.",
        POINTS, half=True
    ),
    Metric(
        AUC_REWEIGHTED, "AUC at equal class shares", "membership", OUTCOME, "lower",
        "The AUC with non-members weighted so that each class has the share that it has among the members.", PLAIN,
    ),
    Metric(
        OUT_MODEL_AUC, "AUC of the out-model", "membership", CONTROL, None,
        "The AUC of the same attack on models that were not trained on the image that they are queried with.", PLAIN,
    ),
    Metric(
        AUC_BEYOND, "AUC beyond the out-model", "membership", OUTCOME, "lower",
        "The AUC minus that of the same attack on the out-model, paired: what the model's memory adds to a shift of the data.", POINTS,
    ),
    Metric(
        EPSILON, "epsilon, at least", "membership", OUTCOME, "lower",
        "Lower bound on the epsilon of the training, from canaries that a coin put in.", NATS, headline=True,
    ),
    Metric(
        MU, "mu, at least", "membership", OUTCOME, "lower",
        "Lower bound on mu of the training, from the same canaries, if it is a Gaussian mechanism.", PLAIN,
    ),
    Metric(
        CANARIES_RIGHT, "canaries guessed rightly", "membership", OUTCOME, "lower",
        "Share of the guessed canaries whose coin was guessed; 0.5 is chance.",
    ),
    Metric(
        SHARE_USED, "share of the set that was used", "membership", OUTCOME, "lower",
        "Share of a set of images that the model was trained on, estimated where nobody knows which.", headline=True,
    ),
    Metric(CALLED, "called members", "membership", CONTROL, None, "Share of the images in question that the attack calls members."),
    Metric(
        SET_TPR, "true-positive rate for the set", "membership", CONTROL, None,
        "Share of used images that the attack would call members, from known members or from reference networks.",
    ),
    Metric(
        SET_FPR, "false-positive rate for the set", "membership", CONTROL, None,
        "Share of images known as unseen that the attack calls members.",
    ),
    Metric(
        FOLDER_P_VALUE, "p-value of the folder test", "membership", OUTCOME, "higher",
        "Chance that a set which the model was not trained on scores so high; one test, fixed beforehand.", PLAIN, headline=True,
    ),
    Metric(
        FOLDER_GAP, "gap of the folder", "membership", OUTCOME, "lower",
        "How much higher a set scores than images known as unseen, beyond what networks without it show.", NATS,
    ),
)  # fmt: skip
STEALING = (
    Metric(
        AGREEMENT, "agreement", "stealing", OUTCOME, "lower", "Share of unseen images on which copy and model name the same class.",
        headline=True, per_budget=True, tested=True,
    ),
    Metric(
        EXCESS_AGREEMENT, "above the control", "stealing", OUTCOME, "lower",
        "Agreement of the copy minus that of the best control, which never queried the model.",
        POINTS, headline=True, per_budget=True, tested=True,
    ),
    Metric(
        ACCURACY, "accuracy", "stealing", OUTCOME, "lower", "Share of unseen images that the copy classifies rightly.",
        per_budget=True, tested=True
    ),
    Metric(
        RELATIVE_ACCURACY, "relative accuracy", "stealing", OUTCOME, "lower", "Accuracy of the copy divided by that of the model.", PLAIN,
        per_budget=True, tested=True,
    ),
    Metric(
        AGREEMENT_ON_ERRORS, "agreement on errors", "stealing", OUTCOME, "lower", "Agreement on the images where the model is wrong.",
        per_budget=True, tested=True,
    ),
    Metric(
        KL, "KL divergence", "stealing", OUTCOME, "higher", "Mean divergence of the copy's probabilities from the model's.",
        NATS, per_budget=True, tested=True,
    ),
    Metric(
        TOTAL_VARIATION, "total variation", "stealing", OUTCOME, "higher", "Mean total variation distance of the copy's probabilities.",
        PLAIN,
        per_budget=True, tested=True,
    ),
    Metric(
        CONTROL_AGREEMENT, "agreement of the control", "stealing", CONTROL, None,
        "Agreement of the same network trained on the same images with their true labels.", per_budget=True,
    ),
    Metric(CONTROL_ACCURACY, "accuracy of the control", "stealing", CONTROL, None, "Accuracy of that network.", per_budget=True),
    Metric(NO_QUERY_AGREEMENT, "agreement without a query", "stealing", CONTROL, None, "Agreement of an untrained copy.", per_budget=True),
    Metric(
        CONSTANT_AGREEMENT, "agreement of a constant",
        "stealing", CONTROL, None, "Agreement of always naming the model's most frequent class.",
        per_budget=True,
    ),
    Metric(
        IMAGES_SEEN, "images seen", "stealing", COST, None,
        "Images that one training went through.", IMAGES, whole=True, per_budget=True,
    ),
    *(_needed(share) for share in SHARES_NEEDED),
    Metric(
        AGREEMENT_UNDEFENDED, "agreement with the undefended model", "stealing", OUTCOME, "lower",
        "Share of unseen images on which the surrogate names the class of the model without its defence.", per_budget=True,
    ),
    Metric(
        KL_UNDEFENDED, "KL divergence from the undefended model", "stealing", OUTCOME, "higher",
        "Mean divergence of the surrogate's probabilities from those of the model without its defence.", NATS, per_budget=True,
    ),
    Metric(
        TOTAL_VARIATION_UNDEFENDED, "total variation from the undefended model", "stealing", OUTCOME, "higher",
        "Mean total variation distance from the probabilities of the model without its defence.", PLAIN, per_budget=True,
    ),
    Metric(
        POOL_AGREEMENT, "agreement of the labelled pool", "stealing", CONTROL, None,
        "Agreement of the same network trained on the pool with true labels, without a query.",
    ),
    Metric(POOL_ACCURACY, "accuracy of the labelled pool", "stealing", CONTROL, None, "Accuracy of that network."),
    Metric(
        EXCESS_OVER_POOL, "above the labelled pool", "stealing", OUTCOME, "lower",
        "Agreement of the surrogate minus that of the network trained on the pool with true labels.", POINTS, per_budget=True,
    ),
    Metric(
        FROZEN_AGREEMENT, "agreement of frozen public features", "stealing", CONTROL, None,
        "Agreement of a small head on frozen public features, trained on the same images with true labels.", per_budget=True,
    ),
    Metric(
        FROZEN_ACCURACY, "accuracy of frozen public features", "stealing", CONTROL, None, "Accuracy of that head.", per_budget=True,
    ),
    *(
        Metric(
            held_out(response), f"held-out agreement, outputs {response.replace('_', ' ')}", "stealing", CONTROL, None,
            "Agreement with the returned classes on held-out queries, by which the response to a defence is chosen.", per_budget=True,
        )
        for response in ("as_returned", "labels", "sharpened", "unrounded", "completed", "smoothed")
    ),
    Metric(
        DETECTED_AFTER, "noticed after", "stealing", OUTCOME, "lower",
        "Queries after which a detector of unusual distances between queries (PRADA) raises an alarm.", IMAGES, whole=True,
    ),
    Metric(
        DETECTION_FALSE_ALARMS, "false alarms of the detector", "stealing", CONTROL, None,
        "Share of ordinary users, who query test images in random order, for whom the same detector raises an alarm.",
    ),
    Metric(PRICE, "price of the queries", "stealing", COST, "higher", "What the queries cost at the given price.", PLAIN, per_budget=True),
    Metric(
        TRANSFER_RATE, "transfer rate", "stealing", OUTCOME, "lower",
        "Share of the copy's adversarial images that fool the model.", tested=True,
    ),
    Metric(TRANSFER_RATE_COPY, "success on the copy", "stealing", CONTROL, None, "Share of these images that fool the copy itself."),
    Metric(
        TRANSFER_RATE_NOISE, "success of noise", "stealing", CONTROL, None,
        "Share of images with noise of the same size that fool the model.",
    ),
    Metric(
        TRANSFER_QUERIES, "queries of the transfer", "stealing", COST, "higher",
        "Images on which the model was queried for it.", IMAGES, whole=True,
    ),
)  # fmt: skip
BACKDOOR = (
    Metric(
        P_VALUE, "p-value", "backdoor", OUTCOME, "higher",
        "Chance that a clean model scores at least so high.", PLAIN, headline=True, tested=True,
    ),
    Metric(
        SCORE, "score", "backdoor", OUTCOME, "lower",
        "The detector's number for the model; larger is more suspicious.", PLAIN, tested=True,
    ),
    Metric(
        FLAGGED, "flagged", "backdoor", OUTCOME, "lower",
        "1 where the p-value is at or below the level, else 0.", PLAIN, whole=True, headline=True,
    ),
    Metric(TARGET_CLASS, "target class", "backdoor", OUTCOME, None, "The class that is the likeliest target.", PLAIN, whole=True),
    Metric(
        ANOMALY_INDEX, "anomaly index", "backdoor", OUTCOME, "lower", "How far the smallest mask lies below the median, in deviations.",
        PLAIN,
        tested=True,
    ),
    Metric(
        MASK_L1, "size of the mask", "backdoor", OUTCOME, "higher",
        "Sum of the recovered trigger's mask, in pixels.", PLAIN, tested=True,
    ),
    Metric(
        TRIGGER_SUCCESS, "success of the recovered trigger", "backdoor", OUTCOME, "lower",
        "Share of held-out images that the recovered trigger turns into the target class.", tested=True,
    ),
    Metric(
        TRIGGER_CLASS, "class of the trigger", "backdoor", OUTCOME, None,
        "The class that the recovered trigger gives; it need not be the likeliest target.", PLAIN, whole=True,
    ),
    Metric(
        TRUE_TRIGGER_SUCCESS, "success of the true trigger", "backdoor", CONTROL, None,
        "Share of images that the trigger on record turns into its target class.",
    ),
    Metric(BACKWARD_IMAGES, "backward images", "backdoor", COST, None, "Images that went backward through the model.", IMAGES, whole=True),
)  # fmt: skip
DETECTION = (
    Metric(
        TRUE_POSITIVE_RATE, "true-positive rate", "detection", OUTCOME, "higher", "Share of the models with a backdoor that are flagged."
    ),
    Metric(FALSE_POSITIVE_RATE, "false-positive rate", "detection", OUTCOME, "lower", "Share of the clean models that are flagged."),
    Metric(PRECISION, "precision", "detection", OUTCOME, "higher", "Share of the flagged models that have a backdoor."),
    Metric(CROSS_ENTROPY, "cross-entropy", "detection", OUTCOME, "lower", "Mean -log of the chance given to what is true.", NATS),
    Metric(BRIER, "Brier score", "detection", OUTCOME, "lower", "Mean squared difference of the chance from the truth.", PLAIN),
)
EVASION = (
    Metric(
        ROBUST_ACCURACY, "robust accuracy", "evasion", OUTCOME, "higher",
        "Share of images classified rightly, also after every attack of the threat model that was tried.",
        headline=True, tested=True,
    ),
    Metric(
        CORRUPTION_ACCURACY, "accuracy under corruptions", "evasion", OUTCOME, "higher",
        "Mean accuracy over common corruptions and their severities.", headline=True, tested=True,
    ),
    Metric(CLEAN_ACCURACY, "clean accuracy", "evasion", CONTROL, "higher", "Share of the attacked images classified rightly as they are."),
    Metric(
        ATTACK_SUCCESS, "attack success", "evasion", OUTCOME, "lower",
        "Share of the images classified rightly for which an attacked image was found that is not.",
    ),
    Metric(
        MINIMUM_NORM, "median smallest perturbation", "evasion", OUTCOME, "higher",
        "Median norm of the smallest perturbation found that changes the label; 0 where the label is wrong already.", PLAIN, tested=True,
    ),
    Metric(
        MEAN_NORM, "mean smallest perturbation", "evasion", OUTCOME, "higher",
        "Mean norm of the smallest perturbation found that changes the label.", PLAIN,
    ),
    *(
        Metric(
            norm_quantile(share), f"{_percent(share)} quantile of smallest perturbations", "evasion", OUTCOME, "higher",
            "That quantile of the norms of the smallest perturbations found that change the label.", PLAIN,
        )
        for share in QUANTILES
    ),
    Metric(
        GRADIENT_IMAGES, "gradient images", "evasion", COST, None, "Images whose gradient by the pixels was computed.", IMAGES, whole=True
    ),
    Metric(
        MASKING_SIGNS, "signs of gradient masking", "evasion", CONTROL, "lower",
        "Signs that gradients mislead an attack; with any of them, robust accuracy is in doubt.",
        PLAIN, whole=True,
    ),
)  # fmt: skip
VOCABULARY: Mapping[str, Metric] = {one.name: one for one in (*VERIFY, *CONTROLS, *MEMBERSHIP, *STEALING, *BACKDOOR, *DETECTION, *EVASION)}


def title_of(name: str) -> str:
    """Return the title of a metric for people: its record's, else its name without underscores."""
    return VOCABULARY[name].title if name in VOCABULARY else name.replace("_", " ")


def sentence_of(name: str) -> str:
    """Return the sentence on a metric for people, empty where the vocabulary has none."""
    return VOCABULARY[name].sentence if name in VOCABULARY else ""


def is_whole(name: str) -> bool:
    """Say whether the values of a metric are whole numbers."""
    return name in VOCABULARY and VOCABULARY[name].whole


def json_schema() -> dict[str, Any]:
    """Return a JSON schema of metric names: each as a constant with its title, its sentence and the further facts as keywords `x-...`."""
    choices = [
        {
            "const": one.name,
            "title": one.title,
            "description": one.sentence,
            **{f"x-{key}": value for key, value in vars(one).items() if key not in ("name", "title", "sentence")},
        }
        for one in VOCABULARY.values()
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "metric", "oneOf": choices}
