"""Results: a row and its provenance, the store of rows, the result of an evaluation, the evidence behind it, curves, verdicts."""
