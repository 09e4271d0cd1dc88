"""Verbs on waiting mail at the command line."""

import pytest

from tests.console.cli.conftest import Mailctl


async def test_a_plan_says_in_one_document_what_it_touches(mailctl: Mailctl) -> None:
    ran = await mailctl("hold", "provider:gmail", "--filter", "age:>2h", "--for", "2h", "--dry-run", "--json")
    assert ran.code == 0
    operation = ran.document["operation"]
    assert operation["command"].endswith("hold provider:gmail --filter 'age:>2h' --for 2h")
    assert [(part["host"], part["pool"], part["count"]) for part in operation["parts"]] == [
        (host, "marketing", 100) for host in ("mx1", "mx2", "mx3")
    ]


@pytest.mark.parametrize("verb", ["hold", "release", "bounce", "delete", "requeue"])
async def test_without_a_terminal_a_bound_is_wanted_and_kept_over_all_hosts(mailctl: Mailctl, verb: str) -> None:
    unbound = await mailctl(verb, "provider:gmail", "--yes")
    assert (unbound.code, "--max-affected" in unbound.err) == (2, True)
    refused = await mailctl(verb, "provider:gmail", "--yes", "--max-affected", "299")
    assert refused.code == 4
    done = await mailctl(verb, "provider:gmail", "--yes", "--max-affected", "300", "--json")
    assert done.code == 0
    assert "of them: pool marketing 300" in done.err
    assert done.document["operation"]["undo"]


async def test_a_rebind_wants_a_pool_and_a_probe_a_path(mailctl: Mailctl) -> None:
    assert (await mailctl("rebind", "provider:gmail", "--dry-run")).code == 2
    moved = await mailctl("rebind", "provider:gmail", "--to", "cold", "--dry-run", "--json")
    assert moved.document["operation"]["command"].endswith("rebind provider:gmail --to cold")
    assert (await mailctl("probe", "pool:marketing", "--dry-run")).code == 2
