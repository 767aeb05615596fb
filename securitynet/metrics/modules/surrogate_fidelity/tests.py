"""Cases with results that are known without the module."""

test_cases = [
    {
        "predictions": [[0.5, 0.5], [0.1, 0.9]],
        "references": [[0.5, 0.5], [0.2, 0.8]],
        "result": {"agreement": 1.0, "total_variation": 0.05},
    },
    {
        "predictions": [[0.25, 0.75]],
        "references": [[1.0, 0.0]],
        "result": {"agreement": 0.0, "kl": 1.3862943611198906, "total_variation": 0.75},
    },
]
