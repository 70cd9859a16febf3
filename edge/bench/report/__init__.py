"""Records of latency, and their summaries, comparisons, pages and Markdown."""
