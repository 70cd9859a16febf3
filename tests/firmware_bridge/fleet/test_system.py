"""The cart computer's system files: tools read them, settings hold, networks are blocked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.sinks.jsonl import read_frame_lines
from firmware_bridge.fleet.system.provision import Settings, apply, plan, render

ROOT = Path(__file__).parents[3]
RUNTIME, PRESENTER, EXPORTER = (
    "edge-difom.service",
    "edge-difom-presenter.service",
    "edge-difom-exporter.service",
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the files in it."""
    root = tmp_path_factory.mktemp("system")
    apply(root, plan(root, Settings(python="/bin/sh", rauc=True)))
    return root


def call(*command: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=env
    )


def settings_of(system: Path, unit: str) -> dict[str, list[str]]:
    """The unit's settings as systemd reads them: continued lines are joined, keys precede `=`."""
    text = (system / "etc/systemd/system" / unit).read_text().replace("\\\n", " ")
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


@pytest.mark.parametrize("unit", [RUNTIME, PRESENTER, EXPORTER])
def test_systemd_understands_each_unit(system: Path, unit: str) -> None:
    done = call("systemd-analyze", "verify", "--man=no", system / "etc/systemd/system" / unit)
    # The exporter's program is Debian's, and is not needed to run the tests.
    lines = [
        line
        for line in done.stderr.splitlines()
        if "prometheus-node-exporter is not executable" not in line
    ]
    assert not lines


@pytest.mark.parametrize("unit", [RUNTIME, PRESENTER, EXPORTER])
def test_systemd_finds_each_unit_locked_up(system: Path, unit: str) -> None:
    path = system / "etc/systemd/system" / unit
    done = call(
        "systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", path
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_systemd_would_tell_a_mistake(system: Path, tmp_path: Path) -> None:
    """The control of the two above."""
    text = (system / "etc/systemd/system" / RUNTIME).read_text()
    (tmp_path / RUNTIME).write_text(text.replace("WatchdogSec=2s", "WatchdogSek=2s"))
    assert "WatchdogSek" in call("systemd-analyze", "verify", "--man=no", tmp_path / RUNTIME).stderr
    (tmp_path / RUNTIME).write_text("[Service]\nExecStart=/bin/sh\n")
    assert call(
        "systemd-analyze", "security", "--offline=true", "--threshold=30", tmp_path / RUNTIME
    ).returncode


@pytest.mark.row(
    45,
    "the runtime's unit itself: a network of its own without an interface, and local sockets alone",
)
def test_the_runtime_has_no_network_and_no_dump(system: Path) -> None:
    unit = settings_of(system, RUNTIME)
    assert unit["PrivateNetwork"] == ["yes"]
    assert unit["IPAddressDeny"] == ["any"]
    assert "IPAddressAllow" not in unit
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["RestrictNamespaces"] == unit["NoNewPrivileges"] == ["yes"]
    # Pictures leave by no dump, no swap and no picture that is written either.
    assert unit["LimitCORE"] == unit["MemorySwapMax"] == ["0"]
    assert unit["WatchdogSignal"] == ["SIGKILL"]
    assert not re.search(r"--view|web|video:|jsonl:|--stills", unit["ExecStart"][0])
    presenter = settings_of(system, PRESENTER)
    assert presenter["PrivateNetwork"] == ["yes"]
    assert presenter["LimitCORE"] == presenter["MemorySwapMax"] == ["0"]


@pytest.mark.row(
    45, "the exporter's unit: what has a network sees programs and the metrics' folder"
)
def test_what_has_a_network_sees_the_metrics_alone(system: Path) -> None:
    unit = settings_of(system, EXPORTER)
    assert unit["TemporaryFileSystem"] == ["/:ro"]
    assert unit["BindReadOnlyPaths"] == ["/usr -/lib -/lib64 %t/edge-difom-metrics"]
    assert unit["SupplementaryGroups"] == ["edge-difom-metrics"]
    assert unit["DynamicUser"] == unit["PrivateDevices"] == ["yes"]
    words = unit["ExecStart"][0].split()
    assert "--collector.disable-defaults" in words
    folder = "%t/edge-difom-metrics"
    assert f"--collector.textfile.directory={folder}" in words
    written = settings_of(system, RUNTIME)["ExecStart"][0].split()
    assert written[written.index("--metrics") + 1].startswith(folder + "/")
    assert written[written.index("--metrics") + 1].endswith(".prom")


@pytest.mark.slow
@pytest.mark.row(
    45,
    "the runtime in an empty network namespace, as its unit makes one: it works, "
    "and no connection does",
)
def test_the_runtime_works_where_no_connection_does(tiny_bundle: Path, tmp_path: Path) -> None:
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    code = (
        "import os, socket\n"
        "assert os.listdir('/sys/class/net') is not None and [n for _, "
        "n in socket.if_nameindex()] == ['lo']\n"
        "for address in (('127.0.0.1', 9), ('192.0.2.1', 443)):\n"
        "    try:\n"
        "        socket.create_connection(address, timeout=2)\n"
        "    except OSError as error:\n"
        "        print(type(error).__name__, error.errno)\n"
    )
    done = call(*apart, sys.executable, "-c", code, env=env)
    assert done.stdout.split("\n")[:2] == ["OSError 101", "OSError 101"], done.stdout + done.stderr
    done = call(
        *(
            *apart,
            sys.executable,
            "-m",
            "edge_difom",
            "run",
            "--bundle",
            tiny_bundle,
            "--sink",
            f"jsonl:{tmp_path}/f.jsonl",
        ),
        *(
            "--source",
            "synthetic:?width=320&height=240&frames=5&live=0",
            "--metrics",
            tmp_path / "edge.prom",
        ),
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_frame_lines(tmp_path / "f.jsonl")) == 5
    assert "edge_difom_frames_total 5.0" in (tmp_path / "edge.prom").read_text()


@pytest.mark.row(
    24, "the runtime's unit: killed 2 s after its last sign of progress, and always started again"
)
def test_the_chain_of_watchdogs_has_each_link(system: Path) -> None:
    unit = settings_of(system, RUNTIME)
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["WatchdogSec"] == ["2s"]
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["TimeoutStopSec"] == ["3s"]
    assert settings_of(system, "../system.conf.d/50-edge-difom.conf")["RuntimeWatchdogSec"] == [
        "10s"
    ]


@pytest.mark.row(
    21, "the runtime's unit: a process that runs out of memory does not end the service"
)
def test_the_student_may_confine_itself_under_the_unit(system: Path) -> None:
    """systemd 252 has these calls in no group, so that its list refused them."""
    allowed = " ".join(settings_of(system, "edge-difom.service")["SystemCallFilter"]).split()
    assert {
        *("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"),
    } <= set(allowed)


def test_the_service_outlives_a_process_that_runs_out_of_memory(system: Path) -> None:
    assert settings_of(system, RUNTIME)["OOMPolicy"] == ["continue"]


def test_the_runtime_gets_its_devices_and_no_others(system: Path) -> None:
    unit = settings_of(system, RUNTIME)
    assert unit["DevicePolicy"] == ["closed"]
    allowed = [value.removesuffix(" rw") for value in unit["DeviceAllow"]]
    assert allowed == ["char-video4linux", "char-media", "char-drm", "char-ttyACM", "char-ttyUSB"]


def test_the_options_of_the_units_are_options_of_the_programs(system: Path) -> None:
    from edge.presenter.__main__ import command as presenter
    from edge_difom.cli.run import command

    for unit, parsed in ((RUNTIME, command), (PRESENTER, presenter)):
        line = settings_of(system, unit)["ExecStart"][0]
        name, first = {RUNTIME: ("runtime", 7), PRESENTER: ("presenter", 4)}[unit]
        for row in (system / f"etc/edge-difom/{name}.env").read_text().splitlines():
            key, equals, value = row.partition("=")
            if equals and not row.startswith("#"):
                line = line.replace(f"${{{key}}}", value or "''").replace(f"${key}", value)
        assert "$" not in line
        parsed.make_context(name, line.split()[first:])


def test_a_signal_does_not_end_the_runtime_while_python_starts(system: Path) -> None:
    """The unit's own prefix, with a program that signals itself in the place of an interpreter."""
    line = settings_of(system, RUNTIME)["ExecStart"][0].split()
    prefix = line[: line.index("-I") - 1]
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        program = ["/bin/sh", "-c", f"kill -{int(number)} $$; echo alive"]
        done = subprocess.run(
            [*prefix, *program], capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stdout) == (0, "alive\n")
        control = subprocess.run(program, capture_output=True, check=False, timeout=30)
        assert control.returncode == -number


def test_a_file_in_the_metrics_folder_can_be_read_by_its_group(system: Path) -> None:
    """Mode 0640 by the unit's mask, the group by the folder's set-group-ID bit."""
    assert settings_of(system, RUNTIME)["UMask"] == ["0027"]
    folders = (system / "etc/tmpfiles.d/edge-difom.conf").read_text()
    assert "d /run/edge-difom-metrics 2750 edge-difom edge-difom-metrics -" in folders.splitlines()
    assert (
        "g edge-difom-metrics - -"
        in (system / "etc/sysusers.d/edge-difom.conf").read_text().splitlines()
    )


def test_users_and_folders_are_understood(system: Path, tmp_path: Path) -> None:
    """By systemd's own tools, in a root of its own."""
    root = shutil.copytree(system, tmp_path / "root")
    assert call("systemd-sysusers", "--dry-run", f"--root={root}").returncode == 0
    if os.geteuid() == 0:
        assert call("systemd-sysusers", f"--root={root}").returncode == 0
        done = call("systemd-tmpfiles", "--create", f"--root={root}", "edge-difom.conf")
        assert done.returncode == 0, done.stderr
        metrics, state = root / "run/edge-difom-metrics", root / "var/lib/edge-difom"
        assert metrics.stat().st_mode & 0o7777 == 0o2750
        assert state.stat().st_mode & 0o7777 == 0o750
        assert metrics.stat().st_uid == state.stat().st_uid != 0
        assert metrics.stat().st_gid != state.stat().st_gid


RULE = re.compile(r'^(?:[A-Z]+(?:\{[\w.]+\})?(?:==|!=|\+=|:=|=)"[^"]*"(?:, |$))+$')


def test_the_rule_names_the_cart_s_devices_by_their_sockets() -> None:
    """Its grammar by udev(7); `udevadm verify` came with systemd 254."""
    settings = Settings(
        python="/bin/sh", cart="pci-0000:00:14.0-usb-0:3:1.0", camera="pci-0000:03:00.0"
    )
    text = render(settings)["etc/udev/rules.d/70-edge-difom.rules"].decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(RULE.match(line) for line in lines)
    tty, video = (line for line in lines if "SYMLINK" in line)
    assert 'ENV{ID_PATH}=="pci-0000:00:14.0-usb-0:3:1.0"' in tty
    assert 'SYMLINK+="ttyCART"' in tty
    assert 'ENV{ID_PATH}=="pci-0000:03:00.0"' in video
    assert 'ATTR{index}=="0"' in video
    assert "@" not in text


def test_udev_reads_the_rule_without_a_word(system: Path, tmp_path: Path) -> None:
    """udev 252 checks rules when it loads them; a broken one beside them is the control."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to lay a folder over /etc/udev/rules.d in a mount namespace")
    rules = tmp_path / "rules"
    shutil.copytree(system / "etc/udev/rules.d", rules)
    (rules / "99-broken.rules").write_text('SUBSYSTEM=="tty", NO_SUCH_KEY="x"\n')
    script = (
        'mkdir -p /etc/udev/rules.d && mount --bind "$1" /etc/udev/rules.d && '
        "udevadm test /sys/class/tty/tty0"
    )
    done = call("unshare", "--mount", "sh", "-c", script, "-", rules)
    assert "99-broken.rules" in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if "70-edge-difom" in line]
    assert all(line.startswith("Reading rules file:") for line in lines)


def test_rauc_reads_its_configuration_and_packs_by_the_manifest(
    system: Path, tmp_path: Path
) -> None:
    content = tmp_path / "content"
    content.mkdir()
    (content / "rootfs.ext4").write_bytes(os.urandom(8192))
    manifest = (ROOT / "firmware_bridge/fleet/system/rauc/manifest.raucm").read_text()
    (content / "manifest.raucm").write_text(manifest.replace("@VERSION@", "1.0"))
    key, certificate, bundle = (
        tmp_path / "key.pem",
        tmp_path / "certificate.pem",
        tmp_path / "system.raucb",
    )
    subject = ("-subj", "/CN=test", "-days", "2", "-keyout", key, "-out", certificate)
    made_key = call("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    assert made_key.returncode == 0, made_key.stderr
    packed = call("rauc", "bundle", f"--cert={certificate}", f"--key={key}", content, bundle)
    assert packed.returncode == 0, packed.stderr
    configuration = system / "etc/rauc/system.conf"
    done = call("rauc", f"--conf={configuration}", f"--keyring={certificate}", "info", bundle)
    assert done.returncode == 0, done.stderr
    assert "Compatible: \t'edge-difom-cart'" in done.stdout
    broken = tmp_path / "broken.conf"
    broken.write_text(configuration.read_text().replace("bootloader=grub", "bootloader=grab"))
    assert (
        "grab"
        in call("rauc", f"--conf={broken}", f"--keyring={certificate}", "info", bundle).stderr
    )


def test_the_files_come_with_the_wheel() -> None:
    """Each file of the folder is written somewhere, or is the script or the manifest."""
    folder = ROOT / "firmware_bridge/fleet/system"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    data = {name for name in there if not name.endswith((".py", ".pyc"))} - {
        "install.sh",
        "rauc/manifest.raucm",
    }
    settings = Settings(python="/bin/sh", rauc=True)
    assert len(data) == len(render(settings))
    assert json.dumps(sorted(map(str, render(settings)))).count("etc/") == len(data)
