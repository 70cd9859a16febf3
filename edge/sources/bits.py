"""Reads fields of single bits from the header of a coded stream."""

from __future__ import annotations


class Bits:
    """Bits of some bytes, most significant first; reading past the end raises ValueError.

    Args:
        data: The bytes.
        begin: Index of the first byte to read.
    """

    def __init__(self, data: bytes, begin: int = 0) -> None:
        self._value = int.from_bytes(data[begin : begin + _MOST], "big")
        self._left = 8 * min(_MOST, max(0, len(data) - begin))

    def read(self, count: int) -> int:
        """Return the next bits as an unsigned number.

        Raises:
            ValueError: The data ends before.
        """
        if count > self._left:
            raise ValueError("the header ends early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next number in the unsigned Exp-Golomb code.

        Raises:
            ValueError: The data ends before, or the code is none.
        """
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("not an Exp-Golomb code")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed_golomb(self) -> int:
        """Return the next number in the signed Exp-Golomb code.

        Raises:
            ValueError: As `golomb`.
        """
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


_MOST = 512
"""Bytes of a header that are read at most."""
