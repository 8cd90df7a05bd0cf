from __future__ import annotations

import re

import pyarrow as pa
import pytest

from tests.rows import EXTRA
from tune_lb.results.columns import (
    HISTORY,
    MEMBERS,
    PREDICTIONS,
    TARGETS,
    Column,
    members_schema,
    metric_columns,
    roles_of,
    table_schema,
)

ARROW = {"float": "double", "int": "int64", "str": "string", "bool": "bool", "bytes": "binary"}
IDENTITY = ["schema_version", "run", "space_hash", "trial_id", "seed", "stage", "arm", "split_seed"]
INTEGERS = (
    "schema_version seed split_seed block batch_size diverged_at_step examples updates gradient_evaluations threads"
)
TEXTS = (
    "run space_hash trial_id stage arm data model loss optimizer schedule budget initialization remedies status error "
    "stop_reason unobserved precision code git_commit tune_lb_version torch_version device execution finished_at"
)
NUMBERS = (
    "lr eta_over_b momentum weight_decay epochs noise_scale train_loss train_error validation_loss validation_error "
    "test_loss test_error test_error_running generalization_gap generalization_gap_loss running_train_loss wall_s"
)


@pytest.mark.parametrize("columns", [MEMBERS, HISTORY, PREDICTIONS, TARGETS])
def test_every_column_is_described_in_the_schema(columns: tuple[Column, ...]) -> None:
    schema = table_schema("some", columns)
    assert schema.metadata == {b"tune_lb.table": b"some", b"tune_lb.schema_version": b"1"}
    assert len(set(schema.names)) == len(columns)
    for column, field in zip(columns, schema, strict=True):
        text = field.metadata[b"description"].decode()
        assert text == column.description
        assert len(text) > 10
        assert "\n" not in text
        assert str(field.type) == ARROW[column.type]
        assert field.nullable != column.required


def test_units_are_stated() -> None:
    for column in MEMBERS:
        unit = {"_error": "fraction", "_loss": "nats per example", "_s": ", s", "_bytes": "bytes"}
        for suffix, word in unit.items():
            if re.search(f"{suffix}$", column.name) and column.type in ("float", "int"):
                assert word in column.description, column.name


def test_members_have_the_columns_that_readers_rely_on() -> None:
    expected = {
        **dict.fromkeys([*INTEGERS.split(), "microbatch", "peak_memory_bytes"], "int64"),
        **dict.fromkeys([*TEXTS.split(), "configuration_id"], "string"),
        **dict.fromkeys(
            [*NUMBERS.split(), "validation_soft_error", "distance_from_start", "epoch_path_length"], "double"
        ),
    }
    schema = members_schema()
    assert {field.name: str(field.type) for field in schema} == expected
    assert [field.name for field in schema if not field.nullable] == IDENTITY == schema.names[:8]


def test_columns_of_a_space_come_last_once_each() -> None:
    schema = members_schema([*EXTRA, EXTRA[0]])
    assert schema.names == [*members_schema().names, *(column.name for column in EXTRA)]
    assert schema.field("sam.rho").metadata == {b"description": EXTRA[0].description.encode()}


def test_columns_carry_their_role_and_older_files_are_read_by_name() -> None:
    own = [
        Column("sam.rho", "float", "radius", role="setting"),
        *metric_columns({"trace": "trace", "trace.hvps": "products", "trace.reason": "why not"}, []),
    ]
    written = members_schema(own)
    assert written.field("test_error").metadata[b"role"] == b"outcome"
    old = pa.schema([field.remove_metadata() for field in written])
    assert roles_of(old) == roles_of(written)
    roles = roles_of(written)
    found = {name: roles[name] for name in ("trial_id", "lr", "sam.rho", "test_error", "trace", "trace.hvps", "wall_s")}
    assert list(found.values()) == ["identity", "setting", "setting", "outcome", "metric", "protocol", "cost"]
    # what a file says is believed: another column may be called like a metric's
    told = written.append(pa.field("trace.of_mine", pa.float64(), metadata={b"role": b"setting"}))
    assert roles_of(told)["trace.of_mine"] == "setting"


@pytest.mark.parametrize("column", [Column("seed", "float", "x"), Column("sam.rho", "int", "x")])
def test_two_declarations_that_differ_are_refused(column: Column) -> None:
    with pytest.raises(ValueError, match=f"{column.name} is declared twice"):
        members_schema([*EXTRA, column])


def test_metric_columns_have_the_type_of_their_values() -> None:
    names = ["m", "m.hvps", "m.converged", "m.split", "m.own", "m.mixed", "m.later"]
    rows = [{"m": 1.5, "m.own": None, "m.mixed": 1, "m.later": None}, {"m.own": "text", "m.mixed": 0.5}, {"m.mixed": 2}]
    found = {column.name: column.type for column in metric_columns({name: "described" for name in names}, rows)}
    assert found == {
        "m": "float",
        "m.hvps": "int",
        "m.converged": "bool",
        "m.split": "str",
        "m.own": "str",
        "m.mixed": "float",
        "m.later": "float",
    }


def test_a_truth_value_is_not_an_integer() -> None:
    assert metric_columns({"m.flag": "x"}, [{"m.flag": True}])[0].field().type == pa.bool_()


def test_metric_values_of_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers, texts, booleans or None"):
        metric_columns({"m": "x"}, [{"m": [1.0]}])
