"""Defects that only a running lab can show: they are in kernels, reboots and lost power."""

from __future__ import annotations

from lab.defects.model import Defect, Edit, Part

MACHINES: tuple[Defect, ...] = (
    Defect(
        "acknowledged-before-it-is-on-disk",
        Part.PROCESS_SERVER,
        "a document is acknowledged before it is on the disk: lost power loses it",
        ("V2A-PS-CACHE", "LAB-RECOVERY"),
        (Edit("common.ingest", "        os.fsync(file.fileno())\n", ""),),
        needs_machines=True,
    ),
    Defect(
        "disks-cut-one-after-the-other",
        Part.MOBILITY,
        "each disk of a machine has an instant of its own",
        ("LAB-POINT-IN-TIME", "LAB-WRITE-ORDER"),
        (
            Edit(
                "mobility.keeper",
                "            for offset, data in self.capture.drain(cut, disk):\n",
                "            import time\n            time.sleep(0.1 * disk.index)\n            self.capture.cut()\n"
                "            for offset, data in self.capture.drain(cut, disk):\n",
            ),
        ),
        needs_machines=True,
    ),
    Defect(
        "page-cache-believed",
        Part.MOBILITY,
        "a write log is read from the page cache, which does not know what the kernel wrote below it",
        ("LAB-WRITE-ORDER",),
        (Edit("mobility.log_contents", "                drop_cached_pages(descriptor)\n", ""),),
        needs_machines=True,
    ),
)
