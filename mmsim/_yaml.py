"""The YAML dialect of Timeloop files, read and written safely: plain values, and tags kept as data."""

from __future__ import annotations

from typing import Any

import yaml

try:
    from yaml import CSafeDumper as _BaseDumper
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeDumper as _BaseDumper  # type: ignore[assignment]
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]

TAG = "!"  # the key under which a mapping's own tag is kept
DEEP_MERGE = "<<<"  # the front end's own merge key: as YAML's <<, and mappings and lists inside are merged too
MAX_MERGED = 100_000  # parts of a list merged so: a file may double it with every line


class SafeLoader(_BaseLoader):
    """Safe loading; ``!Component {...}`` becomes ``{"!": "Component", ...}``; a repeated key is an error."""


class SafeDumper(_BaseDumper):
    """Safe dumping; the inverse of `SafeLoader`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Quoted(str):
    """Text written in double quotes, for readers that evaluate plain text as an expression."""


def _tagged(loader: Any, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {TAG: suffix, **_mapping(loader, node)}
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return {TAG: suffix}
    raise yaml.constructor.ConstructorError(None, None, f"tag !{suffix} is for mappings", node.start_mark)


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    seen: set[str] = set()
    for key in own:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.startswith("tag:"):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    values = {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}
    merged = values.pop(DEEP_MERGE, None)
    if merged is None:
        return values
    for part in merged if isinstance(merged, list) else [merged]:
        if not isinstance(part, dict):
            raise yaml.constructor.ConstructorError(None, None, f"{DEEP_MERGE} merges mappings", node.start_mark)
        values = _deeply_merged(values, part, node)
    return values


def _deeply_merged(own: dict[Any, Any], other: dict[Any, Any], node: Any) -> dict[Any, Any]:
    """`own` with what `other` has besides: mappings are merged, lists go on, and else `own` counts."""
    both = {**other, **own}
    for key in own.keys() & other.keys():
        mine, theirs = own[key], other[key]
        if isinstance(mine, dict) and isinstance(theirs, dict):
            both[key] = _deeply_merged(mine, theirs, node)
        elif isinstance(mine, list) and isinstance(theirs, list):
            if len(mine) + len(theirs) > MAX_MERGED:
                raise yaml.constructor.ConstructorError(None, None, f"{DEEP_MERGE}: list too long", node.start_mark)
            both[key] = mine + theirs
    return both


def _represent(dumper: Any, value: dict[Any, Any]) -> yaml.Node:
    tag = "!" + value[TAG] if TAG in value else "tag:yaml.org,2002:map"
    node: yaml.Node = dumper.represent_mapping(tag, [item for item in value.items() if item[0] != TAG])
    return node


SafeLoader.add_multi_constructor("!", _tagged)
SafeLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
SafeDumper.add_representer(dict, _represent)
SafeDumper.add_representer(
    Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)
