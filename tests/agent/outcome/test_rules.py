"""The file of rules: what is shipped, what an installation adds, and the mistakes that are found."""

from pathlib import Path

import pytest

from mailagent.api.classification import Action, Category
from mailagent.api.smtp import Verb
from mailagent.config import ConfigError
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.outcome.classification.lint import lint


def _own(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_rules(_own(folder, text))
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.errors]


def test_every_shipped_rule_is_reached_by_its_own_examples() -> None:
    assert lint(load_rules()) == []


def test_own_rules_are_asked_before_the_shipped_ones(tmp_path: Path) -> None:
    rules = load_rules(
        _own(
            tmp_path,
            """
            providers: {acme: [acme-mail]}
            rules:
              - {id: acme-unknown, provider: [acme], text: ['user unknown'], category: policy,
                 examples: [550 User unknown]}
              - {id: mine, text: ['qwerty'], category: rate-limit, action: retry, examples: [550 Qwerty]}
            """,
        )
    )
    assert lint(rules) == []
    classifier = Classifier(rules)
    assert classifier.classify("acme-mail", 550, "5.1.1", "User unknown", Verb.RCPT).rule == "acme-unknown"
    assert classifier.classify("gmail", 550, "5.1.1", "User unknown", Verb.RCPT).category is Category.BAD_MAILBOX
    assert classifier.classify("", 550, "", "Qwerty", Verb.RCPT).action is Action.RETRY


def test_an_own_rule_that_shadows_a_shipped_one_is_found(tmp_path: Path) -> None:
    found = lint(
        load_rules(_own(tmp_path, "rules: [{id: mine, text: [mailbox], category: policy, examples: [550 x]}]"))
    )
    assert "mine: unmatched comes first for its example: 550 x" in found
    assert any("mine comes first for its example" in finding for finding in found)


def test_a_name_that_the_shipped_file_has_and_a_rule_without_example_are_found(tmp_path: Path) -> None:
    found = lint(load_rules(_own(tmp_path, "rules: [{id: spam, text: [qwerty], category: policy}]")))
    assert "spam: has no example" in found
    assert "spam: a file before it has a rule of this name" in found


def test_mistakes_come_all_at_once_with_their_lines(tmp_path: Path) -> None:
    found = _mistakes(
        tmp_path,
        r"""rules:
  - {id: a, provider: [gmail.], text: ['(('], category: policy}
  - {id: a, text: ['Capital', 'x*', 'a\\.b'], category: no-such}
  - {id: b, code: ['55'], enhanced: ['5.1'], category: spam-content}
  - {id: c, category: spam-content}
""",
    )
    wanted = [
        "rules.yaml:2: rules[0].provider[0]: gmail. ends in a dot",
        "rules.yaml:2: rules[0].text[0]: is no regular expression",
        "rules.yaml:3: rules[1].category",
        "rules.yaml:4: rules[2].code[0]: '55' is not of the form",
        "rules.yaml:4: rules[2].enhanced[0]: '5.1' is not of the form",
        "rules.yaml:5: rules[3]: fits every reply",
    ]
    for start in wanted:
        assert any(line.startswith(start) for line in found), (start, found)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("User", "capital letter"),
        ("x*", "fits every text"),
        (r"a\\.b", "doubled backslash"),
        ("(", "no regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(tmp_path: Path, pattern: str, why: str) -> None:
    found = _mistakes(tmp_path, f"rules: [{{id: a, text: ['{pattern}'], category: policy}}]")
    assert any(why in line for line in found)


def test_an_unknown_provider_is_refused_and_so_is_the_same_name_twice(tmp_path: Path) -> None:
    found = _mistakes(
        tmp_path,
        """rules:
  - {id: a, provider: [gogle], text: [x], category: policy}
  - {id: a, text: [y], category: policy}
""",
    )
    assert "rules.yaml:2: rules[0].provider[0]: gogle is no provider; `providers` lists their names" in found
    assert "rules.yaml:3: rules[1].id: another rule is called a, too" in found


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        load_rules(tmp_path / "gone.yaml")
