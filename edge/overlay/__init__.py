"""Drawing: regions, state icons and text on a frame or on a transparent layer."""
