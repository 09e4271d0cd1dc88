"""The figures of all hosts as one text for Prometheus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailctl.cli.options import selectors
from mailctl.cli.setup import Setup, pass_setup

if TYPE_CHECKING:
    from mailctl.cli.show import Shown
    from mailctl.fleet import Fleet
    from mailctl.ops import Selection


@click.command()
@selectors
@click.option("--openmetrics", is_flag=True, help="Write OpenMetrics 1.0.0 instead of the older text format.")
@pass_setup
def metrics(setup: Setup, selection: Sequence[str], openmetrics: bool) -> None:
    """Print the figures of all hosts for Prometheus.

    What each agent answers to GET /metrics, with a label `host`; mailctl_host_up is 0 for a host that gave no
    answer. For node_exporter's textfile collector, or a Pushgateway, where hosts cannot be scraped.

    \b
    Examples:
      mailctl metrics
      mailctl metrics host:mx1 --openmetrics
    """
    from mailagent.api.exposition import END, Part, describe, exposition, label
    from mailagent.api.metrics import Family, Kind, Metrics, Scope
    from mailagent.api.requests import Empty
    from mailctl.cli.show import Shown, chosen, selected, show

    async def look(fleet: "Fleet", selection: "Selection") -> "Shown":
        names = [host.name for host in selected(fleet.state, selection)]
        answers = await fleet.ask_all("metrics", Empty(), hosts=names, deadline_s=setup.timeout_s)
        parts = [Part(host, answer) for host, answer in answers.items() if isinstance(answer, Metrics)]
        up = Family("mailctl_host_up", Kind.GAUGE, Scope.HOST, "1 for a host that answered mailctl, 0 for others.")
        told = {host for host, _ in parts}
        hosts = [host.name for host in chosen(fleet.state, selection)]
        text = describe(up, [(label("host", name), int(name in told)) for name in hosts], openmetrics=openmetrics)
        text += "".join(exposition(parts, openmetrics=openmetrics)) + (END if openmetrics else "")
        failed = {host: str(answer) for host, answer in answers.items() if isinstance(answer, Exception)}
        return Shown(parts, text.removesuffix("\n"), failed=failed, of_hosts=True)

    show(setup, "metrics", selection, look, as_json=False, kinds=())
