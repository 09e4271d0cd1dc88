"""Completion for shells: verbs and options, and names of the fleet file. No host is asked."""

from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, FishComplete, ZshComplete

if TYPE_CHECKING:
    from mailagent.config.structs import FleetConfig

VARIABLE = "_MAILCTL_COMPLETE"

BASH = """\
# eval "$(mailctl completion bash)" in ~/.bashrc, or this text in /etc/bash_completion.d/mailctl
_mailctl_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" reply kind value word before
    local -a words
    read -ra words <<< "$line"
    local at=$(( ${#words[@]} - 1 ))
    [[ $line == *[[:space:]] ]] && at=${#words[@]}
    word="${words[at]}"
    # bash takes a colon for the end of a word: what stands before the last one is already typed
    before=""
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && before="${word%"${word##*:}"}"
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            file) compopt -o filenames; COMPREPLY+=( $(compgen -f -- "$word") ) ;;
            dir) compopt -o filenames; COMPREPLY+=( $(compgen -d -- "$word") ) ;;
            plain) [[ $value == *: ]] && compopt -o nospace; COMPREPLY+=( "${value#"$before"}" ) ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD=$at _MAILCTL_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -F _mailctl_completion mailctl
"""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL needs to complete verbs, hosts, pools, virtual MTAs and queues.

    Names come from the fleet file; no host is asked.

    \b
    Examples:
      eval "$(mailctl completion bash)"
      mailctl completion zsh > ~/.zfunc/_mailctl
      mailctl completion fish > ~/.config/fish/completions/mailctl.fish
    """
    if shell == "bash":
        click.echo(BASH, nl=False)
        return
    kind = ZshComplete if shell == "zsh" else FishComplete
    click.echo(kind(completion, {}, "mailctl", VARIABLE).source())


def complete_selection(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Kinds before the colon, then names of the kind."""
    from mailctl.ops.grammar import TermKind

    kind, colon, start = incomplete.partition(":")
    if not colon:
        kinds = [f"{one}:" for one in TermKind if one.startswith(kind)]
        if len(kinds) > 1:
            return [CompletionItem(one) for one in kinds]
        kind, start = (kinds[0][:-1] if kinds else ""), ""
    names = _names(context).get(kind, ())
    return [CompletionItem(f"{kind}:{name}") for name in names if name.startswith(start)]


def complete_host(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Hosts by name."""
    return _named("host", context, incomplete)


def complete_pool(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pools by name."""
    return _named("pool", context, incomplete)


def complete_vmta(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Virtual MTAs by name."""
    return _named("vmta", context, incomplete)


def _named(kind: str, context: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in _names(context).get(kind, ()) if name.startswith(incomplete)]


def _names(context: click.Context) -> dict[str, list[str]]:
    """Names by kind; none when there is no fleet file, or one with mistakes."""
    from mailagent.config import ConfigError, load_fleet
    from mailctl.cli.setup import Setup

    with suppress(click.UsageError, ConfigError, OSError):
        setup = Setup(fleet_file=context.find_root().params.get("fleet_file"), role=None, timeout_s=0.0)
        return names_of(load_fleet(setup.path()))
    return {}


def names_of(config: "FleetConfig") -> dict[str, list[str]]:
    """What the fleet file names, by the kind of its term."""
    from mailagent.config.providers import shipped_providers

    vmtas = [str(vmta) for host in config.hosts.values() for vmta in host.virtual_mtas]
    providers = sorted({*map(str, shipped_providers()), *map(str, config.providers)})
    cells = [f"{provider}/{vmta}" for provider in providers for vmta in vmtas]
    return {
        "host": [str(name) for name in config.hosts],
        "pool": [str(name) for name in config.pools],
        "vmta": vmtas,
        "stream": [str(name) for name in config.streams],
        "provider": providers,
        "queue": cells,
        "cell": cells,
    }
