"""Sweeps: many entries, each evaluated once; every failure is a row with a reason.

A sweep is a driver, which imports no torch, and child processes that it may lose: fetchers, which bring weights ahead of time, and
a worker world (one process, or those of torchrun), which evaluates one entry after the other. The driver owns the plan, the time
limits and the only pen: rows and what is settled are appended to one store (see results.store), both with fsync.
"""
