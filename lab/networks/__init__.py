"""Switches between the machines of one libvirt host: a bridge in a namespace (root) or a QEMU hub (rootless)."""
