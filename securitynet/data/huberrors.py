"""Errors of the Hub's clients as sentences: what is wrong, and what helps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from securitynet.download.hub import OUTAGES
from securitynet.errors import DataError, DownloadError
from securitynet.tokens import said


@contextlib.contextmanager
def explained(source: str, offline: bool) -> Iterator[None]:
    """Turn errors of `datasets` and `huggingface_hub` about `source` into DataError or DownloadError, one line each.

    What caused them is not shown: a server may repeat the token that it was sent.
    """
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise _gated(source) from None
    except errors.RepositoryNotFoundError:
        raise DataError(f"{source}: no such file or folder, and no such dataset on the Hub; a private one needs HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{source}: the dataset has no such revision; leave out @REVISION for the latest") from None
    except errors.LocalEntryNotFoundError:
        remedy = "run once without --offline" if offline else "check the network"
        raise DownloadError(f"{source}: not completely in the cache, and the Hub was not asked or did not answer; {remedy}") from None
    except errors.HFValidationError:
        raise DataError(f"{source}: no such file or folder, and no valid dataset id") from None
    except (DatasetsError, FileNotFoundError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, DatasetNotFoundError) and " gated " in str(error):  # the cause behind it is not kept
            raise _gated(source) from None
        raise DataError(f"{source}: the dataset cannot be read ({said(error)})") from None
    except (errors.HTTPError, OSError) as error:
        raise DownloadError(
            f"{source}: the Hub did not answer ({said(error)}); check the network, try --offline, or give --data PATH"
        ) from None


@contextlib.contextmanager
def outage() -> Iterator[list[str]]:
    """Give a list that holds the reason afterwards, where the Hub could not be asked inside: no connection, or it is out of order."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    reasons: list[str] = []
    try:
        yield reasons
    except (httpx.TransportError, OfflineModeIsEnabled, ConnectionError) as error:
        reasons.append(said(error))
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code not in OUTAGES:
            raise
        reasons.append(f"it answers {error.response.status_code}")


def _gated(source: str) -> DataError:
    page = f"https://huggingface.co/datasets/{source.partition(':')[0].partition('@')[0]}"
    return DataError(f"{source}: gated on the Hub; accept its terms at {page} and set HF_TOKEN, or give --data PATH")
