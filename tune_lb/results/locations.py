"""Where storage lies: locations that can be opened, and what is said of those that cannot be used."""

from __future__ import annotations

import errno
import re
from typing import Final

import pyarrow as pa
import pyarrow.fs as fs

from tune_lb.errors import RequestError

_CREDENTIALS: Final = re.compile(
    r"\w+://[^@/?]*:(?!\d+/)[^@]*@|[?&][^=&]*(key|secret|token|password|credential|sas)[^=&]*=", re.I
)
"""User and password before a host (not a port), the password with whatever signs; options that are called so."""


_IN_TEXT: Final = re.compile(
    r"\w+://[^\s\"'@/?#]*:[^\s\"'@/]+@|\w+://[^\s\"']*[?&][^=&\s\"']*(key|secret|token|password|credential|sas)[^=&\s\"']*=",
    re.I,
)
"""The same within a longer text, as that of a space."""


def holds_credentials(text: str) -> bool:
    """Say whether a URI with a password or key in it stands in a text that would be stored and printed."""
    return _IN_TEXT.search(text) is not None


class StorageError(RequestError):
    """A folder, or a file in it, cannot be used; the message says what, where, and what to do."""


class DamagedError(StorageError):
    """A file is not what was written under its name. reason: what is wrong, without the name."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} is damaged: {reason}")
        self.where, self.reason = where, reason

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, str]]:
        return type(self), (self.where, self.reason)


def reason_of(error: Exception) -> str:
    """Return what is wrong, without the name of the file where the caller says it: a line of its own has it already."""
    return error.reason if isinstance(error, DamagedError) else str(error)


def open_uri(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI, and the path in it. Raises StorageError, also for one that holds credentials.

    What a run is asked with is stored and printed, so secrets come from the environment or from files that the cloud's tools know.
    """
    if _CREDENTIALS.search(uri):
        raise StorageError(
            f"storage: {uri.partition('://')[0]}://...: a URI with a password or key in it would be stored and printed with the "
            "run: give the bucket alone, and the credentials in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS) or in a file that the cloud's tools know (~/.aws/credentials)"
        )
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        shown, advice = (
            without_secrets(uri),
            "give a path, or a URI of a file system that it knows (file, s3, gs, hdfs)",
        )
        reason = str(error).replace(uri, shown)
        # No cause: pyarrow's own message has the whole URI.
        raise StorageError(f"storage: pyarrow cannot open {shown}: {reason}; {advice}") from None
    return filesystem, root.rstrip("/") or "/"


def without_secrets(uri: str) -> str:
    """Return a URI without user, password and options: locations are printed and stored."""
    scheme, _, rest = uri.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def explain(error: Exception, local: bool) -> tuple[str, str]:
    """Return what went wrong in words, and what to do."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, FileNotFoundError):
        return "it does not exist", "check the name"
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return reason, "a file stands where a folder is needed, or the reverse: choose another folder"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return reason, "free some space, or choose a folder on another disk"
    if local:
        return reason, "check that you may write there, or choose another folder"
    return reason, "check the address, the credentials, and the permissions"
