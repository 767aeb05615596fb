"""Pure functions on arrays: a number, its 95 % interval and the n behind it."""
