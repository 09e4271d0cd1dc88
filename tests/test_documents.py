"""The documents say what the software does: examples load, commands and links exist, the protocol's page is whole."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from mailagent.api.errors import BY_CODE, ApiError
from mailagent.api.methods import METHODS
from mailagent.api.requests import Mutation
from mailagent.cli.commands import cli as mailagent_cli
from mailagent.config import load_agent
from mailagent.rpc.errors import UnknownMethod
from mailctl.cli.demo import demo
from mailctl.cli.main import cli as mailctl_cli
from mailctl.demo.command import demo_command
from tests.conftest import PACKAGES, RIGHTS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROTOCOL = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def row_of(name: str) -> str:
    """The line of a table whose first cell is `name`."""
    found = re.search(rf"^\| {re.escape(name)} \|.*$", PROTOCOL, flags=re.MULTILINE)
    assert found, f"docs/protocol.md has no row {name}"
    return found[0]


def blocks(text: str, language: str) -> list[str]:
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """Words of each `mailctl …` and `mailagent …`, in code spans and at the start of lines of code blocks."""
    for quoted in re.findall(r"`((?:mailctl|mailagent) [^`\n]+)`", text):
        yield quoted.split()
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^(?:\$ )?(?:\S*/)?((?:mailctl|mailagent)(?: .*)?)$", block, flags=re.MULTILINE):
            yield line.split("#")[0].split()


def option_names(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}


def unknown_words(words: list[str]) -> list[str]:
    """Commands and options of one line that do not exist."""
    command: click.Command = mailctl_cli if words[0] == "mailctl" else mailagent_cli
    known, wrong, values = option_names(command), [], 0
    for word in words[1:]:
        if word in {"|", ">", "&", ";", "&&"}:
            break
        if values:
            values -= 1
        elif word.startswith("--"):
            name, equals, _ = word.partition("=")
            if name not in known:
                wrong.append(name)
            elif not equals and name != "--wait":
                values = sum(not getattr(one, "is_flag", False) for one in command.params if name in one.opts)
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", word):
            found = command.commands.get(word)
            if found is None:
                return [*wrong, word]
            command = demo_command(lambda _: 0) if found is demo else found
            known |= option_names(command)
    return wrong


def test_the_host_file_of_the_readme_loads_as_written(tmp_path: Path) -> None:
    written = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "yaml")[0]
    path = tmp_path / "agent.yaml"
    path.write_text(written, encoding="utf-8")
    config = load_agent(path)
    assert config.host == "mx1"
    assert config.state_dir == tmp_path / "state"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_options_exist(document: Path) -> None:
    wrong = {" ".join(words): unknown_words(words) for words in commands(document.read_text(encoding="utf-8"))}
    assert {line: words for line, words in wrong.items() if words} == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"`make (\w+)|^make (\w+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE))
    for target in {first or second for first, second in targets}:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_named_modules_exist(document: Path) -> None:
    """`agent/mailagent/…` and `console/mailctl/…` in code spans."""
    for path in re.findall(r"`((?:agent|console)/[\w/.]+)`", document.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_the_floors_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [one["layers"] for one in contracts if one["name"] == "Floors of the agent"]
    floors = [sorted(re.findall(r"mailagent\.([\w.]+)", layer)) for layer in layers]
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.split("| agent, from the top | |\n|---|---|\n")[1].split("\n\n")[0]
    assert [sorted(re.findall(r"`([\w.]+)`", row.split("|")[1])) for row in table.split("\n")] == floors


@pytest.mark.parametrize("name", METHODS)
def test_the_protocol_page_has_each_method_with_role_and_parameters(name: str) -> None:
    row = METHODS[name]
    cells = [cell.strip() for cell in row_of(f"`{name}`").strip("|").split("|")]
    assert cells[1] == row.role
    common = Mutation.__struct_fields__ if row.mutates else ()
    own = [field.name for field in msgspec.structs.fields(row.params) if field.name not in common]
    assert [parameter for parameter in own if f"`{parameter}`" not in cells[2]] == []
    assert ("those of every verb" in cells[2]) == row.mutates


def test_the_protocol_page_has_each_method_once() -> None:
    table = PROTOCOL.split("## Methods")[1].split("\n\n")[1]
    rows = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted(rows) == sorted(METHODS)


def test_ci_installs_what_tests_need() -> None:
    script = (ROOT / ".ci/components").read_text(encoding="utf-8")
    listed = dict(re.findall(r"(?<=[\s(])([\w-]+):([\w-]+)", script))
    assert listed == {name: package for name, package in PACKAGES.items() if not name.endswith(".so")}
    named = "".join(re.findall(r"needs\(([^)]*)\)", "".join(map(Path.read_text, ROOT.glob("tests/**/*.py")))))
    assert set(re.findall(r'"([\w.-]+)"', named)) <= {*RIGHTS, *PACKAGES}


def test_the_protocol_page_has_what_every_verb_carries() -> None:
    for field in msgspec.structs.fields(Mutation):
        row_of(f"`{field.name}`")


def test_the_protocol_page_has_every_error_code() -> None:
    kinds: list[type[ApiError]] = [*BY_CODE.values(), UnknownMethod]
    for kind in kinds:
        assert kind.__name__ in row_of(str(kind.code))
