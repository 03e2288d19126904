"""What the documents name is there."""

import ast
import re
from pathlib import Path

import pytest

from jobcast.shared.alerts import alert

ROOT = Path(__file__).parent.parent
SYSTEMS = ROOT / "docs" / "reference-systems.md"


def named(text: str) -> list[tuple[str, str]]:
    """``(file, test)`` of each ``path::test``, ``::test`` (in the file named before it) and path alone ("")."""
    found: list[tuple[str, str]] = []
    for path, test in re.findall(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`", text):
        if path or test:
            found.append((path or found[-1][0], test))
    return found


@pytest.mark.parametrize(("path", "test"), named(SYSTEMS.read_text(encoding="utf-8")))
def test_each_point_of_the_five_systems_names_a_test_that_is_there(path: str, test: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}
    assert test in tests if test else any(name.startswith("test_") for name in tests)


def test_no_point_of_the_five_systems_is_without_a_test_but_what_is_not_built() -> None:
    rows = [line for line in SYSTEMS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    without = [row for row in rows if not named(row) and not row.startswith(("| asked for", "|---"))]
    assert [row for row in without if "not built" not in row] == []
    assert len(rows) > 50


def test_every_kind_of_alert_is_told_of() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    kinds = {
        value for value in vars(alert).values() if isinstance(value, str) and re.fullmatch(r"[a-z]+(-[a-z]+)*", value)
    }
    assert "stuck" in kinds
    assert {kind for kind in kinds if f"| `{kind}` |" not in page} == set()


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [to for to in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in to]
    assert [to for to in linked if not (page.parent / to).exists()] == []
