"""The engines, each behind the one contract `edge.types.Engine`."""
