"""Own architectures, one per module, where no kept library has them: `nets:NAME` is function NAME of module NAME.

Every argument has a type and a default; numbers, booleans and the words of a `Literal` are all that an entry may give.
Parameter names are those of the published checkpoints, so that they load strictly.
"""
