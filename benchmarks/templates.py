"""One Markdown template for each kind of record in benchmarks/results, all on decoded JSON."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

Content = dict[str, Any]

RECIPES = {
    "none": "baseline",
    "difom": "`difom`, the ImageNet EfficientNet-Lite2 as teacher",
    "shuffled": "`difom` with another image's map (control)",
    "phi-s": "`difom`, targets standardized by PHI-S",
    "distil-first": "`difom`, half of the epochs the teacher alone, then the task",
    "paper": "`paper`, which also has another task loss and freezes the encoder",
    "task-maps": "`difom` on the maps of the task teacher",
    "cwd": "logits of the task teachers alone (CWD, weight 5)",
    "self-training": "pseudo-labeled frames added to the training data",
    "no-imagenet": "without ImageNet weights",
    "full-frame": "without the crop to the field of view",
    "one-learning-rate": "without a smaller learning rate of the encoder",
    "no-average": "without the average of the weights",
    "no-polyp-free-views": "without views that show no polyp",
    "one-scale": "without several input sizes",
    "no-removed-polyps": "without removed polyps",
    "no-shifted-views": "without views of other hospitals",
    "standard-augmentation": "without views of other hospitals",
    "even-pixels": "`bce-iou`: every pixel weighted alike",
    "cross-entropy": "`bce`: cross-entropy alone",
    "edge-s": "`edge-s`",
    "emcad": "decoder `emcad` (EMCAD)",
    "pld": "decoder `pld` (SSFormer)",
    "rpca": "decoder `rpca` (RPCANet++)",
    "dynamic-head": "a dynamic head (LDNet)",
    "background": "supervision of the background (PraNet-V2)",
    "pranet": "`pranet`",
    "pranet-background": "`pranet` with supervision of the background",
    "pranet-v2-softmax": "`pranet-v2` with `softmax`: outputs summed, attention 1 everywhere",
    "pranet-v2": "`pranet-v2` with attention",
    "masks": "masks of one hospital",
    "boxes": "and boxes of another (BoxPolyp)",
    "full-masks": "and masks of the other, the ceiling",
    "pooled-attention": "attention to pooled tokens (LDNet)",
    "ldnet": "both parts of LDNet",
    "detection": "a detection head beside the mask (ECC-PolypDet)",
    "detection-no-contrast": "the same without contrast of boxes",
    "detection-hard-frames": "the same with hard frames weighted",
    "taught": "taught by a student with a selective scan",
    "taught-shuffled": "the same maps of other images, the control",
    "uncertainty": "a confidence learned by hints (ASPS)",
    "edge-s-random": "`edge-s` from random weights",
    "pld-random": "decoder `pld`, from random weights",
    "ssformer-b0": "`ssformer-b0`",
    "all": "the last stage of the shipped `edge-s`",
    "no-clean-frames": "without clean frames",
    "no-loss-of-their-own": "clean frames as empty masks of the task loss",
    "no-pasted-polyps": "without pasted polyps",
    "no-pseudo-labels": "without frames without masks",
    "no-balance": "without balanced hospitals",
}
"""Maps each recipe of a study to its difference from the baseline."""


def study(content: Content) -> str:
    """Paired trainings: each recipe compared with the study's baseline."""
    rows = [[_recipe(row), f"{np.mean(row['dice']):.3f}", *_paired(row)] for row in content["rows"]]
    head = ["recipe", "Dice", "mean paired difference", "95 % interval", "verdict"]
    parts = [table(head, rows)]
    further = [
        [_recipe(row), name, f"{np.mean(figure['values']):.3f}", *_paired(figure)]
        for row in content["rows"]
        for name, figure in row.get("figures", {}).items()
    ]
    if further:
        parts.append(table([head[0], "figure", "mean", *head[2:]], further))
    seconds = content["seconds_per_run"].values()
    shared = ", ".join(f"`{key}={_plain(value)}`" for key, value in content["shared"].items())
    left_out = content.get("left_out", [])
    unseen = f"Not seen by any run: {', '.join(left_out)}. " if left_out else ""
    if recovered := content.get("recovered"):
        shares = ", ".join(f"{name} {share:.2f}" for name, share in recovered.items())
        parts.append(f"Share of the last row's gain that the second row reaches: {shares}.")
    parts.append(
        f"Seeds: {len(content['seeds'])}. "
        f"A run took {min(seconds) / 60:.1f} to {max(seconds) / 60:.1f} minutes. {unseen}Shared "
        f"settings: {shared}."
    )
    return "\n\n".join(parts)


def _recipe(row: Content) -> str:
    name: str = row["recipe"]
    return RECIPES.get(name, f"`{name}`")


def _paired(figure: Content) -> list[str]:
    """Difference, interval and verdict of a figure beside the baseline's."""
    difference, ci = figure["difference"], figure["difference_ci95"]
    return [
        "" if difference is None else f"{difference:+.3f}",
        "" if ci is None else f"{ci[0]:+.3f} to {ci[1]:+.3f}",
        figure["verdict"],
    ]


def soak(content: Content) -> str:
    """Half an hour of faults: every check with its figures."""
    checks = [
        f"* **{'passed' if check['passed'] else 'FAILED'}**, {check['name']}: {check['what']}. "
        f"{_figures(check['figures'])}."
        for check in content["checks"]
    ]
    injected = ", ".join(f"{name} {count}" for name, count in content["injected"].items())
    verdict = "Every check passed." if content["passed"] else "Not every check passed."
    facts = (
        f"{verdict} {content['faults']} picture faults in {content['seconds'] / 60:.1f} minutes, "
        f"bundle `{content['protocol']['bundle']}`, {content['protocol']['fps']:g} frames per "
        f"second. Also injected: {injected}."
    )
    return "\n".join([facts, "", *(fill(line, 100, subsequent_indent="  ") for line in checks)])


def chaos(content: Content) -> str:
    """A device that was harmed in every way: every check with its figures."""
    checks = [
        f"* **{'passed' if check['passed'] else 'FAILED'}**, {check['name']}: {check['what']}. "
        f"{_figures(check['figures'])}."
        for check in content["checks"]
    ]
    injected = ", ".join(f"{name} {count}" for name, count in content["injected"].items())
    verdict = "Every check passed." if content["passed"] else "Not every check passed."
    facts = (
        f"{verdict} {content['seconds'] / 60:.1f} minutes, {content['starts']} starts, seed "
        f"{content['seed']}. Done to it: {injected}. The machine's load was {content['load']:g} at "
        "the end, so that nothing is said of times."
    )
    return "\n".join([facts, "", *(fill(line, 100, subsequent_indent="  ") for line in checks)])


def matrix(content: Content) -> str:
    """Bundles on one machine, and whether each is on the Pareto front of Dice and CPU time."""
    head = [
        "bundle",
        "engine",
        "Dice",
        "95 % interval",
        "CPU ms a frame",
        "p50 ms",
        "p99 ms",
        "MiB",
        "front",
    ]
    rows = [
        [
            f"`{row['bundle']}`",
            f"{row['engine']} {row['precision']}, {row['threads']} threads",
            f"{row['dice']:.3f}",
            span(row["dice_ci95"]),
            f"{row['cpu_ms']:.1f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['peak_rss_mb']:.0f}",
            "yes" if row["front"] else "",
        ]
        for row in sorted(content["rows"], key=lambda row: row["cpu_ms"])
    ]
    failed = "".join(
        f"\n\nNot measured: `{name}` ({'; '.join(map(str.strip, reason.split('/')))})."
        for name, reason in content["failed"].items()
    )
    return table(head, rows) + failed


def quantization(contents: Sequence[tuple[str, Content]]) -> str:
    """Reports of `edge-difom qat`, one row each: the cost of every step of quantization."""
    steps = ("f32", "ptq", "qat", "openvino int8", "tflite int8")
    head = ["run", "FP32", "calibrated", "fine-tuned", "OpenVINO INT8", "LiteRT INT8"]
    rows = []
    details = []
    for name, content in contents:
        rows_by_step = {row["step"]: row for row in content["accuracy"]}
        cells = [
            f"{rows_by_step[step]['dice']:.3f} ({span(rows_by_step[step]['dice_ci95'])})"
            for step in steps
        ]
        rows.append([f"`{name}`", *cells])
        last = rows_by_step["openvino int8"]
        breaches = content["gate"]["breaches"]
        engine = next(row for row in content["engines"] if row["runtime"] == "openvino")
        details.append(
            [
                f"`{name}`",
                f"`{content['student']}`",
                f"{content['best_epoch']} of {content['epochs']}",
                content["distillation"] or "off",
                f"{rows_by_step['f32']['small_found']} and {last['small_found']} "
                f"of {last['small']}",
                f"{engine['bytes'] / 1e6:.2f}",
                "; ".join(breaches) or "passed",
            ]
        )
    more = [
        "run",
        "student",
        "best epoch",
        "distillation",
        "small polyps found, FP32 and INT8",
        "MB in OpenVINO",
        "gate",
    ]
    return f"{table(head, rows)}\n\n{table(more, details)}"


def evaluation(content: Content) -> str:
    """A report of `edge-difom evaluate --shifts --clean`: Dice under each change, false alarms."""
    shifts = content["shifts"]["rows"]
    engines = list(shifts[0]["engines"])
    head = ["change", "strength", *(f"{name}: Dice (change)" for name in engines)]
    rows = []
    for row in shifts:
        cells = [
            f"{figures['dice']:.3f} ({figures['change']:+.3f})"
            for figures in (row["engines"][name] for name in engines)
        ]
        rows.append([row["shift"], f"{row['strength']:g} ({row['means']})", *cells])
    flagged = [
        f"{figures['flagged']} of {figures['n']} ({name}, {100 * figures['ci95'][0]:.0f} to "
        f"{100 * figures['ci95'][1]:.0f} %)"
        for name, figures in content["clean"].items()
    ]
    sizes = [
        f"{name} {figures['dice']:.3f} (n = {figures['n']})"
        for name, figures in content["by_size"].items()
    ]
    a = content["protocol_a"]
    facts = (
        f"Dice {content['dice']:.3f} ({span(content['dice_ci95'])}), IoU {content['iou']:.3f}, "
        f"n = {content['n']}. By polyp size: {', '.join(sizes)}. Protocol A: mean "
        f"Dice {a['mean_dice']:.3f}, max Dice {a['max_dice']:.3f}, weighted "
        f"F {a['weighted_f']:.3f}, S-measure {a['s_measure']:.3f}, MAE {a['mae']:.3f}. Clean "
        f"frames flagged: {', '.join(flagged)}."
    )
    return f"{facts}\n\n{table(head, rows)}"


def latency(content: Content) -> str:
    """A report of `edge-difom bench run`: percentiles of each load."""
    names = ("p50", "p90", "p99", "p99.9")
    rows = []
    for load in content["loads"]:
        pace = "highest rate" if load["load"] == "max" else f"{load['load']} per second"
        cells = [f"{load['latency_ms'][name]:.2f}" for name in names]
        cpu = f"{load['cpu_ms_per_frame']:.1f}"
        rows.append(
            [pace, load["samples"], load["dropped"], *cells, cpu, f"{load['retention']:.3f}"]
        )
    head = [
        "frames arrive at",
        "frames",
        "overwritten",
        *(f"{name} ms" for name in names),
        "CPU ms a frame",
        "retention",
    ]
    alone = content["inference_only_ms"]
    height, width = content["frame_size"]
    facts = (
        f"`{content['bundle']}` "
        f"in {content['engine']} {content['precision']}, {content['threads']} threads, frames "
        f"of {width}x{height}, guard {verdict(content)}. Inference alone: p50 {alone['p50']:.2f} "
        f"ms. Peak memory: {content['peak_rss_mb']:.0f} MiB."
    )
    share = content.get("share_of_peak")
    if share is not None:
        facts += (
            f" Inference runs at {100 * share:.0f} % of the engine's INT8 peak on this machine."
        )
    return f"{facts}\n\n{table(head, rows)}"


def peers(content: Content) -> str:
    """This project and others on the same student, measured in turn."""
    head = [
        "peer",
        "what is timed",
        "median ms",
        "over the first",
        "CPU ms",
        "over the first",
        "Dice",
    ]
    rows = [
        [
            row["name"],
            row["what"],
            f"{np.median(row['wall_ms']):.3g}",
            f"{row['wall_ratio']:.2f} ({row['wall_ratio_ci95'][0]:.2f} "
            f"to {row['wall_ratio_ci95'][1]:.2f})",
            f"{np.median(row['cpu_ms']):.3g}",
            f"{row['cpu_ratio']:.2f}",
            "" if row["dice"] is None else f"{row['dice']:.3f}",
        ]
        for row in content["rows"]
    ]
    facts = f"Guard {verdict(content)}, {content['images']} frames, {content['threads']} threads."
    return f"{facts}\n\n{table(head, rows)}"


def smoothing(content: Content) -> str:
    """Delay added and false alarms avoided by temporal smoothing, on a simulated detector."""
    head = [
        "setting",
        "delay ms at 30 fps",
        "at 60 fps",
        "polyps shown",
        "frames shown",
        "first shown after ms",
        "false per minute",
        "of these over 100 ms",
        "over 500 ms",
    ]
    rows = [
        [
            row["setting"],
            *(f"{value:.0f}" for value in row["delay_ms"]),
            f"{row['polyps']:.3f}",
            f"{row['frames']:.3f}",
            _plain(row["first_ms"]),
            *(f"{row['false_per_minute'][key]:.2f}" for key in ("0", "100", "500")),
        ]
        for row in content["rows"]
    ]
    facts = (
        f"{content['polyps']} simulated polyps in {content['minutes']:.1f} minutes of phantom "
        f"clips; the detector's mistakes are simulated: `{content['detector']['made up']}`."
    )
    return f"{facts}\n\n{table(head, rows)}"


def clips(content: Content) -> str:
    """Polyps shown and hidden by temporal smoothing, for a student or a simulated detector."""
    head = [
        "setting",
        "delay ms at 30 fps",
        "at 60 fps",
        "polyps found",
        "first shown after s",
        "frames hit",
        "false frames",
        "false events a minute, .1 s",
        ".5 s",
        "flickers a minute",
    ]
    rows = []
    for row in content["rows"]:
        events = {rate["least_s"]: rate["per_minute"] for rate in row["event_rates"]}
        rows.append(
            [
                row["setting"],
                *(f"{value:.0f}" for value in row["delay_ms"]),
                f"{row['polyps_found']} of {content['polyps']}",
                _plain(row["first_s_median"]),
                _plain(row["share_hit"]),
                _plain(row["share_false"]),
                f"{events[0.1]:.1f}",
                f"{events[0.5]:.1f}",
                f"{row['flickers_per_minute']:.1f}",
            ]
        )
    facts = f"{len(content['clips'])} clips, {content['minutes']:.2f} judged minutes."
    return f"{facts}\n\n{table(head, rows)}"


def detection(content: Content) -> str:
    """Polyps found and clean frames flagged by several bundles on the same frames."""
    rows = content["detection_rows"]
    sets = [group["name"] for group in rows[0]["sets"] if group["dice"] is not None]
    shares = list(rows[0]["flagged_at"])
    head = ["", *(f"Dice {name}" for name in sets), "polyp frames found", "clean frames flagged"]
    head += [f"flagged at {float(share):.0%} of the polyps" for share in shares]
    lines = []
    for row in rows:
        dice = {group["name"]: group["dice"] for group in row["sets"]}
        interval = row["flagged_ci95"]
        clustered = f" ({span(interval)})" if interval else ""
        at = [row["flagged_at"][share] for share in shares]
        lines.append(
            [
                row["name"],
                *(f"{dice[name]:.3f}" for name in sets),
                f"{row['images_found']} of {row['images']}",
                f"{row['flagged']} of {row['clean']}{clustered}",
                *("not reached" if value is None else f"{value:.3f}" for value in at),
            ]
        )
    cells = [
        [
            row["name"],
            *(f"{flagged} of {clean}" for flagged, clean in row["sequences"].values()),
        ]
        for row in rows
    ]
    sequences = table(["clean frames flagged", *rows[0]["sequences"]], cells)
    return f"{table(head, lines)}\n\n{sequences}"


def front(content: Content) -> str:
    """Time of variants of the edge students in INT8, and how much of the dense peak they reach."""
    head = ["student", "input", "M parameters", "MMAC", "ms", "share of the dense peak"]
    head += ["time over its base", "95 % interval"]
    rows = [
        [
            f"`{row['network']}`" if row["parameters"] else "stack of dense convolutions",
            row["size"],
            f"{row['parameters'] / 1e6:.2f}" if row["parameters"] else "",
            f"{row['macs'] / 1e6:.0f}",
            f"{row['ms']:.2f}",
            f"{row['share_of_peak']:.0%}",
            f"{row['ratio']:.3f}" if row["network"] != row["base"] else "",
            span(row["ratio_ci95"]) if row["network"] != row["base"] else "",
        ]
        for row in content["front_rows"]
    ]
    verdict = "`VALID`" if content["valid"] else f"`INVALID`: {content['reason']}"
    facts = (
        f"Untrained students in INT8 in OpenVINO, {content['engine']['threads']} threads, "
        f"{content['rounds']} rounds in turn, guard {verdict}; {content['check']}."
    )
    return f"{facts}\n\n{table(head, rows)}"


def gpu(content: Content) -> str:
    """The spectral loss on a GPU."""
    head = ["maps", "published ms", "ours ms", "ratio", "95 % of rounds", "share of copy speed"]
    rows = [
        [
            row["what"],
            row["published_ms"],
            row["ours_ms"],
            row["ratio"],
            span(row["ratio_quantiles"]),
            row["share_of_copy"],
        ]
        for row in content["gpu_rows"]
    ]
    return f"Copy: {content['copy_gb_per_s']:.0f} GB/s.\n\n{table(head, rows)}"


def verdict(content: Content) -> str:
    """`VALID`, or `INVALID` with the reason."""
    return "`VALID`" if content["valid"] else f"`INVALID` ({content['reason']})"


def span(interval: Sequence[float]) -> str:
    """An interval with three decimals."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def _figures(figures: Content) -> str:
    """Describe figures in words; processes too short-lived for a growth rate are left out."""
    parts = []
    for name, value in figures.items():
        if isinstance(value, dict):
            inner = _figures(_long_lived(value) if name == "processes" else value)
            parts += [f"{name.replace('_', ' ')} ({inner})"] if inner else []
        elif value is not None:
            parts.append(f"{name.replace('_', ' ')} {_plain(value)}")
    return ", ".join(parts)


def _long_lived(processes: Content) -> Content:
    return {key: figures for key, figures in processes.items() if "mb_per_hour" in figures}


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value)
