"""The `events` section: sinks that can work, and a host's part of them."""

from pathlib import Path

import pytest

from mailagent.api.ids import HostName
from mailagent.config import ConfigError, dump_agent, host_part, load_agent, load_fleet
from mailagent.config.events import EventSink

HOST = """\
host: mx1
virtual_mtas: {a1: {address: 127.0.0.1}}
pools: {default: {active: [a1]}}
streams: {default: {pool: default}}
"""
FLEET = """\
hosts:
  mx1: {virtual_mtas: {a1: {address: 127.0.0.1}}}
  mx2: {virtual_mtas: {b1: {address: 127.0.0.2}}}
pools: {here: {active: [a1]}, there: {active: [b1]}}
streams: {news: {pool: here}, cold: {pool: there}}
events:
  - {name: all, file: /tmp/all.jsonl}
  - {name: some, file: /tmp/some.jsonl, streams: [news, cold]}
  - {name: theirs, file: /tmp/theirs.jsonl, streams: [cold]}
"""


def load(directory: Path, text: str) -> tuple[EventSink, ...]:
    file = directory / "agent.yaml"
    file.write_text(HOST + text, encoding="utf-8")
    return load_agent(file).events


def test_a_sink_hears_of_what_is_final_unless_it_says_more(tmp_path: Path) -> None:
    (sink,) = load(tmp_path, "events: [{name: crm, file: out.jsonl}]")
    assert sink.types == ("d", "b", "x", "rb", "rs", "f")
    assert sink.file == tmp_path / "out.jsonl"
    narrow = "accounting: {records: [d, b]}\nevents: [{name: crm, file: out.jsonl}]"
    assert load(tmp_path, narrow)[0].types == sink.types, "types that are not written are no mistake unless named"


@pytest.mark.parametrize(
    "url", ["https://app.example.com/x", "http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/"]
)
def test_addresses_that_can_be_posted_to(tmp_path: Path, url: str) -> None:
    (sink,) = load(tmp_path, f'events: [{{name: app, url: "{url}", secret_file: s}}]')
    assert sink.url == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a}", "events[0]: wants either `url` or `file`"),
        ("{name: a, url: 'https://x.example/', file: f, secret_file: s}", "events[0]: wants either `url` or `file`"),
        ("{name: a, url: 'https://x.example/'}", "events[0]: has a url and no secret_file"),
        ("{name: a, url: 'http://x.example/', secret_file: s}", "events[0].url: would send recipients in clear"),
        ("{name: a, url: 'ftp://x.example/', secret_file: s}", "events[0].url: is no address to post to"),
        ("{name: a, url: 'https://u:p@x.example/', secret_file: s}", "events[0].url: is no address to post to"),
        (
            "{name: a, url: 'https://x.example:99999/', secret_file: s}",
            "events[0].url: `https://x.example:99999/`",
        ),
        ("{name: a/b, file: f}", "events[0].name: `a/b` is no name"),
        ("{name: a, file: f}, {name: a, file: g}", "events[1].name: `a` is taken by another sink"),
        ("{name: a, file: f, types: [d, q]}", "events[0].types[1]: `q` is no type of record"),
        ("{name: a, file: f, types: [r]}", "events[0].types[0]: `r` is not among accounting.records"),
        ("{name: a, file: f, streams: [absent]}", "events[0].streams[0]: `absent` is no stream; there are default"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"events: [{text}]")
    assert f"agent.yaml:5: {message}" in str(caught.value)


def test_a_host_gets_the_sinks_that_concern_its_streams(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET, encoding="utf-8")
    part = host_part(load_fleet(file), HostName("mx1"))
    assert [(sink.name, sink.streams) for sink in part.events] == [("all", ()), ("some", ("news",))]
    own = tmp_path / "agent.yaml"
    own.write_text(dump_agent(part), encoding="utf-8")
    assert load_agent(own) == part
