"""The master target: holds replica disks at the newest cut and can roll them to older ones."""
