"""`edge-difom run`: segment a camera, a clip or images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from edge_difom.cli import console, options, run_config, run_defaults, run_summary
from edge_difom.cli.signals import event_by_signal, stop_on_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contracts import BundleStore, CartLink
    from edge.pipeline.observers import SignalLock


def _keep_stdout(
    context: click.Context, parameter: click.Parameter, sinks: Sequence[str]
) -> Sequence[str]:
    """Move text to stderr if a JSONL sink writes to stdout, as for `--json -`."""
    if any(sink in ("jsonl", "jsonl:", "jsonl:-") for sink in sinks):
        console.keep_stdout_for_json(context, parameter, "-")
    return sinks


@click.command(
    "run",
    short_help="Segment a camera, a clip or images with a bundle.",
    epilog=console.examples(
        "edge-difom run --source file:clip.mp4 --bundle B --sink video:overlay.mp4 --sink "
        "jsonl:frames.jsonl",
        "edge-difom run --camera --view",
        "edge-difom run --config cart.toml",
        "edge-difom run --camera /dev/video0 --bundle B --engine openvino --sink jsonl",
        "edge-difom run --source 'synthetic:?width=1920&height=1080&fps=60' --bundle B --seconds "
        "10",
    ),
)
@click.option(
    "--source",
    metavar="S",
    help="file:CLIP, images:DIR, synthetic:, v4l2:DEVICE, rtsp:URL or gst:PIPELINE, with options "
    "as "
    "?key=value&key=value.",
)
@click.option(
    "--camera",
    metavar="[DEVICE]",
    is_flag=False,
    flag_value="",
    help="Short for --source v4l2:DEVICE. DEVICE is a path, a number or a name under "
    "/dev/v4l/by-id. Default: the first camera that works.",
)
@options.bundle(
    "Bundle: a directory, a .difom file, or the name of a shipped bundle. Default: the bundle "
    "installed on this device, otherwise the shipped edge-s."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="State folder of `edge-difom device install`, whose bundle is used instead of --bundle.",
)
@options.engine()
@click.option(
    "--sink",
    "sinks",
    metavar="KIND[:PATH]",
    multiple=True,
    callback=_keep_stdout,
    help="Output: shm:NAME, window[:OPTIONS], web[:PORT], video:FILE.mp4, jsonl[:FILE] (stdout "
    "without a file) or null; repeatable. Default: null.",
)
@click.option(
    "--view",
    metavar="[PORT]",
    is_flag=False,
    flag_value="",
    help="Serve a page with the live overlay on 127.0.0.1 until the run is stopped; short for "
    "--sink web[:PORT]. Default port: 8080, or a free one if it is in use.",
)
@click.option(
    "--view-token",
    type=click.Choice(["new", "none"]),
    default="new",
    show_default=True,
    help="Whether the address of the page contains a token, new in each run, without which other "
    "users of this machine cannot see the pictures.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a journal of events, rotated at 5 MB.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a Prometheus text file every second.",
)
@click.option(
    "--cart",
    default="",
    metavar="CART",
    help="Connection to the cart's controller: serial:DEVICE[,BAUD], can:INTERFACE, or sim.",
)
@click.option(
    "--guard/--no-guard",
    default=True,
    help="Show no mask on black, overexposed, frozen, out-of-body and blurred frames.",
)
@click.option(
    "--smooth/--no-smooth",
    default=True,
    help="Show a region only after it was seen in 4 of the last 6 frames and for at least 130 ms.",
)
@click.option(
    "--stills",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save the frame and its mask, black outside the field of view, whenever the cart's pedal "
    "is pressed or SIGUSR1 arrives. The files contain patient images.",
)
@click.option(
    "--marks",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Let people mark false alarms and missed polyps, by the cart's pedal 2, SIGUSR2 or the "
    "page of --view, and save those frames for `edge-difom review`. The files contain patient "
    "images.",
)
@click.option(
    "--marks-days",
    type=options.FiniteRange(min=0, min_open=True),
    default=30,
    show_default=True,
    help="Remove marks that are older than this many days.",
)
@click.option("--frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.option(
    "--seconds",
    type=options.FiniteRange(min=0, min_open=True),
    help="Stop after this many seconds.",
)
@options.threads()
@click.option(
    "--realtime", is_flag=True, help="Replay a clip at its own frame rate, as if it were a camera."
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@console.json_option("Write the summary as JSON; `-` prints it on stdout.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=run_config.read_options,
    help='TOML file with options of this command, such as `engine = "openvino"` or '
    '`sink = ["shm:edge"]`. Options on the command line take precedence.',
)
def command(
    source: str | None,
    camera: str | None,
    bundle_path: Path | None,
    state: Path | None,
    engine: str,
    sinks: tuple[str, ...],
    view: str | None,
    view_token: str,
    log: Path | None,
    metrics: Path | None,
    cart: str,
    guard: bool,
    smooth: bool,
    stills: Path | None,
    marks: Path | None,
    marks_days: float,
    frames: int | None,
    seconds: float | None,
    threads: int | None,
    realtime: bool,
    force: bool,
    json_path: str | None,
) -> None:
    """Find polyps in the frames of a source. RESEARCH USE ONLY, NOT A MEDICAL DEVICE.

    Live sources always use the newest frame and drop late ones; clips and folders are processed
    completely. A mask is not drawn on a live frame older than 120 ms. The model runs in a separate
    process, which is restarted if it hangs or dies. Each change of a live source's state is printed
    with its reason. A run that ends by itself and judged no frame fails with the reason. Ctrl-C,
    SIGTERM or SIGHUP ends the run and completes all outputs.
    """
    source, camera, bundle_path, state = run_config.drop_replaced(
        click.get_current_context(),
        {"source": source, "camera": camera, "bundle_path": bundle_path, "state": state},
    ).values()
    if (source is None) == (camera is None):
        raise UsageError(
            "exactly one source is needed",
            expected="--source S or --camera [DEVICE]",
            hint="--source synthetic:",
        )
    if bundle_path is not None and state is not None:
        raise UsageError(
            "--bundle and --state exclude each other",
            expected="--bundle B, or --state DIR with slots",
        )
    if json_path == "-" and any(sink in ("jsonl", "jsonl:", "jsonl:-") for sink in sinks):
        raise UsageError(
            "only one record can go to stdout", expected="a file for --sink jsonl: or for --json"
        )
    if view is not None:
        sinks = (*sinks, f"web:{view}?token={view_token}")
    bounded = frames is not None or seconds is not None
    with ExitStack() as stack:
        # First, so that a signal during the slow start ends in whole outputs, too.
        stop = stack.enter_context(stop_on_signal())
        still = stack.enter_context(event_by_signal("stills", stills))
        mark = stack.enter_context(event_by_signal("marks", marks))
        from edge.bundle.reader import Bundle
        from edge.inference.engine_spec import bundle_spec
        from edge.inference.supervisor import SingleBundle
        from edge.pipeline.device import DeviceOptions, open_device
        from edge.record_header import make_header
        from edge.sinks.open import open_sinks
        from edge.sources.open import open_source
        from edge.util.files import refuse_existing, refuse_same_file
        from edge_difom.cli.live_status import LiveStatus

        described = f"v4l2:{camera}" if source is None else source
        if view is not None and not bounded:
            described = run_defaults.endless(described)
        frames_from = open_source(described, realtime=realtime)
        planned = open_sinks(sinks, force=force)  # report a wrong output before a slow start
        files = [path for sink in planned for path in sink.outputs()]
        if json_path and json_path != "-":
            if not Path(json_path).is_char_device():
                refuse_existing(Path(json_path), force=force)
            files.append(Path(json_path))
        files += [path for path in (log, metrics) if path is not None]
        refuse_same_file(files, frames_from.inputs())
        if bundle_path is None and state is None:
            from firmware_bridge.fleet.slots.store import installed_state

            state = installed_state()
            if state is not None:
                console.say(f"using the bundle installed in {state}")
        path = bundle_path
        if state is None:
            path = bundle_path or run_defaults.default_bundle()
            # And an engine that cannot run here.
            bundle_spec(Bundle.open(path), engine, threads=threads)
            store: BundleStore = SingleBundle(path)
        else:
            from firmware_bridge.fleet.slots.store import open_store

            store = open_store(state)
        options = DeviceOptions(
            engine=engine,
            threads=threads,
            log=log,
            metrics=metrics,
            guard=guard,
            smooth=smooth,
            stills=stills,
            marks=marks,
            marks_days=marks_days,
            bounded=bounded,
            linger=view is not None and not bounded,
        )
        with frames_from:
            outputs = open_sinks(
                sinks or ("null",), fps=frames_from.fps, force=force, live=frames_from.live
            )
            console.say(frames_from.description)
            files = [] if frames_from.live else frames_from.inputs()
            header = make_header(
                data=frames_from.description, files=(path for path in files if path.is_file())
            )
            with open_device(
                frames_from,
                outputs,
                store,
                options,
                cart=_open_cart(cart) if cart else None,
                lock=_open_signal(state) if state else None,
                stop=stop,
                still=still,
                mark=mark,
                followers=[LiveStatus(changes=frames_from.live)],
                header=header,
            ) as loop:
                summary = loop.run(frames=frames, seconds=seconds)
                name = loop.engine.name
                summary = run_summary.with_header(summary, header, loop.engine)
                failure = getattr(loop.engine, "failure", None)
    run_summary.show(summary)
    if json_path:
        console.write_json(json_path, summary)
    written = [str(path) for sink in outputs for path in sink.outputs()]
    console.made(
        *(file for file in (*written, json_path) if file and file != "-" and Path(file).exists())
    )
    run_summary.refuse_unjudged(summary, failure)
    if marks is not None:
        console.next_command(f"edge-difom review {console.quote(marks)}")
    elif stills is not None:
        console.next_command(f"edge-difom device still {console.quote(stills)}/STILL --out DICOM")
    elif path is not None:
        console.next_command(
            f"edge-difom bench --bundle {console.quote(path)} --engine {name or engine} "
            "--seconds 60"
        )
    elif state is not None:
        console.next_command(f"edge-difom device status --state {console.quote(state)}")


def _open_cart(description: str) -> CartLink:
    from firmware_bridge.cart.connectors import open_cart

    return open_cart(description)


def _open_signal(state: Path) -> SignalLock:
    from firmware_bridge.fleet.slots.signal import open_signal

    return open_signal(state)
