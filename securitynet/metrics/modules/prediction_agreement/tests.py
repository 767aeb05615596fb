"""Cases with results that are known without the module."""

test_cases = [
    {"predictions": [1, 2, 3, 3], "references": [1, 2, 3, 0], "result": {"agreement": 0.75, "agreement_n": 4}},
    {"predictions": [0, 0], "references": [1, 1], "result": {"agreement": 0.0, "agreement_ci_low": 0.0}},
]
