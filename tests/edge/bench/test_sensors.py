"""Sensors of a fake `/sys`: a PC with RAPL, a Jetson with an INA3221, and an empty machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from edge.bench.measure.sensors import (
    Reading,
    Sensors,
    board_power,
    energy_between,
    machine_settings,
)

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


PC = {
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
    "sys/class/thermal/thermal_zone0/temp": "71500",
    "sys/class/hwmon/hwmon0/name": "nvme",
    "sys/class/hwmon/hwmon0/temp1_input": "40000",
    "sys/class/hwmon/hwmon0/temp1_label": "Composite",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "262143000000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "5",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "3000000",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq": "2000000",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance",
    "sys/devices/system/cpu/cpufreq/policy1/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "3",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "1",
    "proc/self/statm": "9999 256 1 1 0 1 0",
}

JETSON = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48000",
    "sys/class/thermal/thermal_zone1/type": "tj-thermal",
    "sys/class/thermal/thermal_zone1/temp": "50500",
    "sys/class/hwmon/hwmon3/name": "ina3221",
    "sys/class/hwmon/hwmon3/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon3/in1_input": "5000",
    "sys/class/hwmon/hwmon3/curr1_input": "2400",
    "sys/class/hwmon/hwmon3/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon3/in2_input": "5000",
    "sys/class/hwmon/hwmon3/curr2_input": "800",
    "sys/class/hwmon/hwmon3/in7_input": "17",
    "sys/class/hwmon/hwmon1/name": "soctherm_oc",
    "sys/class/hwmon/hwmon1/oc1_event_cnt": "4",
    "var/lib/nvpmodel/status": "pmode:0002",
}


def test_a_pc_tells_heat_frequency_throttling_and_energy(tmp_path: Path) -> None:
    sensors = Sensors(put(tmp_path, PC))
    reading = sensors.read()
    assert reading.temperature_c == {"x86_pkg_temp": 71.5, "nvme/Composite": 40.0}
    assert reading.hottest_c == 71.5
    assert reading.frequency_mhz == 2500
    assert reading.throttled == 5
    assert reading.energy_uj == {"package-0": 262143000000, "core": 5}
    assert sensors.energy_range["package-0"] == 262143328850
    assert reading.rss_mb == 256 * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert sensors.missing == []
    assert machine_settings(tmp_path) == {"no_turbo": "1", "governor": "performance/powersave"}


def test_a_counter_of_energy_wraps(tmp_path: Path) -> None:
    sensors = Sensors(put(tmp_path, PC))
    before = sensors.read()
    put(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "1000000"})
    spent = energy_between(before, sensors.read(), sensors.energy_range)
    assert spent["package-0"] == pytest.approx((262143328850 - 262143000000 + 1000000) / 1e6)
    assert spent["core"] == 0


def test_a_jetson_tells_its_rails(tmp_path: Path) -> None:
    sensors = Sensors(put(tmp_path, JETSON))
    reading = sensors.read()
    assert reading.power_w == {"ina3221/VDD_IN": 12.0, "ina3221/VDD_CPU_GPU_CV": 4.0}
    # The supply feeds the rails behind it: they are not added to it.
    assert board_power(reading) == ("ina3221/VDD_IN", 12.0)
    assert reading.hottest_c == 50.5
    assert reading.throttled == 4
    assert sensors.missing == ["frequency"]
    assert machine_settings(tmp_path) == {"nvpmodel": "pmode:0002"}


def test_meters_without_a_supply_are_added(tmp_path: Path) -> None:
    assert board_power(Reading(power_w={"a/x": 1.0, "b/y": 2.5})) == ("a/x + b/y", 3.5)
    assert board_power(Reading()) is None


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path)
    assert sensors.missing == ["temperature", "frequency", "throttling", "power or energy"]
    assert sensors.read() == Reading()
    assert machine_settings(tmp_path) == {}


def test_a_sensor_that_fails_in_the_middle_is_left_out(tmp_path: Path) -> None:
    sensors = Sensors(put(tmp_path, PC))
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("")
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    reading = sensors.read()
    assert reading.temperature_c == {"nvme/Composite": 40.0}
    assert reading.energy_uj == {"core": 5}


def test_energy_that_only_root_may_read_is_no_meter(tmp_path: Path) -> None:
    put(tmp_path, PC)
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        path = tmp_path / f"sys/class/powercap/{name}/energy_uj"
        path.unlink()
        path.mkdir()  # unreadable, also for root
    sensors = Sensors(tmp_path)
    assert sensors.read().energy_uj == {}
    assert sensors.missing == ["power or energy"]


def test_this_machine_can_be_read() -> None:
    reading = Sensors().read()
    assert reading.rss_mb is not None
    assert 1 < reading.rss_mb < 100_000
