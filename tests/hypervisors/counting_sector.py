"""A boot sector that prints B, and then letters in their order for ever; a byte of memory tells which is next."""

from itertools import pairwise

BOOTED = "B"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CODE = bytes.fromhex(
    "31c0 8ed8"  # xor ax,ax; mov ds,ax
    "ba f803"  # mov dx,0x3f8 (COM1)
    "b0 42 ee"  # mov al,'B'; out dx,al
    "c606 0005 61"  # mov byte [0x500],'a'
    # loop:
    "a0 0005 ee"  # mov al,[0x500]; out dx,al
    "fe06 0005"  # inc byte [0x500]
    "803e 0005 7b"  # cmp byte [0x500],'z'+1
    "75 05"  # jne over
    "c606 0005 61"  # mov byte [0x500],'a'
    # over:
    "fb f4"  # sti; hlt: until the timer ticks, 18 times in a second
    "eb e8"  # jmp loop
)


def counting_disk(size: int) -> bytes:
    """A disk that boots it."""
    return (_CODE.ljust(510, b"\0") + b"\x55\xaa").ljust(size, b"\0")


def in_order(text: str) -> bool:
    """Whether every letter is the one after the letter before it."""
    return all(after == next_letter(before) for before, after in pairwise(text))


def next_letter(letter: str) -> str:
    return LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)]
