"""Media of which each says on COM1 what it is, and stops: the proof of what a machine booted."""

import subprocess
from pathlib import Path

SECTOR = 512
# xor ax,ax; mov ds,ax; mov si,text; next: lodsb; test al,al; jz stop; mov dx,3F8h; out dx,al; jmp next;
# stop: hlt; jmp stop
CODE = bytes.fromhex("31c08ed8be157cac84c07406baf803eeebf5f4ebfd")
# The same, but at its end: APM (int 15h, 5301h and 5307h) switches the machine off.
OFF_CODE = bytes.fromhex("31c08ed8be277cac84c07406baf803eeebf5b8015331dbcd15b80753bb0100b90300cd15f4ebfd")
DISK, CD, INSTALLER = "BOOTED FROM DISK", "BOOTED FROM CD", "installer: done"


def boot_sector(text: str, code: bytes = CODE) -> bytes:
    return (code + text.encode() + b"\r\n\0").ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def write_disk(path: Path) -> None:
    path.write_bytes(boot_sector(DISK).ljust(1 << 20, b"\0"))


def write_cd(path: Path, work: Path, text: str = CD, code: bytes = CODE) -> None:
    tree = work / path.stem
    tree.mkdir()
    (tree / "cd.bin").write_bytes(boot_sector(text, code).ljust(4 * SECTOR, b"\0"))
    command = ["genisoimage", "-quiet", "-b", "cd.bin", "-no-emul-boot", "-boot-load-size", "4", "-o", str(path)]
    subprocess.run([*command, str(tree)], check=True, timeout=60, capture_output=True)
