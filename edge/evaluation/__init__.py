"""Accuracy of any scorer of images: Dice, IoU, false alarms and their intervals.

In: pairs or clean frames and a scorer. Out: typed records and pages. Never imported on a cart.
"""
