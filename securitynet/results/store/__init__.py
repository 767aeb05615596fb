"""Rows and evidence on disk: files of rows, and the one store that evaluations and sweeps append to.

A store is a directory. `rows/00000.jsonl`, `rows/00001.jsonl`, ... are segments of at most 10,000 rows. `journal.jsonl` says what is
settled: each line has a number and a checksum; a line `done` follows the rows of a job on the disk, and has their number, their
digest, a short digest of each, and where they lie. A segment that is full is sealed: it does not change again, and the journal has
its number of rows, size, time and digest. What is damaged is set aside in a file beside it (`<name>.damaged`), and named.
"""

from securitynet.results.store.contents import Contents, is_store, read, rows_of
from securitynet.results.store.files import read_rows, save_arrays, write_rows
from securitynet.results.store.finished import RowStore
from securitynet.results.store.journal import JOURNAL, Batch
from securitynet.results.store.lines import Damage
from securitynet.results.store.parquet import PARQUET, tables, write_parquet
from securitynet.results.store.segments import ROWS
from securitynet.results.store.store import Store

__all__ = [
    "JOURNAL",
    "PARQUET",
    "ROWS",
    "Batch",
    "Contents",
    "Damage",
    "RowStore",
    "Store",
    "is_store",
    "read",
    "read_rows",
    "rows_of",
    "save_arrays",
    "tables",
    "write_parquet",
    "write_rows",
]
