"""What stands between a bundle and the cart: whether a bundle fits the machine."""
