"""An emulated BMC in front of libvirt machines: sushy-tools behind TLS, sessions and honest one-time boot."""
