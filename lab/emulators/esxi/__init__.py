"""An emulated ESXi host or vCenter: SOAP and datastore files over real QEMU machines (decision 0010)."""
