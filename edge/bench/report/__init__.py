"""Records of latency, and their summaries, comparisons, pages and Markdown.

In: a journal that `edge.bench.measure` wrote. Out: `record.BenchReport`, JSON, HTML and Markdown.
Imported by `edge.bench.measure`, which writes its types, by the shell and benchmarks.
"""
