"""Process life of an agent: limits, logging, signals, and the order of starting and stopping."""

import asyncio
import logging
import os
import resource
import signal
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TextIO

import uvloop

from mailagent.api.errors import ApiError
from mailagent.config import AgentConfig, Origins, load_agent_with_origins
from mailagent.config.postfix import EngineKind
from mailagent.config.structs import Log
from mailagent.engine import Engine
from mailagent.life import Life
from mailagent.postfix.host import PostfixHost
from mailagent.rpc import RpcServer
from mailagent.version import __version__, is_compiled
from mailagent.witness import Witness

log = logging.getLogger(__name__)

UMASK = 0o027
"""What the agent makes is nobody else's to read: its files hold mail."""
AUDIT_FILE = "audit.jsonl"
_FAILED = 0
"""In place of a signal's number: the engine cannot go on."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_OWNERS = ("mailctl", "mailagent")


class TwoOwners(RuntimeError):
    """Both distributions are installed here, and each owns the package `mailagent`."""

    def __init__(self) -> None:
        super().__init__(
            "both mailctl and mailagent are installed in this environment, and each brings its own copy of the agent;"
            " uninstall one of them: pip uninstall mailagent"
        )


class LogStream(logging.StreamHandler[TextIO]):
    """Where the log goes: a file that `reopen` opens again after it was moved away, or stderr."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        super().__init__(self._open())
        formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def reopen(self) -> None:
        """Go on in a new file of the same name; the old one is kept when that cannot be opened."""
        if self._path is None:
            return
        try:
            stream = self._open()
        except OSError as exc:
            log.error("log file stays the old one: %s", exc)
            return
        old = self.setStream(stream)
        if old is not None:
            old.close()

    def _open(self) -> TextIO:
        if self._path is None:
            return sys.stderr
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("a", encoding="utf-8")


def run(path: Path) -> int:
    """Run the agent that the file at `path` describes until a signal or a failed spool ends it: its exit code.

    Raises:
        ConfigError: the file cannot be used.
        TwoOwners: the environment holds two agents.
        OSError, StorageError: what the agent needs (log, spool, listener, socket) is not to be had.
    """
    if all(map(_installed, _OWNERS)):
        raise TwoOwners
    config, origins = load_agent_with_origins(path)
    os.umask(UMASK)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    stream = _start_logging(config.log)
    _raise_file_limit()
    log.info(
        "agent starts host=%s version=%s compiled=%s config=%s pid=%d",
        *(config.host, __version__, "yes" if is_compiled() else "no", path, os.getpid()),
    )
    return uvloop.run(_serve(config, origins, path, stream))


async def _serve(config: AgentConfig, origins: Origins, path: Path, stream: LogStream) -> int:
    kind = PostfixHost if config.engine is EngineKind.POSTFIX else Engine
    engine = kind(config, origins, path=path)
    await engine.start()
    try:
        rpc = RpcServer(config.rpc, engine, config.state_dir / AUDIT_FILE)
        await rpc.start()
        engine.on_reload = lambda fresh: rpc.configure(fresh.rpc)
        witness = asyncio.create_task(Witness(engine.note, rpc.lookers).run(), name="witness")
        try:
            code = await _until_stopped(engine, rpc, stream)
        finally:
            witness.cancel()
            await asyncio.gather(witness, return_exceptions=True)
            await rpc.stop()
    finally:
        await engine.stop(engine.config.stop_grace_s)
    log.info("agent stopped host=%s", config.host)
    return code


async def _until_stopped(engine: Life, rpc: RpcServer, stream: LogStream) -> int:
    """Serve SIGHUP until a stop signal comes or the engine fails; from then on a second stop signal ends at once."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[int] = asyncio.Queue()
    for number in (*_STOP_SIGNALS, signal.SIGHUP):
        loop.add_signal_handler(number, events.put_nowait, number)
    engine.failed.add_done_callback(lambda _: events.put_nowait(_FAILED))
    log.info("agent runs pid=%d", os.getpid())
    while (event := await events.get()) == signal.SIGHUP:
        stream.reopen()
        rpc.reopen_audit()
        await _reload(engine)
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, _end_at_once, number)
    if event == _FAILED:
        log.critical("agent stops: %s", engine.failed.result())
        return 1
    log.info("agent stops signal=%s", signal.Signals(event).name)
    return 0


async def _reload(engine: Life) -> None:
    """Load the file again; the old configuration stays, and the log says why, when it cannot be used."""
    try:
        await engine.reload_config()
    except ApiError as exc:
        for line in exc.message.splitlines():
            log.error("reload refused: %s", line)


def _end_at_once(number: int) -> None:
    """Leave now. The spool needs no farewell: what had its final dot in flight is found in doubt at the next start."""
    log.warning("agent ends at once signal=%s", signal.Signals(number).name)
    logging.shutdown()
    os._exit(128 + number)


def _start_logging(config: Log) -> LogStream:
    stream = LogStream(config.file)
    logging.basicConfig(level=config.level, handlers=[stream])
    return stream


def _raise_file_limit() -> None:
    """Let the agent open as many files as it is allowed to: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
