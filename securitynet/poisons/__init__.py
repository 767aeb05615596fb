"""Poisons: the triggers that plant a backdoor, as data. A trigger is stamped on pixels in [0,1] as the model takes them.

Every trigger has `poison`, its name, and `stamp(pixels)`; one that some training images must carry in a wrong form has
`decoys(pixels, generator)` as well.
"""

from securitynet.poisons.added import Added as Added
from securitynet.poisons.added import sinusoidal as sinusoidal
from securitynet.poisons.aware import Aware as Aware
from securitynet.poisons.aware import input_aware as input_aware
from securitynet.poisons.clean import hardened as hardened
from securitynet.poisons.files import AnyTrigger as AnyTrigger
from securitynet.poisons.files import known as known
from securitynet.poisons.files import load as load
from securitynet.poisons.files import save as save
from securitynet.poisons.poisoning import MODES as MODES
from securitynet.poisons.poisoning import Poisoned as Poisoned
from securitynet.poisons.poisoning import Poisoning as Poisoning
from securitynet.poisons.poisoning import poison as poison
from securitynet.poisons.trigger import Trigger as Trigger
from securitynet.poisons.trigger import badnets as badnets
from securitynet.poisons.trigger import blended as blended
from securitynet.poisons.trigger import patch as patch
from securitynet.poisons.warp import Warp as Warp
from securitynet.poisons.warp import wanet as wanet
