"""The grammar of filters, and what a filter means to rows and to agents."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term, check, is_like
from mailctl.ops.errors import FilterSyntaxError, SelectorError
from mailctl.ops.filters import Filter, described
from mailctl.ops.grammar import TermKind, Token, folded, token, tokens, written

hostile = st.text(max_size=60) | st.text(alphabet='ab:!"\\ \t*<>@/.', max_size=30)
values = hostile.filter(bool)
ages = st.tuples(st.sampled_from("<>"), st.integers(1, 36_500), st.sampled_from("smhd")).map(
    lambda a: f"{a[0]}{a[1]}{a[2]}"
)
codes = st.sampled_from(("0", "421", "4*", "45*", "4.7.1", "4.7.*", "5.*"))
any_token = st.one_of(
    st.builds(
        Token, st.sampled_from([k for k in TermKind if k not in (TermKind.AGE, TermKind.CODE)]), values, st.booleans()
    ),
    st.builds(Token, st.just(TermKind.AGE), ages, st.booleans()),
    st.builds(Token, st.just(TermKind.CODE), codes, st.booleans()),
    st.builds(Token, st.none(), values, st.booleans()),
).map(lambda one: one._replace(value=folded(one.kind, one.value)))


@given(st.lists(any_token, max_size=6))
def test_terms_read_back_as_they_are_written(given_terms: list[Token]) -> None:
    assert tokens(" ".join(map(str, given_terms))) == tuple(given_terms)
    assert tuple(token(str(one)) for one in given_terms) == tuple(given_terms)
    once = Filter.made(given_terms)
    assert Filter.parse(str(once)) == once


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("domain:bücher.example", "domain:xn--bcher-kva.example"),
        ("!domain:*.bücher.example", "!domain:*.xn--bcher-kva.example"),
        ("to:*@Bücher.example", "recipient:*@xn--bcher-kva.example"),
        ("from:Anna@bücher.example", "sender:Anna@xn--bcher-kva.example"),
        ("queue:bücher.example/mkt-1", "queue:xn--bcher-kva.example/mkt-1"),
        ("queue:bücher.example/", "queue:xn--bcher-kva.example/"),
        ("dkim:bücher.example/cold", "dkim:xn--bcher-kva.example/cold"),
        ("job:bücher bücher.example", "job:bücher bücher.example"),
    ],
)
def test_a_domain_is_read_in_its_letters_and_shown_as_a_labels(line: str, meant: str) -> None:
    assert str(Filter.parse(line)) == meant == str(Filter.parse(meant))


@pytest.mark.parametrize("line", ["to:*@bü*.example", "!domain:bücher*.example", "from:me@*ücher.example"])
def test_a_star_in_a_label_that_is_stored_otherwise_is_refused(line: str) -> None:
    with pytest.raises(FilterSyntaxError, match=r"a \* for the whole label"):
        Filter.parse(line)
    assert str(Filter.parse("to:*@*.example to:ü*@example.com")) == "recipient:*@*.example recipient:ü*@example.com"


@given(hostile)
@example('pool:"')
@example("!")
@example("!!x")
@example('"\\')
@example("age:")
def test_hostile_text_is_read_or_refused_at_a_place_within_it(text: str) -> None:
    try:
        read = Filter.parse(text)
    except FilterSyntaxError as exc:
        mistake = exc
    else:
        assert Filter.parse(str(read)) == read
        read.admits({}, text)
        return
    assert 0 <= mistake.position <= len(text)
    assert mistake.expected


@given(hostile)
def test_what_becomes_a_filter_of_an_agent_is_what_agents_take(text: str) -> None:
    try:
        wanted = Filter.parse(text).message_filter()
    except SelectorError:
        return
    stars = [one for one in wanted.terms if one.field is not Field.TEXT and one.value.count("*") > 4]
    if not stars:
        check(wanted.terms)
    assert Filter.parse(described(wanted)).message_filter() == wanted


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("pool:cold pol:marketing", 10, 'a kind, or "words in quotation marks"'),
        ("pool:", 5, "a name after pool:"),
        ("host:mx1 pool: cold", 14, "a name after pool:"),
        ("!", 1, "a term after the exclamation mark"),
        ('say "rate limit', 15, "a closing quotation mark"),
        ('"rate"limit', 6, "a blank after"),
        ("!vmta:mkt-1vmta:mkt-2", 11, "a blank before vmta:"),
        ("pool:bulkto:*@a.example", 9, "a blank before to:"),
        ('pool:""', 6, "something between"),
        ("age:2h", 4, "> or < and a duration"),
        ("age:>2", 4, "> or < and a duration"),
        ("code:4.7.x", 5, "a reply code"),
        ("code:*", 5, "a reply code"),
    ],
)
def test_a_mistake_says_where_and_what_was_expected(text: str, position: int, expected: str) -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        Filter.parse(text)
    assert caught.value.position == position
    assert expected in caught.value.expected
    assert f"character {position + 1}" in str(caught.value)


def test_an_unknown_kind_says_which_are_near_and_how_to_search_for_the_text() -> None:
    with pytest.raises(FilterSyntaxError, match=r"no kind 'http'; there are host.*quotation marks"):
        Filter.parse("http://example.com/x")
    assert Filter.parse('"http://example.com/x"').words == ("http://example.com/x",)
    assert written(None, "a:b") == '"a:b"'
    assert Filter.parse("451: 4.7.1:").words == ("451:", "4.7.1:")


def test_short_words_are_kinds_too() -> None:
    assert str(Filter.parse("to:*@example.com from:a@b.example id:01K")) == (
        "recipient:*@example.com sender:a@b.example message:01K"
    )


def test_terms_of_one_kind_are_alternatives_and_kinds_narrow() -> None:
    wanted = Filter.parse("vmta:mkt-1 vmta:mkt-2 host:mx1")
    facets = {TermKind.VMTA: ("mkt-2",), TermKind.HOST: ("mx1",)}
    assert wanted.admits(facets, "")
    assert not wanted.admits(facets | {TermKind.HOST: ("mx2",)}, "")


def test_a_kind_that_a_row_knows_nothing_of_does_not_hide_it() -> None:
    assert Filter.parse("stream:news !stream:cold").admits({TermKind.HOST: ("mx1",)}, "")


def test_words_are_searched_in_what_the_row_shows_and_all_must_be_there() -> None:
    assert Filter.parse("Gmail rate").admits({}, "unusual RATE of mail at gmail")
    assert Filter.parse('"of mail"').admits({}, "unusual RATE of mail at gmail")
    assert not Filter.parse("gmail blocked").admits({}, "unusual rate of mail at gmail")


def test_an_exclamation_mark_takes_away_what_matches() -> None:
    wanted = Filter.parse('!vmta:mkt-* !"mailbox full"')
    assert wanted.admits({TermKind.VMTA: ("tx-1",)}, "rate limited")
    assert not wanted.admits({TermKind.VMTA: ("mkt-2",)}, "rate limited")
    assert not wanted.admits({TermKind.VMTA: ("tx-1",)}, "552 Mailbox full")


def test_hosts_are_named_by_patterns_and_excluded() -> None:
    assert [name for name in ("mx1", "mx2", "eu1") if Filter.parse("host:mx* !host:mx2 word").admits_host(name)] == [
        "mx1"
    ]


def test_going_down_replaces_terms_of_the_same_kind_and_drops_words() -> None:
    down = Filter.parse("host:mx1 vmta:mkt-1 slow !fast !pool:cold").having((TermKind.VMTA, "mkt-2"))
    assert str(down) == "host:mx1 vmta:mkt-2 !pool:cold"


def test_one_exact_name_is_a_field_and_the_rest_are_terms() -> None:
    wanted = Filter.parse(
        "queue:gmail/mkt-1 host:mx1 pool:a pool:b to:*@x.example code:4.7.* age:>2h state:deferred"
        ' !"Mailbox full" id:01K.3'
    ).message_filter(deferred_only=True)
    assert wanted == MessageFilter(
        site="gmail",
        vmta="mkt-1",
        deferred_only=True,
        terms=(
            Term(field=Field.POOL, value="a"),
            Term(field=Field.POOL, value="b"),
            Term(field=Field.RECIPIENT, value="*@x.example"),
            Term(field=Field.CODE, value="4.7.*"),
            Term(field=Field.AGE, value=">7200"),
            Term(field=Field.STATE, value="deferred"),
            Term(field=Field.MESSAGE, value="01K.3"),
            Term(field=Field.TEXT, value="mailbox full", negated=True),
        ),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("queue:gmail", "queue:SITE/VMTA"),
        ("queue:gmail/mkt-1 vmta:mkt-2", "one vmta at a time"),
        ("!queue:gmail/mkt-1", "exclude its site or its vmta"),
        ("state:sleeping", "deferred, due, held, untried"),
        ("dkim:example.com/marketing", "DKIM keys"),
    ],
)
def test_what_agents_cannot_narrow_by_is_said(text: str, why: str) -> None:
    with pytest.raises(SelectorError, match=why):
        Filter.parse(text).message_filter()


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=8))
def test_a_pattern_means_what_a_regular_expression_means(pattern: str, text: str) -> None:
    import re

    assert is_like(pattern, text) == bool(re.fullmatch(pattern.replace("*", ".*"), text))
