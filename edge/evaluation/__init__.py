"""Accuracy: Dice, IoU, false alarms and their intervals, on anything that scores pictures.

In: pairs or clean frames and a scorer. Out: typed records and pages. Never imported on a cart.
"""
