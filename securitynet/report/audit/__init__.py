"""The admission report of a model: one severity per risk, by one table, with its reason; the files behind it; what to do."""

from securitynet.report.audit.audit import Audit, Risk
from securitynet.report.audit.build import audit_of
from securitynet.report.audit.severity import LEVELS, RISKS, RULES, at_least, severity

__all__ = ["LEVELS", "RISKS", "RULES", "Audit", "Risk", "at_least", "audit_of", "severity"]
