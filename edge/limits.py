"""The 120 ms safety bound and every time limit that follows from it.

A mask that lags behind the image points at the wrong place. `MAX_MASK_AGE_MS` is the maximum age of
a frame whose mask may be on screen. Each part that could keep an old mask on screen enforces it by
its own clock, and the parts that produce a mask have budgets that leave time for the rest. The C
header (`edge/shm/edge_difom_shm.h`), the controller's firmware (`core/route.h`) and its protocol
(`cart.cddl`) repeat some of these numbers; `tests/edge/test_limits.py` compares them.
"""

from __future__ import annotations

MAX_MASK_AGE_MS = 120.0
"""Maximum age since capture of a live frame with a visible mask (delay accepted in DEN200055)."""

PRESENTER_SILENCE_MS = MAX_MASK_AGE_MS
"""Time without a sign of life from the runtime after which the presenter clears the screen.

A stopped runtime cannot withdraw its last mask, which was fresh at best when it stopped.
"""

WEB_PICTURE_MS = MAX_MASK_AGE_MS
"""Time without a new frame after which the web page shows the state instead of the last image."""

ROUTE_LEASE_MS = round(MAX_MASK_AGE_MS)
"""Lease of the cart's overlay route, renewed by each frame that shows a mask."""

BEAT_MAX_AGE_MS = ROUTE_LEASE_MS - 20
"""Age from which progress of the frame loop is no longer reported to the controller.

A report renews the lease. One that waited as long as a lease lasts would keep a stopped loop's mask
on screen, so a late report is dropped 20 ms earlier than that.
"""

HEARTBEAT_LOST_MS = 450
"""Silence of the host after which the controller opens the relay, whatever the lease says."""

RELAY_SETTLE_MS = 50
"""Time the relay's contact needs to follow its coil."""

RELAY_OPEN_MS = 500
"""Maximum time from the host's last heartbeat to an open relay; the protocol's maximum lease."""

_TRANSPORT_MS = 20.0
"""Share of the bound for capture, preprocessing and drawing when a single inference is slow."""

INFERENCE_TIMEOUT_MS = MAX_MASK_AGE_MS - _TRANSPORT_MS
"""Maximum wait for the scores of one live frame; later ones could no longer be shown."""

_OTHER_STAGES_MS = 46.0
"""Capture, transfer, preprocessing, postprocessing, drawing and display at 60 Hz, with margin."""

MAX_MEDIAN_INFERENCE_MS = MAX_MASK_AGE_MS - _OTHER_STAGES_MS
"""Maximum median inference time that the self-test of a bundle accepts on this machine."""
