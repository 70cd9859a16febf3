"""A procedural colonoscopy phantom: a seed gives frames, masks and clips. numpy and OpenCV only."""
