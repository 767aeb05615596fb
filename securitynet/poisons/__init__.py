"""Poisons: the triggers that plant a backdoor, as data. A trigger is stamped on pixels in [0,1] as the model takes them.

Every trigger has `poison`, its name, and `stamp(pixels)`; one that some training images must carry in a wrong form has
`decoys(pixels, generator)` as well.
"""

from securitynet.poisons.added import Added, sinusoidal
from securitynet.poisons.aware import Aware, input_aware
from securitynet.poisons.clean import hardened
from securitynet.poisons.files import AnyTrigger, known, load, save
from securitynet.poisons.poisoning import MODES, Poisoned, Poisoning, poison
from securitynet.poisons.trigger import Trigger, badnets, blended, patch
from securitynet.poisons.warp import Warp, wanet

__all__ = [
    *("Added", "AnyTrigger", "Aware", "MODES", "Poisoned", "Poisoning", "Trigger", "Warp"),
    *("badnets", "blended", "hardened", "input_aware", "known", "load", "patch", "poison", "save", "sinusoidal", "wanet"),
]
