"""Checksums: every flipped bit, cut and exchanged file is noticed, in every format; what has no checksum is taken as it is."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.numpy

from tune_lb.results.storage import DamagedError, Store
from tune_lb.results.tables import decode_table, encode_table
from tune_lb.results.wholeness import KEY, NOTE, damage, has_checksum

CONTENTS = {
    "a.members.parquet": bytes(encode_table(pa.table({"test_error": [0.25, 0.5], "arm": ["small", "large"]}))),
    "a.1.safetensors": safetensors.numpy.save({"w": np.arange(6.0)}, dict(NOTE)),
    "space.json": json.dumps({"name": "tiny", **NOTE}).encode(),
}


@pytest.fixture(params=CONTENTS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    Store(tmp_path).write(request.param, CONTENTS[request.param])
    return tmp_path / request.param


def test_the_checksum_is_crc32_of_the_name_and_all_other_bytes(written: Path) -> None:
    data = written.read_bytes()
    found = data.index(b"crc32:") + 6
    rest = data[:found] + data[found + 8 :]
    assert int(data[found : found + 8], 16) == zlib.crc32(written.name.encode() + b"\0" + rest)
    assert KEY.encode() in data[found - 40 : found]
    assert has_checksum(data)
    assert len(data) == len(CONTENTS[written.name])


def test_other_programs_read_the_files_as_ever(tmp_path: Path) -> None:
    for name, contents in CONTENTS.items():
        Store(tmp_path).write(name, contents)
    assert pd.read_parquet(tmp_path / "a.members.parquet")["test_error"].tolist() == [0.25, 0.5]
    assert safetensors.numpy.load_file(tmp_path / "a.1.safetensors")["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert json.loads((tmp_path / "space.json").read_text())["name"] == "tiny"
    table = decode_table(Store(tmp_path).read("a.members.parquet"))
    assert KEY.encode() not in (table.schema.metadata or {}), "it is of the file, not of the table"


def test_every_flipped_bit_is_noticed(written: Path) -> None:
    """But those in the key's own name, which leave a file without a checksum and otherwise whole."""
    data = written.read_bytes()
    key = range(data.index(KEY.encode()), data.index(b"crc32:"))
    store = Store(written.parent)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        written.write_bytes(changed)
        if at in key:
            continue
        with pytest.raises(DamagedError, match=r"is damaged: its contents are not those"):
            store.read(written.name)
    written.write_bytes(data)
    assert store.read(written.name) == data


@pytest.mark.parametrize("size", [1, 0.5, 0.99])
def test_a_cut_file_is_noticed_or_no_longer_of_its_kind(written: Path, size: float) -> None:
    data = written.read_bytes()
    cut = data[: int(size if size == 1 else len(data) * size)]
    stated = b"crc32:" in cut
    assert (damage(written.name, cut) is not None) == stated


def test_a_file_in_the_place_of_another_is_noticed_and_a_moved_folder_is_whole(written: Path) -> None:
    data = written.read_bytes()
    store = Store(written.parent)
    (written.parent / "elsewhere").mkdir()
    (written.parent / "elsewhere" / written.name).write_bytes(data)
    assert store.read(f"elsewhere/{written.name}") == data
    (written.parent / f"other.{written.name}").write_bytes(data)
    with pytest.raises(DamagedError):
        store.read(f"other.{written.name}")


def test_what_carries_none_is_taken_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for contents in (b"", b"anything", CONTENTS["space.json"]):
        # written by others: there was no room, or nobody filled it in
        (tmp_path / "a.json").write_bytes(contents)
        assert store.read("a.json") == contents
        assert not has_checksum(contents)
