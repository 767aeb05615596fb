"""The claims of the study of 2024, each with its test, fixed beforehand, and the verdict that rows give."""

from securitynet.report.claims.study import CLAIMS, Study, study

__all__ = ["CLAIMS", "Study", "study"]
