"""Files that a host's configuration names: certificates, secrets, authorities. Looked at by `mailagent validate`."""

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mailagent.config import AgentConfig, Origins
from mailagent.config.errors import Problem
from mailagent.config.secret_files import read_key, read_secret
from mailagent.delivery.tls import verifying_context
from mailagent.intake.tls import load_contexts

Look = Callable[[], object]


def unusable_files(config: AgentConfig, origins: Origins) -> list[Problem]:
    """What is wrong with each of them, with the line of the key that names it."""
    problems = []
    for key, file, look in _named(config):
        try:
            look()
        except (OSError, ValueError) as exc:
            text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            where, _, line = origins.find(key).rpartition(":")
            problems.append(Problem(where, int(line), key, text if str(file.parent) in text else f"{file}: {text}"))
    return problems


def _named(config: AgentConfig) -> Iterator[tuple[str, Path, Look]]:
    intake = config.intake
    given = [("intake.certificate", intake.certificate)]
    given += [(f"intake.listeners[{n}].certificate", one.certificate) for n, one in enumerate(intake.listeners)]
    for key, certificate in given:
        if certificate is not None:
            yield key, certificate.cert, partial(load_contexts, [certificate])
    for n, route in enumerate(config.routes):
        for name in ("password_file", "token_file") if route.auth is not None else ():
            if (file := getattr(route.auth, name)) is not None:
                yield f"routes[{n}].auth.{name}", file, partial(read_secret, file)
    for n, sink in enumerate(config.events):
        if sink.secret_file is not None:
            yield f"events[{n}].secret_file", sink.secret_file, partial(read_key, sink.secret_file)
    authorities = [("tls.ca_file", config.tls.ca_file), ("tls.mta_sts.ca_file", config.tls.mta_sts.ca_file)]
    authorities += [(f"events[{n}].ca_file", sink.ca_file) for n, sink in enumerate(config.events)]
    for key, file in authorities:
        if file is not None:
            yield key, file, partial(_authorities, file)


def _authorities(file: Path) -> None:
    try:
        verifying_context(file)
    except ssl.SSLError as exc:
        raise ValueError(f"holds no PEM certificates ({exc.reason or exc})") from exc
