"""Settings that operations of the canonical graph may have, for the graph and the exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import fx

from edge.errors import UsageError
from quantize.graph.tracing import operator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch.fx import Node

NO_INTEGER_FORM = {
    "exp": "the decay of a selective scan is an exponential of each cell's own step, and no "
    "runtime scans in integers",
    "bmm": "runtimes disagree on the scales of products of two computed matrices",
    "gelu": "no runtime computes it in integers",
    "layer_norm": "it divides by a deviation that differs from cell to cell",
    "linear": "it is a matrix product outside the maps; a 1x1 convolution computes the same",
    "matmul": "runtimes disagree on the scales of products of two computed matrices",
    "scaled_dot_product_attention": "its softmax and products of computed matrices stay in float",
    "softmax": "its exponentials and its division stay in float",
}
"""Operations that students use and no engine here has in integers -> why."""


def pool_settings(args: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """Return kernel, stride and padding of `max_pool2d`, each (vertical, horizontal).

    Raises:
        UsageError: The pooling is dilated or rounds its size up.
    """
    kernel = pair(args["kernel_size"])
    stride = pair(args["stride"]) if args["stride"] else kernel
    if pair(args["dilation"]) != [1, 1] or args["ceil_mode"]:
        raise UsageError(
            "a dilated or rounded-up max pooling cannot be exported", expected="nn.MaxPool2d(2)"
        )
    return kernel, stride, pair(args["padding"])


def mean_settings(args: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """Return kernel, stride and padding of `avg_pool2d`, each (vertical, horizontal)."""
    kernel = pair(args["kernel_size"])
    return kernel, pair(args["stride"]) if args["stride"] else kernel, pair(args["padding"])


def refuse_unknown(nodes: Iterable[Node], known: Collection[str]) -> None:
    """Raise UsageError that names every operation of a trace outside the dialect, with its reason.

    Args:
        nodes: Nodes of the trace.
        known: Names of the operations of the dialect.
    """
    unknown: dict[str, str] = {}
    for node in nodes:
        name = operator(node)
        if node.op == "call_function" and name not in known:
            unknown[str(node.target)] = NO_INTEGER_FORM.get(name, "")
    if not unknown:
        return
    # Those with a reason say more than the reshapes around them.
    telling = {target: why for target, why in unknown.items() if why} or unknown
    raise UsageError(
        f"the student uses {', '.join(telling)}, which cannot be exported",
        expected=" | ".join(sorted(known)),
        got="; ".join(f"{target}: {why}" for target, why in telling.items() if why)
        or ", ".join(telling),
        hint="write it in these operations, or use another student",
    )


def refuse_unusual(name: str, node: Node, args: dict[str, Any]) -> None:
    """Raise UsageError if an operation has unsupported settings; removes `alpha` from `args`."""
    if name in ("add", "rsub") and args.pop("alpha") != 1:
        raise UsageError(f"{node.name} scales its second operand", expected="a + b | 1 - a")
    if name in ("add", "mul") and not isinstance(args["other"], fx.Node):
        raise UsageError(f"{node.name} takes a number", expected="two maps", got=str(args["other"]))
    if name == "rsub" and args["other"] != 1:
        raise UsageError(f"{node.name} does not subtract from one", expected="1 - sigmoid(x)")
    if name == "rsub" and operator(args["self"]) != "sigmoid":
        raise UsageError(
            f"{node.name} subtracts something other than a sigmoid", expected="1 - sigmoid(x)"
        )
    if name == "avg_pool2d":
        kernel, _, padding = mean_settings(args)
        partly = padding != [0, 0] and not args["count_include_pad"]
        if (
            (kernel[0] * kernel[1]) % 2 == 0
            or partly
            or args["ceil_mode"]
            or args["divisor_override"]
        ):
            raise UsageError(
                f"{node.name} cannot be exported: an average over an even number of cells has ties",
                expected="nn.AvgPool2d(3, stride, padding=1)",
                got=f"kernel {kernel}, ceil_mode {args['ceil_mode']}",
            )


def pair(values: int | list[int]) -> list[int]:
    """Return (vertical, horizontal) of a setting that torch allows to be one number."""
    return [values, values] if isinstance(values, int) else [int(values[0]), int(values[-1])]
