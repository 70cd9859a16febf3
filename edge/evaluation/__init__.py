"""Accuracy of any scorer of images: Dice, IoU, false alarms and their intervals.

In: pairs or clean frames and a scorer. Out: typed records and pages. Imported by training,
certification, benchmarks and the shell; never on a cart.
"""
