"""What training minimises: the task loss on the mask and the spectral loss on the teacher's map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary cross-entropy plus weighted IoU (Wei et al., F3Net, AAAI 2020; used by PraNet).

    Pixels near the outline count up to six times: w = 1 + 5 |avgpool31(m) - m|.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the mask.
        mask: (B, 1, H, W), 0 to 1.

    Returns:
        Mean over the batch, a scalar.
    """
    if logits.shape[-2:] != mask.shape[-2:]:
        logits = F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    near = F.avg_pool2d(mask, 31, stride=1, padding=15, count_include_pad=False)
    weight = 1 + 5 * (near - mask).abs()
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    entropy = (weight * entropy).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
    score = torch.sigmoid(logits)
    inter = (weight * score * mask).sum(dim=(1, 2, 3))
    union = (weight * (score + mask)).sum(dim=(1, 2, 3)) - inter
    return (entropy + 1 - (inter + 1) / (union + 1)).mean()


def low_band(maps: Tensor, radius: int) -> Tensor:
    """The part of each map with |k_h| <= radius and |k_w| <= radius, in cycles per map.

    Args:
        maps: (B, C, H, W) real.
        radius: Half-width of the box; at or above Nyquist the whole map is returned unchanged.

    Returns:
        (B, C, H, W) float32.
    """
    H, W = maps.shape[-2:]
    keep_h = torch.fft.fftfreq(H, 1 / H, device=maps.device).abs() <= radius
    keep_w = torch.fft.rfftfreq(W, 1 / W, device=maps.device).abs() <= radius
    spectrum = torch.fft.rfft2(maps.float(), norm="ortho")
    low: Tensor = torch.fft.irfft2(spectrum * (keep_h[:, None] & keep_w), s=(H, W), norm="ortho")
    return low


def spectral_loss(low: Tensor, high: Tensor, target: Tensor, *, radius: int) -> Tensor:
    """Distance of a student's two maps to the low and the high band of a teacher's map.

    mean((low - L)^2) + mean((high - H)^2) with L the box low band of the target and H = target - L
    (Polyp-DiFoM, arXiv 2512.09307, its equations for L_L1 and L_L2, with a symmetric box). The target gets no
    gradient: a trainable target has its optimum at zero and collapses there.

    Args:
        low: (B, C, H, W) student map for the low band.
        high: (B, C, H, W) student map for the high band.
        target: (B, C, H, W) teacher map, standardised.
        radius: Half-width of the low band in cycles per map.

    Returns:
        A scalar.

    Raises:
        ValueError: The three maps differ in shape.
    """
    if not low.shape == high.shape == target.shape:
        raise ValueError(
            f"maps of one shape needed, got {tuple(low.shape)}, {tuple(high.shape)}, {tuple(target.shape)}"
        )
    target = target.detach().float()
    smooth = low_band(target, radius)
    return F.mse_loss(low.float(), smooth) + F.mse_loss(high.float(), target - smooth)
