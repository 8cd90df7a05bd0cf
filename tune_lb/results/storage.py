"""A folder on any file system that pyarrow can open: a local path, NFS, or an object store.

One promise holds everywhere: a reader sees a whole file or none. Where files can be renamed, the bytes go to a name
that begins with a dot, which every reader ignores, reach the device, and are renamed over the final name. On object
stores an object appears only when its upload is complete, so one upload is enough (and a rename would be a copy).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterable
from typing import Final

import pyarrow as pa
import pyarrow.fs as fs

from tune_lb.pause import pause
from tune_lb.results.locations import DamagedError, StorageError, explain, open_uri, without_secrets
from tune_lb.results.waiting import waited
from tune_lb.results.wholeness import damage, sealed

# pyarrow's names of object stores, and fsspec's.
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "adl", "oss"})


__all__ = ["DamagedError", "StorageError", "Store", "can_rename"]


class Store:
    """One folder and the whole files in it.

    location: a path (runs/digits, ~/runs) or a URI (file:///data/runs, s3://bucket/runs?region=eu-west-1); afterwards
    the absolute path, or the URI without its secrets and options. A relative path becomes absolute at once, because
    workers may have another working directory.
    filesystem: an open pyarrow file system, where a URI does not say enough; location is then a path in it.
    Nothing is created before the first write. A Store can be pickled: each process opens its own connection.
    The paths that methods take are relative, separated by '/', and may lead to folders below.
    Raises StorageError for a location that pyarrow cannot open, and from every method for what the storage refuses.
    """

    def __init__(self, location: str | os.PathLike[str], filesystem: fs.FileSystem | None = None) -> None:
        text = os.fspath(location)
        if not text:
            raise StorageError("storage: the location is empty; give a folder (runs) or a URI (s3://bucket/runs)")
        self.filesystem: fs.FileSystem
        self.root: str
        self.location: str
        if filesystem is not None:
            self.filesystem = filesystem
            self.root = self.location = text.rstrip("/")
        elif "://" in text:
            self.filesystem, self.root = open_uri(text)
            self.location = self.root if self.is_local else without_secrets(text)
        else:
            self.filesystem = fs.LocalFileSystem()
            self.root = self.location = os.path.abspath(os.path.expanduser(text))

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @property
    def is_local(self) -> bool:
        """Whether the folder is in this machine's own file system, which other nodes share only where it is mounted."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, *parts: str) -> Store:
        """Return the folder below, on the same connection."""
        below = Store.__new__(Store)
        below.filesystem = self.filesystem
        below.root = self._path("/".join(parts))
        below.location = "/".join((self.location.rstrip("/"), *parts))
        return below

    @waited
    def write(self, path: str, data: bytes | pa.Buffer, *, pause_point: str = "rename") -> None:
        """Put a whole file in the place of whatever has that name, with its checksum (wholeness.py); folders are made as needed.

        pause_point: where tests may stop the process (tune_lb/pause.py).
        """
        target = self._path(path)
        if target.rpartition("/")[2].startswith("."):
            raise ValueError(
                f"storage: {path!r}: a name that begins with a dot is a temporary file, which no reader sees"
            )
        data = sealed(target.rpartition("/")[2], data)
        try:
            if can_rename(self.filesystem):
                self._replace(target, data, pause_point)
            else:
                pause(pause_point, target)
                self._upload(target, data)
        except (pa.ArrowException, OSError) as error:
            raise self._error("write", path, error) from error

    @waited
    def read(self, path: str) -> bytes:
        """Return the bytes of a file. Raises DamagedError where they carry a checksum that is not theirs."""
        data = self._bytes(path)
        reason = damage(path.rpartition("/")[2], data)
        if reason is not None:
            raise DamagedError(f"{self.location}/{path}", reason)
        return data

    @waited
    def exists(self, path: str) -> bool:
        """Return whether there is a file or a folder of that name; without one, whether there is this folder."""
        target = self._path(path) if path else self.root
        try:
            return self._is_there(target)
        except (pa.ArrowException, OSError) as error:
            raise self._error("look for", path, error) from error

    @waited
    def changed_at(self, path: str) -> float | None:
        """Return when a file was written, by the storage's own clock, seconds since 1970; None where that is not known."""
        try:
            time = self.filesystem.get_file_info(self._path(path)).mtime
        except (pa.ArrowException, OSError) as error:
            raise self._error("look for", path, error) from error
        return None if time is None else float(time.timestamp())

    @waited
    def list(self, prefix: str = "", suffix: str = "") -> list[str]:
        """Return the names of this folder's files that begin and end so, sorted; none where there is no such folder.

        Temporary files and the files of folders below (see child) are left out.
        """
        if "/" in prefix:
            folder, _, rest = prefix.rpartition("/")
            raise ValueError(
                f"storage: list() sees one folder; for {prefix!r} use child({folder!r}).list({rest!r}, ...)"
            )
        try:
            if self.is_local:
                with os.scandir(self.root) as entries:
                    names = [entry.name for entry in entries if entry.name.endswith(suffix) and entry.is_file()]
            else:
                found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
                names = [info.base_name for info in found if info.type == fs.FileType.File]
        except FileNotFoundError:
            return []
        except (pa.ArrowException, OSError) as error:
            raise self._error("list", "", error) from error
        return sorted(n for n in names if n.startswith(prefix) and n.endswith(suffix) and not n.startswith("."))

    @waited
    def delete(self, path: str) -> None:
        """Remove a file; one that is not there counts as removed."""
        target = self._path(path)
        try:
            if self._is_there(target):
                self.filesystem.delete_file(target)
        except FileNotFoundError:
            return
        except (pa.ArrowException, OSError) as error:
            raise self._error("delete", path, error) from error

    @waited
    def move(self, path: str, target: str) -> None:
        """Give a file another name in this folder or below; folders are made as needed."""
        source, place = self._path(path), self._path(target)
        try:
            if can_rename(self.filesystem):
                self.filesystem.create_dir(place.rpartition("/")[0], recursive=True)
            self.filesystem.move(source, place)
        except (pa.ArrowException, OSError) as error:
            raise self._error("move", path, error) from error

    @waited
    def delete_all(self) -> None:
        """Remove the folder with everything in it, temporary files included; the top of a disk or bucket is refused."""
        self._refuse_top()
        try:
            if self._is_there(self.root):
                self.filesystem.delete_dir(self.root)
        except (pa.ArrowException, OSError) as error:
            raise self._error("delete", "", error) from error

    @waited
    def delete_contents(self, keep: Collection[str] = ()) -> None:
        """Remove all that is in the folder but the files of these names in it; the top of a disk or bucket is refused."""
        self._refuse_top()
        try:
            for info in self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True)):
                if info.type == fs.FileType.Directory:
                    self.filesystem.delete_dir(info.path)
                elif info.base_name not in keep:
                    self.filesystem.delete_file(info.path)
        except (pa.ArrowException, OSError) as error:
            raise self._error("delete", "", error) from error

    def delete_if_empty(self, folders: Iterable[str]) -> None:
        """Remove those of these folders (see missing_folders) that nothing is in."""
        for folder in folders:
            self._remove_if_empty(folder)

    @waited
    def size_bytes(self) -> int:
        """Return the bytes of all files here and below, temporary ones included."""
        try:
            found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True, recursive=True))
        except (pa.ArrowException, OSError) as error:
            raise self._error("measure", "", error) from error
        return sum(info.size for info in found if info.type == fs.FileType.File)

    def check_writable(self) -> float | None:
        """Write a small file, read it back and remove it, so that a search fails before it has trained anything.

        Folders that had to be made for it are removed again. Returns when it was written (seconds since 1970, by the
        storage's own clock), None where the storage does not say.
        """
        name, data = f"writable-{secrets.token_hex(6)}", secrets.token_bytes(16)
        above = self.missing_folders()
        try:
            self.write(name, data)
            came_back, time_s = self.read(name), self.changed_at(name)
            self.delete(name)
        finally:
            self.delete_if_empty(above)
        if came_back != data:
            raise StorageError(
                f"storage: a file written to {self.location} was read back changed; choose another storage"
            )
        return time_s

    def _bytes(self, path: str) -> bytes:
        target = self._path(path)
        try:
            if self.is_local:
                with open(target, "rb") as file:
                    return file.read()
            with self.filesystem.open_input_file(target) as stream:
                data: bytes = stream.read()
        except (pa.ArrowException, OSError) as error:
            raise self._error("read", path, error) from error
        return data

    def _refuse_top(self) -> None:
        if "/" not in self.root.strip("/"):
            raise StorageError(
                f"storage: {self.location} is the top of a file system; delete it by hand if you mean it"
            )

    def _path(self, path: str) -> str:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"storage: {path!r} is not a plain relative path")
        return "/".join((self.root.rstrip("/"), *parts)) if self.root else path

    def _is_there(self, target: str) -> bool:
        return bool(self.filesystem.get_file_info(target).type != fs.FileType.NotFound)

    def missing_folders(self) -> tuple[str, ...]:
        """Return this folder and those above it that are not there yet, the innermost first."""
        folder = self.root
        if not folder.strip("/") or self._is_there(folder):
            return ()
        above = Store(folder.rpartition("/")[0] or "/", self.filesystem)
        return (folder, *above.missing_folders())

    def _remove_if_empty(self, folder: str) -> None:
        if self.is_local:
            # unlike a look and a removal, nothing can come between
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        elif self._is_there(folder) and not self.filesystem.get_file_info(fs.FileSelector(folder)):
            self.filesystem.delete_dir(folder)

    def _upload(self, target: str, data: bytes | pa.Buffer) -> None:
        with self.filesystem.open_output_stream(target) as stream:
            stream.write(data)

    def _replace(self, target: str, data: bytes | pa.Buffer, pause_point: str) -> None:
        folder, _, name = target.rpartition("/")
        # Readers, and pandas among them, skip names that begin with a dot: a killed writer leaves nothing in sight.
        temporary = f"{folder}/.{name}.{secrets.token_hex(6)}" if folder else f".{name}.{secrets.token_hex(6)}"
        if folder:
            self.filesystem.create_dir(folder, recursive=True)
        try:
            if self.is_local:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    # Without it a power cut can leave the final name with no bytes behind it.
                    os.fsync(file.fileno())
            else:
                self._upload(temporary, data)
            pause(pause_point, target)
            if self.is_local:
                os.replace(temporary, target)
            else:
                self.filesystem.move(temporary, target)
        except BaseException:
            if self._is_there(temporary):
                self.filesystem.delete_file(temporary)
            raise

    def _error(self, verb: str, path: str, error: Exception) -> StorageError:
        where = f"{self.location}/{path}" if path else self.location
        reason, advice = explain(error, self.is_local)
        return StorageError(f"storage: cannot {verb} {where}: {reason}; {advice}")


def can_rename(filesystem: fs.FileSystem) -> bool:
    """Return whether files are written under another name first: everywhere but on object stores."""
    while isinstance(filesystem, fs.SubTreeFileSystem):
        filesystem = filesystem.base_fs
    return filesystem.type_name.rpartition("+")[2] not in _OBJECT_STORES
