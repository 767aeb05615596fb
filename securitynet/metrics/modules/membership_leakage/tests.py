"""Cases with results that are known without the module."""

test_cases = [
    {"predictions": [0.9, 0.8, 0.3, 0.1], "references": [1, 1, 0, 0], "result": {"auc": 1.0, "auc_n": 4}},
    {"predictions": [0.5, 0.5, 0.5, 0.5], "references": [1, 0, 1, 0], "result": {"auc": 0.5}},
    {"predictions": [0.1, 0.9, 0.8, 0.2], "references": [1, 0, 1, 0], "result": {"auc": 0.25, "tpr_at_fpr_0.001": None}},
]
