"""JSON and YAML that somebody else wrote: plain values, of bounded size, by a schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rankfold.errors import InputError

LONGEST = 240  # letters of what a schema complains of
LARGEST_YAML = 1_000_000  # values of a YAML file; our largest grid has a few hundred
LONGEST_NUMBER = 1000  # digits of a whole number
MERGE = "tag:yaml.org,2002:merge"


def read_json(path: str | Path) -> Any:
    """Read JSON from `path`.

    Raises:
        InputError: the file is missing, unreadable or not JSON; numbers that are not finite are no JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_refused,
            object_pairs_hook=_each_once,
        )
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, of UTF-8 and of the numbers below
        raise InputError(f"{path} is not valid JSON: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must differ: of two, one would be dropped in silence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:LONGEST]} is there twice in one object; keep one")
    return content


def _whole(digits: str) -> int:
    # Python refuses longer ones with advice for programmers.
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a whole number of {len(digits):,} digits is too long")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:LONGEST]} is too large")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text, plain values only.

    Args:
        text: the YAML.
        where: what the text is, for complaints.

    Raises:
        InputError: not YAML, nested without end, or far more by its aliases than it seems.
    """
    content = _yaml_content(text, where)
    if _written_out(content) > LARGEST_YAML:
        raise InputError(
            f"{where} repeats parts of itself until it has more than {LARGEST_YAML:,} values; "
            "write them without aliases (*)"
        )
    return content


def _yaml_content(text: str, where: str) -> Any:
    import yaml

    fast = getattr(yaml, "CSafeLoader", None)
    if fast is not None:
        try:
            return yaml.load(text, _with_keys_once(fast))
        except (yaml.YAMLError, ValueError, RecursionError):
            pass  # read again below, by the loader whose complaints name the place
    try:
        return yaml.load(text, _with_keys_once(yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates that do not exist
        sentence = " ".join(str(error).split())  # it comes in several lines
        raise InputError(f"{where} is not valid YAML: {sentence}") from None


def _with_keys_once(loader: Any) -> Any:
    """A safe loader that refuses a mapping with one key twice, of which YAML's own drop the first."""

    class KeysOnce(loader):  # type: ignore[misc]
        def get_single_data(self) -> Any:
            node = self.get_single_node()
            if node is None:
                return None
            # Before anything is made of it: merging (<<) adds keys that may be there already.
            _check_keys(node)
            return self.construct_document(node)

    return KeysOnce


def _check_keys(root: Any) -> None:
    """Refuse a YAML document in which one mapping has a key twice.

    Raises:
        ConstructorError: it does.
    """
    import yaml

    reader = yaml.SafeLoader("")
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        known = set()
        for key, value in node.value:
            waiting += [key, value]
            # What merges another mapping (<<) is no key of this one.
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            # By what it stands for: `yes` and `true` are one key, 1 and '1' are two.
            stands_for = key.tag, reader.construct_object(key)
            if stands_for in known:
                words = f"the key {key.value[:LONGEST]} is there twice in one mapping; keep one"
                raise yaml.constructor.ConstructorError(None, None, words, key.start_mark)
            known.add(stands_for)


def _written_out(content: Any) -> float:
    """The values that a YAML content has with its aliases written out; infinite if one is within itself.

    An alias (`*a`) is the very object that its anchor (`&a`) made, so a file of ten lines may stand for
    10^9 values: each list holds the one before it ten times. Let n(v) be the number of values in v, itself
    included: n(v) = 1 + the sum of n(c) over its members c. Every object is counted once and its count kept,
    so that the time is that of the file and not of what it stands for.
    """
    counts: dict[int, float] = {}
    # Depth first with a stack of our own: a file may be nested more deeply than Python calls itself.
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        value, is_open = waiting.pop()
        members = _members(value)
        if is_open:
            counts[id(value)] = 1 + sum(counts.get(id(member), 1) for member in members)
        elif members and id(value) not in counts:
            # Until it is closed again: whoever meets it meanwhile is within it.
            counts[id(value)] = math.inf
            waiting.append((value, True))
            waiting.extend((member, False) for member in members)
    return counts.get(id(content), 1)


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | set | tuple):
        return list(value)
    return []


def in_schema(content: Any, validator: Any, what: str) -> None:
    """Refuse content that does not follow a JSON schema.

    Args:
        content: what was read.
        validator: of `jsonschema`, for the schema.
        what: the start of the complaint, such as `mine.yaml is not a component table`.

    Raises:
        InputError: it does not; the message names the place.
    """
    import jsonschema

    try:
        validator.validate(content)
    except RecursionError:  # some readers stop at such files, and others do not
        raise InputError(f"{what}: it is nested too deeply") from None
    except jsonschema.ValidationError as error:
        place = "/".join(str(step) for step in error.absolute_path) or "top level"
        message = error.message
        # It shows the value, which may be a whole file; what is wrong with it stands at the end.
        if len(message) > LONGEST:
            message = f"... {message[-LONGEST:]}"
        raise InputError(f"{what}: at {place}: {message}") from None
