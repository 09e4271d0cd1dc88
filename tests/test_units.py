"""Units of systemd that the documents show: systemd can read them, and they say what the agent is built for."""

import re
import subprocess
from pathlib import Path

import pytest

from mailagent.api.methods import DEFAULT_SOCKET
from mailagent.config.structs import AgentConfig

ROOT = Path(__file__).parents[1]
AGENT = ROOT / "docs/mailagent.service"
FIRST_LINE = re.compile(r"# /etc/systemd/system/([\w@.-]+)")


def units() -> dict[str, str]:
    """All that stand in documents, by file name; several may stand in one block."""
    found = {AGENT.name: AGENT.read_text(encoding="utf-8")}
    for page in sorted(ROOT.glob("docs/*.md")):
        for block in re.findall(r"```ini\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            parts = FIRST_LINE.split(block)
            found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


UNITS = units()


@pytest.mark.needs("systemd-analyze")
def test_systemd_can_read_every_unit(tmp_path: Path) -> None:
    assert len(UNITS) >= 7
    for name, text in UNITS.items():
        here = re.sub(r"/usr/bin/mail(?:ctl|agent)\b", "/bin/true", text)
        (tmp_path / name).write_text(re.sub(r"^OnFailure=.*\n", "", here, flags=re.MULTILINE), encoding="utf-8")
    for name in UNITS:
        ran = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (name, ran.returncode, ran.stderr) == (name, 0, "")


def test_the_agent_s_unit_has_its_directories_and_waits_for_final_dots() -> None:
    text = AGENT.read_text(encoding="utf-8")
    said = dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE))
    defaults = {field: getattr(AgentConfig(host="mx1"), field) for field in ("state_dir", "stop_grace_s")}  # type: ignore[arg-type]
    assert f"/var/lib/{said['StateDirectory']}" == str(defaults["state_dir"])
    assert f"/run/{said['RuntimeDirectory']}" == str(Path(DEFAULT_SOCKET).parent)
    assert int(said["TimeoutStopSec"]) > defaults["stop_grace_s"]
