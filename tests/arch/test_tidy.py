"""House rules as tests: sizes, module docstrings, banned words and names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CHECKED = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
CHECKED += sorted((ROOT / "fuzz").rglob("*.py"))

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
DOCSTRING_LINES_MAX = 7
VAGUE_NAMES = {"utils", "helpers", "common", "manager", "misc"}
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
ROOMS_OF_THIS_MACHINE = re.compile("|".join((r"/wo" + r"rk/", r"/ro" + r"ot/")))
BROAD_EXCEPT = re.compile(r"except Exception\b")
PROCESS_MODULES = {"subprocess"}
MAY_START_PROCESSES = ("satellite/host/", "cli/demo/", "bollard/lab/")
OUTERMOST_FRAMES = re.compile(r"#.*outermost|# noqa: BLE001")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CHECKED, ids=_id)
def test_a_file_is_small_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES_MAX
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "a module opens with what it is"
    if path in SOURCES:
        assert docstring.count("\n") < DOCSTRING_LINES_MAX
    assert path.stem not in VAGUE_NAMES


@pytest.mark.parametrize("path", CHECKED, ids=_id)
def test_functions_are_small(path: Path) -> None:
    long = [f"{node.name}: {_lines(node)}" for node in _functions(path) if _lines(node) > FUNCTION_LINES_MAX]
    assert not long


@pytest.mark.parametrize("path", CHECKED, ids=_id)
def test_nothing_unfinished_or_private_is_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not UNFINISHED.search(text)
    assert not ROOMS_OF_THIS_MACHINE.search(text)


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_broad_excepts_stand_at_outermost_frames_only(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if BROAD_EXCEPT.search(line):
            assert OUTERMOST_FRAMES.search(line), f"line {number}: say which outermost frame this is"


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_one_place_starts_processes(path: Path) -> None:
    if any(room in _id(path) for room in MAY_START_PROCESSES):
        return
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert not imported & PROCESS_MODULES


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=_id)
def test_tests_use_fakes_and_conditions(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text(encoding="utf-8")
    assert "mock.patch" not in text
    assert "time.sleep(" not in text


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
