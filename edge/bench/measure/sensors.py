"""Read temperature, frequency, throttling, power and memory from the kernel's files.

The sensor files are located once; each reading reads these files. `missing` names the kinds of
sensors that the machine does not have. Sources: Linux `Documentation/driver-api/thermal`,
`Documentation/hwmon/sysfs-interface`, `Documentation/power/powercap`,
`Documentation/admin-guide/pm/cpufreq`; the INA3221 of Jetson boards is a hwmon device.
"""

from __future__ import annotations

import os
import re
import statistics
from pathlib import Path

import msgspec

from edge.util.host import read_text

_RAIL = re.compile(r"^(VDD_IN|.*_IN|POM_5V_IN|.*TOTAL.*)$")
"""Names of rails that supply the whole board."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Sensor values at one moment.

    Attributes:
        temperature_c: Sensor -> degrees Celsius.
        frequency_mhz: Mean frequency of the processors.
        throttled: Number of times that the processors or the board were throttled since boot.
        power_w: Meter -> watts.
        energy_uj: Meter -> microjoules since an arbitrary moment; wraps at `Sensors.energy_range`.
        rss_mb: Resident memory of this process, MiB.
    """

    temperature_c: dict[str, float] = {}
    frequency_mhz: float | None = None
    throttled: int | None = None
    power_w: dict[str, float] = {}
    energy_uj: dict[str, int] = {}
    rss_mb: float | None = None

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature of all sensors."""
        return max(self.temperature_c.values(), default=None)


class Sensors:
    """The sensors of this machine.

    Args:
        root: Folder that contains `sys` and `proc`.

    Attributes:
        missing: Kinds of sensors that the machine does not have.
        energy_range: Meter -> value at which its energy wraps.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._temperatures = _named(root, "sys/class/thermal/thermal_zone*", "temp", "type")
        self._temperatures |= _hwmon(root, "temp", "input")
        # A power meter reports microwatts; an INA3221 reports volts and amperes.
        self._powers = _hwmon(root, "power", "input") or _hwmon(root, "power", "average")
        self._currents = _rails(root)
        self._energies = _named(root, "sys/class/powercap/intel-rapl:[0-9]*", "energy_uj", "name")
        self._energies = {
            name: path for name, path in self._energies.items() if _number(path) is not None
        }
        self.energy_range = {
            name: int(_number(path.with_name("max_energy_range_uj")) or 2**32)
            for name, path in self._energies.items()
        }
        self._frequencies = sorted(
            root.glob("sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq")
        )
        self._throttles = [
            *sorted(root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")),
            *sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")),
        ]
        kinds = {
            "temperature": self._temperatures,
            "frequency": self._frequencies,
            "throttling": self._throttles,
            "power or energy": [*self._powers, *self._currents, *self._energies],
        }
        self.missing = [kind for kind, present in kinds.items() if not present]

    def read(self) -> Reading:
        """Read all sensors; leave out files that cannot be read this time."""
        frequencies = [value for path in self._frequencies if (value := _number(path)) is not None]
        throttles = [value for path in self._throttles if (value := _number(path)) is not None]
        pages = (read_text(self._root / "proc/self/statm") or "").split()
        power = {name: value / 1e6 for name, value in _numbers(self._powers).items()}
        for name, (volt, ampere) in self._currents.items():
            if (u := _number(volt)) is not None and (i := _number(ampere)) is not None:
                power[name] = u * i / 1e6
        return Reading(
            temperature_c={
                name: value / 1000 for name, value in _numbers(self._temperatures).items()
            },
            frequency_mhz=statistics.fmean(frequencies) / 1000 if frequencies else None,
            throttled=round(sum(throttles)) if throttles else None,
            power_w=power,
            energy_uj={name: round(value) for name, value in _numbers(self._energies).items()},
            rss_mb=int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if len(pages) > 1 else None,
        )


def machine_settings(root: Path = Path("/")) -> dict[str, str]:
    """Return the machine's settings: governor, boost, power mode, swap; only readable ones.

    Args:
        root: Folder that contains `sys`, `proc` and `var`.
    """
    cpu = root / "sys/devices/system/cpu"
    governors = {
        (read_text(path) or "").strip() for path in cpu.glob("cpufreq/policy*/scaling_governor")
    }
    files = {
        "boost": cpu / "cpufreq/boost",
        "no_turbo": cpu / "intel_pstate/no_turbo",
        "energy_performance_preference": cpu / "cpufreq/policy0/energy_performance_preference",
        "smt": cpu / "smt/control",
        "platform_profile": root / "sys/firmware/acpi/platform_profile",
        "nvpmodel": root / "var/lib/nvpmodel/status",
        "swappiness": root / "proc/sys/vm/swappiness",
    }
    settings = {name: (read_text(path) or "").strip() for name, path in files.items()}
    limits = sorted(
        {(read_text(path) or "").strip() for path in cpu.glob("cpufreq/policy*/scaling_max_freq")}
    )
    settings["governor"] = "/".join(sorted(governors - {""}))
    settings["max_frequency_khz"] = "/".join(value for value in limits if value)
    return {name: value for name, value in settings.items() if value}


def board_power(reading: Reading) -> tuple[str, float] | None:
    """Return name and watts of the board's meter: a supply rail, else the sum of all meters."""
    rails = {
        name: value for name, value in reading.power_w.items() if _RAIL.match(name.split("/")[-1])
    }
    if rails:
        name = max(rails, key=lambda rail: rails[rail])
        return name, rails[name]
    if reading.power_w:
        return " + ".join(reading.power_w), sum(reading.power_w.values())
    return None


def energy_between(first: Reading, last: Reading, wraps: dict[str, int]) -> dict[str, float]:
    """Return the joules that each meter counted between two readings, at most one wrap apart."""
    return {
        name: ((last.energy_uj[name] - begin) % wraps.get(name, 2**32)) / 1e6
        for name, begin in first.energy_uj.items()
        if name in last.energy_uj
    }


def _named(root: Path, pattern: str, value: str, label: str) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for folder in sorted(root.glob(pattern)):
        if (folder / value).exists():
            name = (read_text(folder / label) or folder.name).strip()
            paths[name if name not in paths else f"{name} {folder.name}"] = folder / value
    return paths


def _hwmon(root: Path, kind: str, value: str) -> dict[str, Path]:
    paths = {}
    for path in sorted(root.glob(f"sys/class/hwmon/hwmon*/{kind}*_{value}")):
        chip = (read_text(path.with_name("name")) or path.parent.name).strip()
        number = path.name.removesuffix(f"_{value}")
        label = (read_text(path.with_name(f"{number}_label")) or number).strip()
        paths[f"{chip}/{label}"] = path
    return paths


def _rails(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return rail -> files of its millivolts and milliamperes."""
    rails = {}
    for volt in sorted(root.glob("sys/class/hwmon/hwmon*/in*_input")):
        ampere = volt.with_name(volt.name.replace("in", "curr", 1))
        label = read_text(volt.with_name(volt.name.replace("_input", "_label")))
        if ampere.exists() and label:
            rails[f"{(read_text(volt.with_name('name')) or '').strip()}/{label.strip()}"] = (
                volt,
                ampere,
            )
    return rails


def _numbers(paths: dict[str, Path]) -> dict[str, float]:
    return {name: value for name, path in paths.items() if (value := _number(path)) is not None}


def _number(path: Path) -> float | None:
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None
