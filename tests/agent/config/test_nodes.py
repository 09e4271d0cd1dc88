import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.errors import Problem
from mailagent.config.nodes import Listing, Mapping, Scalar, compose, show


def composed(text: str) -> tuple[Mapping | Listing | Scalar | None, list[str]]:
    problems: list[Problem] = []
    return compose(text, "f.yaml", problems), [str(problem) for problem in problems]


def test_words_that_yaml_would_turn_into_other_types_stay_words() -> None:
    root, problems = composed("a: off\nb: 4:30\nc: 007\nd: 2026-01-01\n")
    assert isinstance(root, Mapping)
    assert [node.text for node in root.entries.values() if isinstance(node, Scalar)] == [
        "off",
        "4:30",
        "007",
        "2026-01-01",
    ]
    assert not problems


def test_a_duplicate_key_names_both_lines() -> None:
    _, problems = composed("pools:\n  a: {}\n  b: {}\n  a: {}\n")
    assert problems == ["f.yaml:4: pools.a: stands twice; the first is on line 2"]


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert composed("# nothing yet\n") == (Mapping({}, {}, 1), [])


def test_an_alias_repeats_what_it_names() -> None:
    root, problems = composed("a: &x [1, 2]\nb: *x\n")
    assert isinstance(root, Mapping)
    assert root.entries["a"] == root.entries["b"]
    assert not problems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: &x [*x]\n", 1),
        ("[1]: a\n", 1),
        ("a: *nothing\n", 1),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text: str, line: int) -> None:
    _, problems = composed(text)
    assert [problem.split(":")[1] for problem in problems] == [str(line)]


@given(st.text(alphabet=st.sampled_from("ab:{}[]&*-!|>'\"#%@`,? \n\t\0\x07é"), max_size=60))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    root, problems = composed(text)
    assert root is not None or problems


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: " + "[" * 100_000 + "]" * 100_000,
        "a: 1\n" + "{b: " * 900 + "1" + "}" * 900,
        "a: 1\n" + "- " * 5000 + "1",
        "\n" + "".join(f"{' ' * n}b:\n" for n in range(500)),
        "a: 1\n'[[[': " + "[" * 101 + "]" * 101,
        "a: '" + "]" * 500 + "'\nb: " + "[" * 300 + "]" * 300,
    ],
)
def test_a_file_that_nests_beyond_reason_is_refused_and_ends_no_process(text: str) -> None:
    """libyaml ran out of stack at 200,000 levels, and we at a thousand."""
    root, (problem,) = composed(text)
    assert (root, "nested deeper than 100 levels" in problem or "not valid YAML" in problem) == (None, True)


def test_many_brackets_beside_each_other_or_in_quotes_are_well() -> None:
    text = "a: [" + "[1], " * 500 + "]\nb: '" + "[" * 500 + "'\nc: " + "[" * 99 + "]" * 99
    assert composed(text)[1] == []


def test_aliases_that_grow_without_end_are_refused() -> None:
    levels = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10) if n else '1'}]" for n in range(30)]
    _, problems = composed("\n".join(levels))
    assert [problem.rpartition(": ")[2] for problem in problems] == [
        "aliases repeat more than 1,000,000 nodes up to here"
    ]


def test_keys_are_shown_as_people_write_them() -> None:
    assert show(("hosts", "mx1", "intake", "listeners", 0, "port")) == "hosts.mx1.intake.listeners[0].port"


def test_a_tab_and_a_control_character_are_named_with_their_line() -> None:
    assert composed("a:\n\tb: 1\n") == (None, ["f.yaml:2: not valid YAML: a tab stands there; indent with spaces"])
    assert composed("a: 1\nb: \x00\n") == (None, ["f.yaml:2: not valid YAML: control character #x00"])


@pytest.mark.parametrize(
    ("tag", "shown"),
    [("!include", "!include"), ("!vault", "!vault"), ("!!python/object:os.system", "python/object:os.system")],
)
def test_a_tag_is_no_way_to_a_value(tag: str, shown: str) -> None:
    _, problems = composed(f"a: 1\nb: {tag} routes.yaml\n")
    assert problems == [f"f.yaml:2: b: the tag {shown} does nothing here; write the value itself"]
    assert composed("a: !!str 7\n")[1] == []
