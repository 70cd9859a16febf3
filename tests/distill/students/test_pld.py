from __future__ import annotations

import torch
import torch.nn.functional as F

from distill.students.decoders.pld import PldDecoder

CHANNELS = {"x4": 3, "x8": 5, "x16": 4, "x32": 6}


def test_fusing_at_each_stride_is_the_paper_s_fusion() -> None:
    """SSFormer brings every map to stride 4 first; a 1x1 convolution does not care."""
    torch.manual_seed(0)
    decoder = PldDecoder(CHANNELS, 8).eval()
    maps = {
        name: torch.randn(2, count, 64 // int(name[1:]), 96 // int(name[1:]))
        for name, count in CHANNELS.items()
    }
    with torch.no_grad():
        large = {
            name: F.interpolate(decoder.emphasis[name](one_map), size=(16, 24), mode="nearest")
            for name, one_map in maps.items()
        }
        joined = large["x32"]
        for name in ("x16", "x8", "x4"):
            joined = decoder.fusion[name](torch.cat([joined, large[name]], dim=1))
        torch.testing.assert_close(decoder(maps).last, joined)


def test_local_emphasis_sees_five_cells() -> None:
    torch.manual_seed(0)
    emphasis = PldDecoder(CHANNELS, 8).eval().emphasis["x8"]
    x = torch.zeros(1, 5, 11, 11, requires_grad=True)
    (gradient,) = torch.autograd.grad(emphasis(x + 1)[0, :, 5, 5].sum(), x)
    touched = gradient.abs().sum(dim=1)[0] > 0
    assert touched[3:8, 3:8].any()
    assert not touched[:3].any()
    assert not touched[8:].any()
