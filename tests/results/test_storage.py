from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as fs
import pytest

from tests.killing import kill_at
from tune_lb.errors import RequestError
from tune_lb.pause import pause
from tune_lb.results.storage import StorageError, Store


def memory_store() -> Store:
    fsspec = pytest.importorskip("fsspec")
    filesystem = fsspec.filesystem("memory", skip_instance_cache=True)
    filesystem.store, filesystem.pseudo_dirs = {}, [""]
    return Store("bucket/run", fs.PyFileSystem(fs.FSSpecHandler(filesystem)))


@pytest.fixture(params=["path", "uri", "subtree", "pyarrow memory", "fsspec memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "path":
        return Store(tmp_path / "a" / "run")
    if request.param == "uri":
        return Store((tmp_path / "a" / "run").as_uri())
    if request.param == "subtree":
        return Store("a/run", fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))
    return Store("mock:///bucket/run") if request.param == "pyarrow memory" else memory_store()


def test_files_come_back_as_written(store: Store) -> None:
    assert not store.exists("a.bin")
    store.write("a.bin", b"\0one")
    store.write("a.bin", b"two")
    store.write("below/b.bin", b"")
    assert store.read("a.bin") == b"two"
    assert store.child("below").read("b.bin") == b""
    assert store.exists("a.bin")
    assert store.exists("below/b.bin")
    assert not store.exists("below/a.bin")
    assert store.size_bytes() == 3


def test_list_names_the_files_of_one_folder(store: Store) -> None:
    for name in ("b.json", "a.json", "a.parquet", "below/a.json"):
        store.write(name, b"x")
    with store.filesystem.open_output_stream(f"{store.root}/.a.json.tmp.json") as stream:
        stream.write(b"half")
    assert store.list() == ["a.json", "a.parquet", "b.json"]
    assert store.list(suffix=".json") == ["a.json", "b.json"]
    assert store.list("a", ".json") == ["a.json"]
    assert store.child("below").list() == ["a.json"]
    assert store.child("nowhere").list() == []
    with pytest.raises(ValueError, match=r"child\('below'\)"):
        store.list("below/a")


def test_delete_takes_files_and_folders(store: Store) -> None:
    store.write("below/a", b"x")
    store.write("below/b", b"x")
    store.delete("below/a")
    store.delete("below/a")
    assert store.child("below").list() == ["b"]
    store.child("below").delete_all()
    store.child("below").delete_all()
    assert store.child("below").list() == []
    assert store.size_bytes() == 0


def test_check_writable_leaves_nothing(store: Store) -> None:
    store.check_writable()
    assert store.filesystem.get_file_info(store.root).type == fs.FileType.NotFound
    store.write("below/a", b"x")
    store.child("below").check_writable()
    assert store.child("below").list() == ["a"]
    assert store.size_bytes() == 1


def test_check_writable_leaves_folders_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    Store(tmp_path / "runs" / "deep" / "run").check_writable()
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


def test_a_pickled_store_is_the_same_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "run").child("trials")
    store.write("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read("a") == b"x"
    assert copy.location == store.location == str(tmp_path / "run" / "trials")


def test_paths_become_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    relative, home = Store("runs/x"), Store("~/runs/")
    monkeypatch.chdir("/")
    relative.write("a", b"x")
    assert (tmp_path / "runs" / "x" / "a").read_bytes() == b"x"
    assert home.location == str(tmp_path / "home" / "runs")


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.write("a.bin", b"old")
    code = f"from tune_lb.results.storage import Store; Store({store.location!r}).write('a.bin', b'new')"
    assert kill_at("rename@a.bin", code, tmp_path) == str(tmp_path / "run" / "a.bin")
    assert store.read("a.bin") == b"old"
    assert store.list() == ["a.bin"]
    hidden = [name for name in os.listdir(store.root) if name.startswith(".")]
    assert len(hidden) == 1, "the kill came before the temporary file or after the rename"
    assert (tmp_path / "run" / hidden[0]).read_bytes() == b"new"


def test_a_failed_write_removes_its_temporary_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="choose another folder"):
        store.write("a", b"x")
    assert os.listdir(tmp_path) == ["a"]


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StorageError) as caught:
        Store(tmp_path / "file" / "run").check_writable()
    message = str(caught.value)
    assert "\n" not in message
    assert f"{tmp_path}/file/run" in message
    assert "choose another folder" in message
    assert isinstance(caught.value, RequestError)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_missing_permission_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=r"[Pp]ermission denied; check that you may write there"):
        Store(tmp_path / "run").check_writable()


def test_a_missing_file_is_named(store: Store) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*/none\.bin: it does not exist"):
        store.read("none.bin")


@pytest.mark.parametrize("location", ["", "nothing://x/y", "file://relative"])
def test_locations_that_cannot_be_opened(location: str) -> None:
    with pytest.raises(StorageError, match="give a"):
        Store(location)


def test_secrets_of_a_uri_are_not_shown() -> None:
    store = Store("s3://bucket/runs/x/?region=eu-west-1&endpoint_override=localhost")
    assert store.location == "s3://bucket/runs/x"
    assert (store.root, store.child("trials").root) == ("bucket/runs/x", "bucket/runs/x/trials")
    with pytest.raises(StorageError) as caught:
        Store("s9://me:secret@bucket/x")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/./b", "a/"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="plain relative path"):
        Store(tmp_path).write(path, b"x")


def test_names_of_temporary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with a dot"):
        Store(tmp_path).write("below/.a", b"x")


@pytest.mark.parametrize("location", ["/", "/runs", "mock:///bucket"])
def test_the_top_is_never_deleted(location: str) -> None:
    with pytest.raises(StorageError, match="by hand"):
        Store(location).delete_all()


def test_pause_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slept: list[float] = []
    # not of all threads of this process: that of mapped data sleeps as well
    monkeypatch.setattr("tune_lb.pause.time", SimpleNamespace(sleep=slept.append))
    pause("step", "3")
    monkeypatch.setenv("TUNE_LB_PAUSE", "step@3:2.5")
    monkeypatch.setenv("TUNE_LB_PAUSE_MARKER", str(tmp_path / "marker"))
    pause("report", "3")
    pause("step", "2")
    assert slept == []
    assert not (tmp_path / "marker").exists()
    pause("step", "13")
    assert slept == [2.5]
    assert (tmp_path / "marker").read_text() == f"{os.getpid()}\nstep\n13\n"


@pytest.mark.parametrize("setting", ["renaming:3", "rename", "rename:soon", ":3"])
def test_a_misspelt_pause_is_an_error(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("TUNE_LB_PAUSE", setting)
    with pytest.raises(ValueError, match="POINT:SECONDS"):
        pause("step")
