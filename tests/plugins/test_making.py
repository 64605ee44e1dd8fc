"""A function becomes a task: its arguments are its parameters."""

from __future__ import annotations

import functools
import math
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from batchmill.errors import TaskError
from batchmill.model.states import FailureKind, Mode
from batchmill.model.tasks import ShortName, Task
from batchmill.plugins import make_task

if TYPE_CHECKING:
    from nowhere import Unknown

    from batchmill.executors.context import Context


class Params(BaseModel):
    leaf: int
    thresh: float = 0.5


class Result(BaseModel):
    total: float


def with_model(params: Params, ctx: Context) -> Result:
    return Result(total=params.leaf * params.thresh)


def with_arguments(leaf: int, thresh: float = 0.5, *, note: str | None = None) -> float:
    return leaf * thresh


def untyped(a, b=2):
    return a, b


def with_more(a: int, **rest: Any) -> dict[str, Any]:
    return {"a": a, **rest}


def half_known(a: int, b: Unknown) -> int:
    return a


def with_short_names(
    min_leaf_size: Annotated[int, ShortName("leaf")], semantic_threshold: Annotated[float, ShortName("thresh")] = 0.1
) -> None:
    return None


async def asynchronous(x: int) -> int:
    return x


def shadowing(copy: int, json: str, model_config_path: str = "") -> str:
    return json * copy


def test_a_pydantic_model_as_the_only_argument_is_the_parameters_model() -> None:
    task = make_task(with_model)
    assert (task.params, task.takes_model, task.context, task.result) == (Params, True, "ctx", Result)
    assert task.call(Params(leaf=4), None) == Result(total=2.0)


def test_annotated_arguments_become_a_model_that_forbids_others_and_keeps_defaults() -> None:
    task = make_task(with_arguments)
    assert task.call(task.params(leaf="4")) == 2.0
    assert task.params(leaf=1).model_dump() == {"leaf": 1, "thresh": 0.5, "note": None}
    with pytest.raises(ValidationError):
        task.params(leaf=1, other=2)
    with pytest.raises(ValidationError):
        task.params(leaf="many")


def test_arguments_without_annotation_take_anything() -> None:
    task = make_task(untyped)
    assert task.call(task.params(a=[1, {"x": None}])) == ([1, {"x": None}], 2)


def test_double_star_arguments_take_further_parameters() -> None:
    task = make_task(with_more)
    assert task.call(task.params(a=1, b=2)) == {"a": 1, "b": 2}


def test_an_annotation_that_only_a_type_checker_resolves_counts_as_any() -> None:
    task = make_task(half_known)
    assert task.params.model_fields["a"].annotation is int
    assert task.call(task.params(a=1, b=object)) == 1


def test_short_names_come_from_the_annotations() -> None:
    assert make_task(with_short_names).short_names == {
        "min_leaf_size": ShortName("leaf"),
        "semantic_threshold": ShortName("thresh"),
    }


def test_async_functions_run_in_mode_async_unless_told_otherwise() -> None:
    assert make_task(asynchronous).mode is Mode.ASYNC
    assert make_task(asynchronous, mode="process").mode is Mode.PROCESS
    assert make_task(with_arguments).mode is Mode.PROCESS


def test_arguments_may_be_called_like_methods_of_a_model() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = make_task(shadowing)
    assert task.call(task.params(copy=2, json="ab")) == "abab"


def test_positional_only_arguments_are_given_by_name() -> None:
    task = make_task(math.sqrt)
    assert task.call(task.params(x=9)) == 3.0
    assert task.name == "sqrt"


def test_a_partial_keeps_what_it_binds_and_the_name_of_its_function() -> None:
    task = make_task(functools.partial(with_arguments, thresh=2.0))
    assert task.name == "with_arguments"
    assert task.call(task.params(leaf=3)) == 6.0


def test_options_are_read_as_people_write_them() -> None:
    made = make_task(name="count", version="7", timeout="5min", memory="2GB", attempts={"timeout": 2})(with_arguments)
    assert (made.name, made.version, made.timeout, made.memory) == ("count", "7", 300.0, 2 * 10**9)
    assert made.attempts == {FailureKind.TIMEOUT: 2}


def test_a_task_is_returned_as_it_is() -> None:
    task = make_task(with_arguments)
    assert make_task(task) is task  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *args: args, "takes `*args`"),
        (lambda _hidden: 0, "starts with an underscore"),
        (dict.update, "`update`"),
    ],
)
def test_signatures_that_cannot_be_parameters_are_refused(function: Any, words: str) -> None:
    with pytest.raises(TaskError, match=r".") as caught:
        make_task(function)
    assert words in caught.value.message


def test_an_unknown_option_is_refused_with_the_near_name() -> None:
    with pytest.raises(TaskError) as caught:
        make_task(with_arguments, timout=3)  # type: ignore[call-overload]
    assert caught.value.hint == "did you mean `timeout`?"


def test_types_that_no_manifest_can_give_are_refused() -> None:
    class Opaque:
        pass

    def function(x) -> None:
        return None

    function.__annotations__["x"] = Opaque
    with pytest.raises(TaskError, match="cannot be read from a manifest"):
        make_task(function)


def test_a_task_knows_what_it_is() -> None:
    assert isinstance(make_task(with_arguments), Task)
