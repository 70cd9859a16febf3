"""A procedural colonoscopy phantom: frames, masks and clips from a seed, with numpy and OpenCV."""
