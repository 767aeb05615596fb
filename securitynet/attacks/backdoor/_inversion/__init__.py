"""Trigger inversion: the smallest patch that turns any image into a class, for many classes at once.

The definition is that of Neural Cleanse (Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao 2019, IEEE S&P): for each class a mask
[1, h, w] and a pattern [c, h, w] in pixel space, cross-entropy towards the class plus a cost times the mask's L1, a cost
that follows the success. What is new is the order of the work: the classes share forward passes, and those whose masks do
not shrink ahead of the others' are abandoned.
"""

from __future__ import annotations

from securitynet.attacks.backdoor._inversion.recover import Inversion, recover
from securitynet.attacks.backdoor._inversion.settings import InversionSettings

__all__ = ["Inversion", "InversionSettings", "recover"]
