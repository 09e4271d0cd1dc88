"""What can be compiled: docs/decisions/0012-the-hot-path-is-compiled.md."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

from mailagent.version import is_compiled

AGENT = Path(__file__).parents[2] / "agent"
HOOK = tomllib.loads((AGENT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
MODULES: list[str] = HOOK["custom"]["modules"]


@pytest.mark.parametrize("path", MODULES)
def test_no_class_has_keywords_which_mypyc_would_leave_away(path: str) -> None:
    tree = ast.parse((AGENT / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert not node.keywords, node.name
            assert not any("Struct" in ast.unparse(base) for base in node.bases), node.name


@pytest.mark.parametrize("path", MODULES)
def test_all_are_compiled_or_none_is(path: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert str(module.__file__).endswith(".so" if is_compiled() else ".py")
