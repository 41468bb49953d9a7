"""The Ansible role, run by Ansible itself on a copy of this machine's /etc: nothing here is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wgautomesh.config import load

from .conftest import REPOSITORY, needs

ANSIBLE = REPOSITORY / "examples" / "ansible"
PLAY = (
    "ansible-playbook -i inventory.yml -c local --tags configure --limit hub.example.org"
    " -e vault_wgautomesh_secret=not-to-be-told site.yml"
)
SCRIPT = """
cd "$1"
mkdir copy && mount -t tmpfs none copy && cd copy
mkdir -p etc bin
for pair in etc:/etc bin:/usr/local/bin; do
    mkdir work-${pair%%:*}
    mount -t overlay none -o lowerdir=${pair#*:},upperdir=${pair%%:*},workdir=work-${pair%%:*} ${pair#*:}
done
ln -s "$2" /usr/local/bin/wgautomesh
cp "$3"/../systemd/wgautomesh@.service /etc/systemd/system
cd "$3"
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def played(folder: Path, *steps: str) -> str:
    """What the steps printed, of which the first that fails is the last."""
    needs("ansible-playbook", "ansible-core")
    program = Path(sys.executable).with_name("wgautomesh")
    script = "\n".join((SCRIPT, *steps))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", str(folder), str(program), str(ANSIBLE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "SYSTEMD_OFFLINE": "1", "ANSIBLE_NOCOLOR": "1", "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_role_ships_the_secret_and_the_peers_and_then_changes_nothing(tmp_path: Path) -> None:
    out = played(
        tmp_path,
        PLAY,
        f"cp -a /etc/wgautomesh {tmp_path}",
        PLAY,
    )
    first, again = (line for line in out.splitlines() if line.startswith("hub.example.org "))
    assert "changed=0" not in first and "changed=0" in again
    assert "not-to-be-told" not in out
    secret = tmp_path / "wgautomesh" / "home.secret"
    assert secret.read_text() == "not-to-be-told\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    config, mistakes = load(tmp_path / "wgautomesh" / "home.toml", running=False)
    assert config and not mistakes
    assert {member.name for member in config.members} == {
        f"{each}.example.org" for each in ("hub", "attic", "cellar")
    }


def test_a_file_with_a_mistake_never_takes_the_old_ones_place(tmp_path: Path) -> None:
    out = played(
        tmp_path,
        PLAY,
        f"cp /etc/wgautomesh/home.toml {tmp_path}/before",
        f"! {PLAY} -e wgautomesh_gossip_port=70000",
        f"cmp {tmp_path}/before /etc/wgautomesh/home.toml",
    )
    assert "gossip_port" in out.rpartition("TASK [")[2]
