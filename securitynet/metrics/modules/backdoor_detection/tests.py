"""Cases with results that are known without the module."""

test_cases = [
    {"predictions": [1, 1, 0, 0], "references": [1, 1, 1, 0], "result": {"false_positive_rate": 0.0, "true_positive_rate_n": 3}},
    {
        "predictions": [1, 0, 1, 0],
        "references": [1, 0, 0, 1],
        "result": {"true_positive_rate": 0.5, "false_positive_rate": 0.5, "precision": 0.5},
    },
    {"predictions": [0, 0], "references": [0, 0], "result": {"true_positive_rate": None, "false_positive_rate": 0.0, "precision": None}},
]
