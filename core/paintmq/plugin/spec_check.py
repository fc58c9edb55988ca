"""What a plugin registers as a model, checked field by field before anything uses it."""

import re
from enum import StrEnum
from typing import Any

import attrs

from paintmq.errors import PluginError, shown
from paintmq.model import API_VERSION, InputSpec, ModelSpec, WeightFile
from paintmq.plugin.answers import (
    MOST_BYTES,
    MOST_MB,
    MOST_SECONDS,
    AnswerError,
    number,
    text,
)
from paintmq.plugin.options import check_options_class

OLDEST_API_VERSION = max(1, API_VERSION - 1)
"""Models written for this version of ``paintmq.model`` or a later one still work."""
MOST_IN_A_BATCH = 10_000
LONGEST_NAME = 255
LONGEST_TEXT = 4_000

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def checked_spec(spec: Any) -> ModelSpec:
    """Return what was registered as a model, a plain ModelSpec all of whose fields are usable.

    Raises:
        PluginError: with the model, the field and what is allowed.
    """
    if not isinstance(spec, ModelSpec):
        raise PluginError(f"it registers {shown(spec)} as a model; a ModelSpec is wanted")
    plain = _plain(spec)
    if not is_name(plain.name):
        raise PluginError(f"model name {shown(plain.name)} is not like {NAME.pattern}")
    _check_api(plain)
    for wrong in (_wrong_function, _wrong_number, _wrong_collection, _wrong_text):
        try:
            reason = wrong(plain)
        except AnswerError as error:
            reason = str(error)
        if reason:
            raise PluginError(f"model {plain.name}: {reason}")
    try:
        check_options_class(plain.options)
    except PluginError as error:
        raise PluginError(f"model {plain.name}: {error}") from error
    return plain


def is_name(value: Any) -> bool:
    return _is_plain(value) and NAME.fullmatch(value) is not None


def _is_plain(value: Any) -> bool:
    """Return whether it is text without methods of a plugin's own; ours are named by StrEnums."""
    return type(value) is str or isinstance(value, StrEnum)


def _check_text(value: Any, name: str, *, longest: int = LONGEST_TEXT) -> None:
    text(value, name, longest=longest)
    if not _is_plain(value):
        raise AnswerError(f"{name} must be plain text, not {type(value).__name__}")


def _plain(spec: ModelSpec) -> ModelSpec:
    """Return the values as they are now: what a subclass computes could be another thing later."""
    if type(spec) is ModelSpec:
        return spec
    return ModelSpec(**{each.name: getattr(spec, each.name) for each in attrs.fields(ModelSpec)})


def _check_api(spec: Any) -> None:
    if not isinstance(spec.api, int) or isinstance(spec.api, bool):
        raise PluginError(f"model {spec.name}: api {shown(spec.api)} is no version number")
    if spec.api > API_VERSION:
        raise PluginError(
            f"model {spec.name} is written for version {shown(spec.api)} of the model interface and"
            f" this PaintMQ has version {API_VERSION}: upgrade paintmq"
        )
    if spec.api < OLDEST_API_VERSION:
        raise PluginError(
            f"model {spec.name} is written for version {shown(spec.api)} of the model interface and"
            f" this PaintMQ takes {OLDEST_API_VERSION} to {API_VERSION}: upgrade the plugin"
        )


def _wrong_function(spec: Any) -> str:
    for name in ("needs", "run_seconds"):
        if not callable(getattr(spec, name)):
            return f"{name} must be a function of a Job"
    for name in ("batch_key", "result_bytes", "weight_problem"):
        function = getattr(spec, name)
        if function is not None and not callable(function):
            return f"{name} must be a function of a Job, or None"
    return ""


def _wrong_number(spec: Any) -> str:
    for name in ("run_limit", "stall_limit", "load_limit"):
        if not _seconds(getattr(spec, name)):
            return f"{name} {shown(getattr(spec, name))} must be more than 0 seconds, {_MOST}"
    if _seconds(spec.load_seconds) is None:
        return f"load_seconds {shown(spec.load_seconds)} must not be negative, {_MOST}"
    if not _is_whole(spec.resident_mb, 0, MOST_MB):
        return f"resident_mb {shown(spec.resident_mb)} must be a whole number from 0 to {MOST_MB}"
    if not _is_whole(spec.max_batch, 1, MOST_IN_A_BATCH):
        return f"max_batch {shown(spec.max_batch)} must be at least 1, at most {MOST_IN_A_BATCH}"
    if spec.max_batch > 1 and spec.batch_key is None:
        return f"max_batch is {spec.max_batch}, but without a batch_key nothing is ever batched"
    return ""


_MOST = f"at most {MOST_SECONDS:,.0f}"


def _seconds(value: object) -> float | None:
    try:
        return number(value, "", most=MOST_SECONDS)
    except AnswerError:
        return None


def _is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _wrong_collection(spec: Any) -> str:
    for name, kind in (
        ("task_types", str),
        ("inputs", InputSpec),
        ("devices", str),
        ("requires", str),
        ("weights", WeightFile),
    ):
        values = getattr(spec, name)
        # A lone string is iterable too: task_types="inpaint" would be seven task types.
        if not isinstance(values, tuple | list) or not all(isinstance(v, kind) for v in values):
            return f"{name} must be a tuple of {kind.__name__}, not {shown(values)}"
    if not spec.task_types or not all(map(is_name, spec.task_types)):
        return f"task_types {shown(spec.task_types)} must be one or more names like {NAME.pattern}"
    if not spec.devices or not set(spec.devices) <= {"cpu", "cuda"}:
        return f"devices {shown(spec.devices)} must be 'cpu', 'cuda' or both"
    names = [item.name for item in spec.inputs]
    for name in names:
        _check_text(name, "the name of an input", longest=LONGEST_NAME)
    if len(set(names)) < len(names):
        return f"two inputs have one name: {', '.join(names)}"
    return ""


def _wrong_text(spec: Any) -> str:
    if not (isinstance(spec.implementation, str) and _TARGET.fullmatch(spec.implementation)):
        return f"implementation {shown(spec.implementation)} is not like 'package.module:Class'"
    if spec.effort not in ("light", "intensive"):
        return f"effort {shown(spec.effort)} is neither 'light' nor 'intensive'"
    if not isinstance(spec.deterministic, bool):
        return f"deterministic {shown(spec.deterministic)} is neither True nor False"
    for name in ("implementation", "summary", "licence", "extra"):
        _check_text(getattr(spec, name), name)
    for module in spec.requires:
        _check_text(module, "a module in requires", longest=LONGEST_NAME)
    return _wrong_input(spec) or _wrong_weights(spec)


def _wrong_input(spec: Any) -> str:
    for item in spec.inputs:
        if item.kind not in ("image", "mask", "data"):
            return f"input {item.name!r}: kind {shown(item.kind)} is none of image, mask, data"
        if not isinstance(item.required, bool):
            return f"input {item.name!r}: required {shown(item.required)} is neither True nor False"
        if not isinstance(item.needs_surroundings, bool):
            found = shown(item.needs_surroundings)
            return f"input {item.name!r}: needs_surroundings {found} is neither True nor False"
        if item.needs_surroundings and item.kind != "mask":
            return f"input {item.name!r}: needs_surroundings is for masks, not for {item.kind}"
        _check_text(item.summary, f"the summary of input {item.name!r}")
    return ""


def _wrong_weights(spec: Any) -> str:
    for file in spec.weights:
        _check_text(file.name, "the name of a weight file", longest=LONGEST_NAME)
        if not file.name:
            return "a weight file has no name"
        if not _is_whole(file.size, 0, MOST_BYTES):
            return f"weights {file.name}: size {shown(file.size)} must be a whole number of bytes"
        for name in ("url", "sha256", "md5", "licence", "source", "repository"):
            _check_text(getattr(file, name), f"weights {file.name}: {name}")
        if not isinstance(file.parts, tuple | list):
            return f"weights {file.name}: parts must be a tuple of str, not {shown(file.parts)}"
        for part in file.parts:
            _check_text(part, f"weights {file.name}: a part")
    return ""
