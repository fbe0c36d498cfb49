"""Files from others are data: hostile YAML and JSON give one clear line, and nothing is left half-written."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from mmsim import files
from mmsim.errors import InputError

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{n}: &{n} [{','.join(['*' + p] * 9)}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "python object": ("!!python/object/apply:os.system ['true']", "not YAML"),
    "billion laughs": (BOMB, "more than"),
    "cycle": ("a: &a [*a]", "nested|recursive"),
    "deep": ("[" * 200_000, "nested deeper"),
    "cut short": ("a: {b: [1, 2", "not YAML"),
    "key twice": ("a: 1\na: 2", "stands twice"),
    "tabs": ("a:\n\t- b", "not YAML"),
    "tag on a list": ("!Component [1]", "not YAML"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_yaml(what: str) -> None:
    text, message = HOSTILE[what]
    with pytest.raises(InputError, match=message) as error:
        files.parse_yaml(text, file="evil.yaml")
    assert str(error.value).startswith("evil.yaml: ") and "\n" not in str(error.value)


def test_tags_survive_a_round_trip() -> None:
    value = {
        "nodes": [{"!": "Component", "name": "DRAM", "attributes": {"width": 64}}, {"!": "Container", "name": "PE"}]
    }
    assert files.parse_yaml(files.to_yaml(value), file="x") == value
    assert "!Component" in files.to_yaml(value)


def test_merge_keys_are_understood() -> None:
    assert files.parse_yaml("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}", file="x")["own"] == {"x": 1, "y": 3}


class _Level(msgspec.Struct, forbid_unknown_fields=True):
    size_bytes: int


class _File(msgspec.Struct):
    levels: list[_Level]


def test_deep_merge_keys_are_understood() -> None:
    """The front end's ``<<<``: mappings inside are merged, lists go on, and what stands there itself counts."""
    text = "a: &a {x: {p: 1, q: 2}, l: [1], k: 0}\nb: {<<<: *a, x: {p: 3}, l: [2], m: 4}"
    assert files.parse_yaml(text, file="f")["b"] == {"x": {"p": 3, "q": 2}, "l": [2, 1], "k": 0, "m": 4}
    doubling = "a0: &a0 {l: [1, 2]}\n" + "".join(f"a{i}: &a{i} {{<<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
    with pytest.raises(InputError, match="list too long"):
        files.parse_yaml(doubling, file="f")
    with pytest.raises(InputError, match="merges mappings"):
        files.parse_yaml("{<<<: 3}", file="f")


def test_templates_of_peoples_files(tmp_path: Path) -> None:
    """What the layer shapes and tutorials of Timeloop are written with; anything else is refused by name."""
    files.write_text(tmp_path / "base.yaml", "base_ignore: &base {instance: {N: 1, C: 1}}\n")
    text = """# {{a comment}}
{{include_text('../base.yaml')}}
problem: {<<<: *base, instance: {C: {{c|default(7)}}}}
{% if wide | default(False) %}
width: 64
{% endif %}
{% if narrow|default(True) %}
width: 32
{% endif %}
"""
    path = files.write_text(tmp_path / "layers" / "1.yaml", text)
    found = files.read_yaml(path)
    assert found["problem"] == {"instance": {"N": 1, "C": 7}} and found["width"] == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {{name}}", r"'\{\{name\}\}' is not read"),
        ("a: {{cycler.__init__.__globals__.os.popen('id').read()}}", "is not read"),
        ("{% for i in range(9) %}", "is not read"),
        ("{% if x|default(True) %}", "if without endif"),
        ("{% endif %}", "is not read"),
        ("a: {{ {1: 2} }}", "is not read"),
        ("a: {{b|default(" + " " * 100_000 + "}}", "is not read"),
        ("? !Component\n: 1", "a key must be plain text"),
        ("{{include_text('1.yaml')}}", "includes more than 8 deep"),
        ("{{include_text('none.yaml')}}", "none.yaml: no such file"),
    ],
)
def test_other_templates_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "1.yaml", text)
    with pytest.raises(InputError, match=message):
        files.read_yaml(path)


def test_files_that_include_each_other_many_times_are_bounded(tmp_path: Path) -> None:
    for depth in range(5):
        files.write_text(tmp_path / f"{depth}.yaml", f"{{{{include_text('{depth + 1}.yaml')}}}}\n" * 100)
    files.write_text(tmp_path / "5.yaml", "a: 1\n")
    with pytest.raises(InputError, match="64 in all"):
        files.read_yaml(tmp_path / "0.yaml")


def test_schema_errors_name_the_field() -> None:
    with pytest.raises(InputError, match=r"^a\.yaml: levels\.1\.size_bytes: Expected `int`, got `str`$"):
        files.check({"levels": [{"size_bytes": 1}, {"size_bytes": "big"}]}, _File, file="a.yaml")


def test_missing_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        files.read_yaml(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        files.read_yaml(tmp_path / "latin")


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    target = files.write_json(tmp_path / "deep" / "x.json", {"a": [1, 2, 3]})
    assert target.read_text() == '{"a": [1, 2, 3]}\n'
    with pytest.raises(ValueError):
        files.write_json(target, {"a": float("nan")})
    assert target.read_text() == '{"a": [1, 2, 3]}\n'
    with pytest.raises(InputError, match="cannot be written"):
        files.write_json(target / "below" / "a" / "file.json", {})
    assert [p.name for p in target.parent.iterdir()] == ["x.json"]


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_text(pipe, "text")
    assert os.read(end, 10) == b"text" and not pipe.is_file()
    os.close(end)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_file_without_an_end_is_not_read_whole() -> None:
    with pytest.raises(InputError, match="larger than"):
        files.read_text("/dev/zero")


def test_devices_and_pipes_are_written_to_not_replaced(tmp_path: Path) -> None:
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "all of it")
    reader.join()
    assert said == ["all of it"] and pipe.is_fifo()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "file")
    files.write_text(link, "through it")
    assert link.is_symlink() and (tmp_path / "file").read_text() == "through it"


def test_json_stands_on_one_line_where_it_fits() -> None:
    value = {"deep": {"er": [[1, 2], ["a", "b"], list(range(80))]}, "empty": [], "é": None}
    text = files.to_json(value)
    assert msgspec.json.decode(text) == value
    assert "[1, 2]" in text and '["a", "b"]' in text and text.count("\n") > 80


def test_paths_stay_inside(tmp_path: Path) -> None:
    assert files.inside(tmp_path, "a/b.yaml") == tmp_path / "a" / "b.yaml"
    for name in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(InputError, match="leads out"):
            files.inside(tmp_path, name)
