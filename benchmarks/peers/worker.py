"""One peer in a separate process and environment.

Usage: `PYTHON -m benchmarks.peers.worker KIND FOLDER THREADS`. The worker writes JSON lines on
stdout: first a description of itself, then the cost of a frame for every line `frame` on stdin. A
line `look` makes it write its output for the picture in `look.npy`. FOLDER holds `frames.npy`, (N,
H, W, 3) uint8 BGR, and the models. Peers from other projects import nothing of this one.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from edge.frame import OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer(NamedTuple):
    """A peer that is ready.

    Attributes:
        once: Takes a frame; returns (h, w) uint8 scores, alone or first in a tuple, or an (H, W)
            uint8 mask of the frame.
        facts: Version and precision, for the record.
    """

    once: Callable[[Any], Any]
    facts: dict[str, str]


def _version(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"


def ours(folder: Path, threads: int, runtime: str, precision: str) -> Peer:
    """Our whole frame: preprocessing, engine, regions in frame coordinates."""
    from edge.engines.open import open_engine_files
    from edge.imaging.postprocess import regions
    from edge.imaging.preprocess import to_input

    engine = open_engine_files(runtime, _files(folder, runtime, precision), threads)

    def once(frame: Any) -> Any:
        scores = engine.infer(to_input(frame, engine.input_size, bgr=True))
        found_regions = regions(scores, frame.shape[:2], OperatingPoint(0.5, 0.001))
        return scores, found_regions

    return Peer(
        once,
        {"version": _version(_DISTRIBUTION[runtime]), "precision": engine.settings()["precision"]},
    )


def alone(folder: Path, threads: int, runtime: str, precision: str) -> Peer:
    """Inference alone on one prepared input, in the runtime itself, without our backend."""
    size = np.load(folder / "prepared.npy")
    files = _files(folder, runtime, precision)
    facts = {"version": _version(_DISTRIBUTION[runtime]), "precision": precision}
    run = {"openvino": _openvino, "onnx": _onnxruntime, "tflite": _litert}[runtime](files, threads)
    return Peer(lambda _: run(size), facts)


def _openvino(files: list[bytes], threads: int) -> Callable[[Any], Any]:
    import openvino as ov

    core = ov.Core()
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(
        core.read_model(files[0], files[1]), "CPU", hints
    ).create_infer_request()
    return lambda image: request.infer([image])[0].squeeze()


def _onnxruntime(files: list[bytes], threads: int) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0].squeeze()


def _litert(files: list[bytes], threads: int) -> Callable[[Any], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=files[0], num_threads=threads)
    interpreter.allocate_tensors()
    input_detail, output_detail = (
        interpreter.get_input_details()[0],
        interpreter.get_output_details()[0],
    )
    signed = input_detail["dtype"] == np.int8

    def run(image: Any) -> Any:
        interpreter.set_tensor(
            input_detail["index"], image.view(np.int8) ^ np.int8(-128) if signed else image
        )
        interpreter.invoke()
        scores = interpreter.get_tensor(output_detail["index"]).squeeze()
        if scores.dtype == np.int8:
            return (scores ^ np.int8(-128)).view(np.uint8)
        return (
            scores
            if scores.dtype == np.uint8
            else np.clip(np.rint(scores * 256), 0, 255).astype(np.uint8)
        )

    return run


def model_api(folder: Path, threads: int, _: str, precision: str) -> Peer:
    """The whole frame of openvino-model-api on the same student, given its two-channel output."""
    import openvino as ov
    from model_api.models import Model
    from openvino import opset13 as op

    files = _files(folder, "openvino", precision)
    model = ov.Core().read_model(files[0], files[1])
    shape = list(model.input().shape)
    # Their input is planar; their output is one float map per class.
    image = op.parameter([1, 3, shape[1], shape[2]], np.uint8, name="image")
    port = next(iter(model.input().get_target_inputs()))
    port.replace_source_output(op.transpose(image, np.array([0, 2, 3, 1])).output(0))
    rows = [extent for extent in model.output().shape if extent != 1]
    scores = op.reshape(model.get_results()[0].input_value(0), np.array([1, 1, *rows]), False)
    polyp = op.convert(scores, "f32")
    both = op.concat([op.subtract(np.float32(255), polyp), polyp], axis=1)
    both.output(0).set_names({"maps"})
    image.output(0).set_names({"image"})
    wrapped = ov.Model([both], [image], "student")
    path = folder / f"model-api-{precision}.xml"
    ov.save_model(wrapped, path, compress_to_fp16=False)
    api = Model.create_model(
        str(path),
        model_type="Segmentation",
        configuration={"reverse_input_channels": True},
        device="CPU",
        preload=False,
    )
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    api.inference_adapter.plugin_config.update(hints)
    api.load()

    def once(frame: Any) -> Any:
        # Only the mask: contours of an untrained student's noise take seconds.
        return (api(frame).resultImage == 1).astype(np.uint8)

    return Peer(once, {"version": _version("openvino-model-api"), "precision": precision})


def ultralytics(folder: Path, threads: int, _: str, __: str) -> Peer:
    """Ultralytics' own segmentation model and pipeline, exported to OpenVINO.

    It is licensed under the AGPL and runs in a separate process.
    """
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from ultralytics import YOLO

    os.chdir(folder)
    size = int(np.load(folder / "prepared.npy").shape[1])
    path = YOLO("yolo26n-sem.yaml", verbose=False).export(
        format="openvino", imgsz=size, verbose=False
    )
    model = YOLO(path, task="semantic", verbose=False)

    def once(frame: Any) -> Any:
        prediction = model.predict(frame, imgsz=size, verbose=False, device="cpu")[0]
        # (H, W) classes at the frame's own size.
        return prediction.semantic_mask.data.cpu().numpy().astype(np.uint8)

    return Peer(
        once,
        {"version": _version("ultralytics"), "precision": "f32", "model": "yolo26n-sem, untrained"},
    )


PEERS: dict[str, Callable[[Path, int, str, str], Peer]] = {
    "ours": ours,
    "alone": alone,
    "model-api": model_api,
    "ultralytics": ultralytics,
}
_DISTRIBUTION = {"openvino": "openvino", "tflite": "ai-edge-litert", "onnx": "onnxruntime"}


def _files(folder: Path, runtime: str, precision: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob(f"{runtime}-{precision}-*"))]


def main(arguments: list[str]) -> None:
    """Prepare a peer and serve requests."""
    kind, folder, threads = arguments[0], Path(arguments[1]).resolve(), int(arguments[2])
    name, _, rest = kind.partition(":")
    runtime, _, precision = rest.partition(":")
    cv2.setNumThreads(1)
    frames = np.load(folder / "frames.npy")
    replies, sys.stdout = sys.stdout, sys.stderr  # output of the peer is not an answer
    peer = PEERS[name](folder, threads, runtime, precision)
    path = folder / f"{kind.replace(':', '-')}.npy"
    _write(peer, frames[0], path)
    _answer(replies, peer.facts)
    frames = itertools.cycle(frames)
    for line in sys.stdin:
        if line.strip() == "look":
            _write(peer, np.load(folder / "look.npy"), path)
            _answer(replies, {})
            continue
        frame = next(frames)
        cpu, begin = time.process_time_ns(), time.perf_counter_ns()
        peer.once(frame)
        wall, used = time.perf_counter_ns() - begin, time.process_time_ns() - cpu
        _answer(replies, {"wall_ms": wall / 1e6, "cpu_ms": used / 1e6})


def _write(peer: Peer, frame: Any, path: Path) -> None:
    """Write the scores or the mask of a peer if it gives any."""
    output = peer.once(frame)
    mask = output[0] if isinstance(output, tuple) else output
    if isinstance(mask, np.ndarray):
        np.save(path, mask.copy())


def _answer(stream: Any, record: dict[str, Any]) -> None:
    stream.write(json.dumps(record) + "\n")
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
