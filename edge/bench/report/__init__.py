"""Records of latency and what is made of them: summaries, comparisons, pages, Markdown."""
