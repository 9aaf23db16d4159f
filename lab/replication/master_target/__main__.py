"""``python3 -m lab.replication.master_target --config FILE``."""

from lab.replication.common.service import run_service
from lab.replication.master_target.server import MasterTarget

if __name__ == "__main__":
    run_service("master-target", MasterTarget)
